//! From tokens to what a GraphQL document has in it: operations, fragments, and how deep their selections go. Invariants:
//! of the text nothing is kept but places and names in it; whatever may be nested is nested to a limit, since it is read
//! by functions that call themselves; definitions and spreads are counted.
//!
//! It reads what clients send (*GraphQL*, September 2025, 2), not what servers say of themselves. A parser crate was
//! weighed: the one that is kept up makes a tree of the whole text, forty times as large as that while it does.

use super::tokens::{Token, Tokens, Wrong};
use crate::limits::{GRAPHQL_DEFINITIONS, GRAPHQL_NESTING, GRAPHQL_SPREADS};

/// What is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It changes nothing.
    Query,
    /// It does.
    Mutation,
    /// It has no end.
    Subscription,
    /// A part of others.
    Fragment,
}

/// An operation or a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition<'a> {
    /// Which of them.
    pub kind: Kind,
    /// An operation may have none.
    pub name: Option<&'a str>,
    /// Where it begins.
    pub at: usize,
    /// Selections within selections.
    pub depth: usize,
    /// The fragments in it, with the selections around each.
    pub spreads: Vec<(&'a str, usize)>,
}

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document<'a> {
    /// In their order.
    pub definitions: Vec<Definition<'a>>,
    /// The first field that asks for the schema, and where.
    pub introspects: Option<(&'a str, usize)>,
}

/// Where a selection stands.
#[derive(Clone, Copy)]
struct Around {
    /// Selections around it, all of them,
    nesting: usize,
    /// and those that count.
    depth: usize,
    /// Whether it is the schema that is asked for.
    is_schema: bool,
}

/// Reads `text`.
pub fn read(text: &str) -> Result<Document<'_>, Wrong> {
    let mut tokens = Tokens::of(text);
    let (at, ahead) = tokens.next()?;
    let mut reader = Reader { tokens, at, ahead, document: Document::default(), spreads: 0 };
    while reader.ahead != Token::End {
        reader.definition()?;
    }
    Ok(reader.document)
}

struct Reader<'a> {
    tokens: Tokens<'a>,
    at: usize,
    ahead: Token<'a>,
    document: Document<'a>,
    spreads: usize,
}

impl<'a> Reader<'a> {
    fn step(&mut self) -> Result<(), Wrong> {
        (self.at, self.ahead) = self.tokens.next()?;
        Ok(())
    }

    fn wrong<T>(&self, wanted: &str) -> Result<T, Wrong> {
        let found = match self.ahead {
            Token::Name(name) => format!("'{}'", name.chars().take(32).collect::<String>()),
            Token::Mark(mark) => format!("'{mark}'"),
            Token::Spread => "'...'".into(),
            Token::Number => "a number".into(),
            Token::Text => "a string".into(),
            Token::End => "the end".into(),
        };
        Err(Wrong::new(self.at, format!("{wanted} was expected, and {found} is there")))
    }

    fn takes(&mut self, mark: char) -> Result<bool, Wrong> {
        let found = self.ahead == Token::Mark(mark);
        if found {
            self.step()?;
        }
        Ok(found)
    }

    fn expect(&mut self, mark: char) -> Result<(), Wrong> {
        if self.takes(mark)? { Ok(()) } else { self.wrong(&format!("'{mark}'")) }
    }

    fn name(&mut self) -> Result<&'a str, Wrong> {
        let Token::Name(name) = self.ahead else { return self.wrong("a name") };
        self.step()?;
        Ok(name)
    }

    /// The next level of what may be nested.
    fn deeper(&self, nesting: usize) -> Result<usize, Wrong> {
        if nesting < GRAPHQL_NESTING {
            return Ok(nesting + 1);
        }
        Err(Wrong::new(self.at, format!("this is nested deeper than {GRAPHQL_NESTING} levels")))
    }

    /// One or more of what `one` reads, up to `end`.
    fn several(
        &mut self,
        end: char,
        mut one: impl FnMut(&mut Self) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        one(self)?;
        while !self.takes(end)? {
            one(self)?;
        }
        Ok(())
    }

    fn definition(&mut self) -> Result<(), Wrong> {
        if self.document.definitions.len() == GRAPHQL_DEFINITIONS {
            let what = format!("there are more than {GRAPHQL_DEFINITIONS} definitions");
            return Err(Wrong::new(self.at, what));
        }
        // A description.
        if self.ahead == Token::Text {
            self.step()?;
        }
        let at = self.at;
        let kind = match self.ahead {
            Token::Mark('{') => Kind::Query,
            Token::Name("query") => Kind::Query,
            Token::Name("mutation") => Kind::Mutation,
            Token::Name("subscription") => Kind::Subscription,
            Token::Name("fragment") => Kind::Fragment,
            _ => return self.wrong("an operation or a fragment"),
        };
        let (depth, spreads) = (0, Vec::new());
        self.document.definitions.push(Definition { kind, name: None, at, depth, spreads });
        let mut around = Around { nesting: 0, depth: 0, is_schema: false };
        if self.ahead != Token::Mark('{') {
            self.step()?;
            let name = match self.ahead {
                Token::Name("on") if kind == Kind::Fragment => return self.wrong("a name"),
                Token::Name(_) => Some(self.name()?),
                _ if kind == Kind::Fragment => return self.wrong("a name"),
                _ => None,
            };
            self.current().name = name;
            if kind == Kind::Fragment {
                around.is_schema = self.condition()?;
            } else if self.takes('(')? {
                self.several(')', Self::variable)?;
            }
            self.directives()?;
        }
        self.selections(around)
    }

    fn current(&mut self) -> &mut Definition<'a> {
        self.document.definitions.last_mut().expect("a definition is read after it is begun")
    }

    fn variable(&mut self) -> Result<(), Wrong> {
        if self.ahead == Token::Text {
            self.step()?;
        }
        self.expect('$')?;
        self.name()?;
        self.expect(':')?;
        self.type_reference(0)?;
        if self.takes('=')? {
            self.value(0)?;
        }
        self.directives()
    }

    fn type_reference(&mut self, nesting: usize) -> Result<(), Wrong> {
        let nesting = self.deeper(nesting)?;
        if self.takes('[')? {
            self.type_reference(nesting)?;
            self.expect(']')?;
        } else {
            self.name()?;
        }
        self.takes('!').map(drop)
    }

    /// `on` and a type: whether that is one of the schema's own, whose names begin so.
    fn condition(&mut self) -> Result<bool, Wrong> {
        if self.ahead != Token::Name("on") {
            return self.wrong("'on'");
        }
        self.step()?;
        Ok(self.name()?.starts_with("__"))
    }

    fn directives(&mut self) -> Result<(), Wrong> {
        while self.takes('@')? {
            self.name()?;
            self.arguments()?;
        }
        Ok(())
    }

    fn arguments(&mut self) -> Result<(), Wrong> {
        if self.takes('(')? {
            self.several(')', |this| this.member(0))?;
        }
        Ok(())
    }

    /// A name and its value.
    fn member(&mut self, nesting: usize) -> Result<(), Wrong> {
        self.name()?;
        self.expect(':')?;
        self.value(nesting)
    }

    fn value(&mut self, nesting: usize) -> Result<(), Wrong> {
        let nesting = self.deeper(nesting)?;
        match self.ahead {
            Token::Name(_) | Token::Number | Token::Text => return self.step(),
            Token::Mark('$') => {
                self.step()?;
                return self.name().map(drop);
            }
            Token::Mark('[') => {
                self.step()?;
                while !self.takes(']')? {
                    self.value(nesting)?;
                }
            }
            Token::Mark('{') => {
                self.step()?;
                while !self.takes('}')? {
                    self.member(nesting)?;
                }
            }
            _ => return self.wrong("a value"),
        }
        Ok(())
    }

    fn selections(&mut self, around: Around) -> Result<(), Wrong> {
        let within = Around {
            nesting: self.deeper(around.nesting)?,
            depth: around.depth + 1,
            is_schema: around.is_schema,
        };
        self.expect('{')?;
        let current = self.current();
        current.depth = current.depth.max(within.depth);
        self.several('}', |this| this.selection(within))
    }

    fn selection(&mut self, around: Around) -> Result<(), Wrong> {
        if self.ahead != Token::Spread {
            return self.field(around);
        }
        self.step()?;
        match self.ahead {
            Token::Name("on") => {
                let is_schema = self.condition()? || around.is_schema;
                self.directives()?;
                self.selections(Around { is_schema, ..around })
            }
            Token::Name(name) => {
                self.spread(name, around.depth)?;
                self.step()?;
                self.directives()
            }
            _ => {
                self.directives()?;
                self.selections(around)
            }
        }
    }

    fn spread(&mut self, name: &'a str, depth: usize) -> Result<(), Wrong> {
        self.spreads += 1;
        if self.spreads > GRAPHQL_SPREADS {
            let what = format!("there are more than {GRAPHQL_SPREADS} spreads of fragments");
            return Err(Wrong::new(self.at, what));
        }
        self.current().spreads.push((name, depth));
        Ok(())
    }

    fn field(&mut self, around: Around) -> Result<(), Wrong> {
        let mut at = self.at;
        let mut name = self.name()?;
        // What came first was what it shall be called.
        if self.takes(':')? {
            at = self.at;
            name = self.name()?;
        }
        self.arguments()?;
        self.directives()?;
        let asks = matches!(name, "__schema" | "__type");
        if asks {
            self.document.introspects.get_or_insert((name, at));
        }
        if self.ahead != Token::Mark('{') {
            return Ok(());
        }
        // The usual question for the schema unwraps types by nine of these, one in the other; they lead nowhere else.
        let unwraps = around.is_schema && name == "ofType";
        let depth = around.depth - usize::from(unwraps);
        self.selections(Around { depth, is_schema: around.is_schema || asks, ..around })
    }
}
