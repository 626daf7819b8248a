//! What a client may ask for, looked at in the text of its query before it is passed on. Invariants: what is passed on is
//! a document of whole definitions, at most so deep when its fragments are written out; the operation in it that will
//! be carried out is known.

use std::collections::HashMap;

use super::Caps;
use super::grammar::{self, Definition, Document, Kind};
use super::tokens::Wrong;

/// Why a query is not passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none.
    #[error("query, line {line}, column {column}: {what}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// Its selections are nested too deep.
    #[error("query: its selections are nested deeper than {most} levels, fragments written out")]
    TooDeep {
        /// The deepest that would do.
        most: usize,
    },
    /// A fragment has itself in it.
    #[error("query: the fragment '{0}' has itself in it")]
    Cycle(String),
    /// Two have one name.
    #[error("query: there are two {0} of the name '{1}'")]
    Twice(&'static str, String),
    /// There is nothing to be carried out.
    #[error("query: there is no operation in it")]
    NoOperation,
    /// It has no end.
    #[error("query: subscriptions are not served here")]
    Subscription,
    /// It asks for the schema, which clients may not.
    #[error("query, line {line}, column {column}: {field} is not answered here")]
    Introspection {
        /// `__schema` or `__type`.
        field: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// It has several operations.
    #[error("operationName: query has several operations; say which")]
    WhichOne,
    /// It has none of that name.
    #[error("operationName: query has no operation '{0}'")]
    NoSuch(String),
    /// It is not among those that clients may ask for.
    #[error("operationName: '{0}' is not among the operations that are allowed here")]
    NotAllowed(String),
    /// It has no name, so that it is not either.
    #[error("operationName: only named operations are allowed here, and this one has no name")]
    Nameless,
}

/// Looks at `query`, of which the operation `named` is meant, and says of which kind that is.
pub fn check(query: &str, named: Option<&str>, caps: &Caps) -> Result<Kind, Refused> {
    let syntax = |wrong: Wrong| {
        let (line, column) = wrong.place(query);
        Refused::Syntax { line, column, what: wrong.what }
    };
    let document = grammar::read(query).map_err(syntax)?;
    Fragments::of(&document)?.check(&document, caps.depth)?;
    if let (Some((field, at)), false) = (document.introspects, caps.introspection) {
        let (line, column) = Wrong::new(at, "").place(query);
        return Err(Refused::Introspection { field: field.into(), line, column });
    }
    let operations = || document.definitions.iter().filter(|one| one.kind != Kind::Fragment);
    if operations().any(|one| one.kind == Kind::Subscription) {
        return Err(Refused::Subscription);
    }
    let operation = meant(operations(), named)?;
    if !caps.allow.is_empty() {
        let name = operation.name.ok_or(Refused::Nameless)?;
        if !caps.allow.iter().any(|allowed| allowed == name) {
            return Err(Refused::NotAllowed(short(name)));
        }
    }
    Ok(operation.kind)
}

/// The operation that will be carried out (*GraphQL*, 6.1).
fn meant<'a, 'd: 'a>(
    mut operations: impl Iterator<Item = &'a Definition<'d>> + Clone,
    named: Option<&str>,
) -> Result<&'a Definition<'d>, Refused> {
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) =
        operations.clone().filter_map(|one| one.name).find(|name| !seen.insert(*name))
    {
        return Err(Refused::Twice("operations", short(twice)));
    }
    if let Some(name) = named {
        let found = operations.find(|one| one.name == Some(name));
        return found.ok_or_else(|| Refused::NoSuch(short(name)));
    }
    let first = operations.next().ok_or(Refused::NoOperation)?;
    if operations.next().is_some() { Err(Refused::WhichOne) } else { Ok(first) }
}

/// The fragments of a document by name, and how deep each goes with those that are spread in it.
struct Fragments<'a> {
    by_name: HashMap<&'a str, &'a Definition<'a>>,
    depths: HashMap<&'a str, Depth>,
}

#[derive(Clone, Copy)]
enum Depth {
    /// Being looked into.
    Asked,
    Known(usize),
}

impl<'a> Fragments<'a> {
    fn of(document: &'a Document<'a>) -> Result<Self, Refused> {
        let mut by_name = HashMap::new();
        for one in document.definitions.iter().filter(|one| one.kind == Kind::Fragment) {
            let name = one.name.unwrap_or_default();
            if by_name.insert(name, one).is_some() {
                return Err(Refused::Twice("fragments", short(name)));
            }
        }
        Ok(Self { by_name, depths: HashMap::new() })
    }

    /// Also those that are spread nowhere.
    fn check(mut self, document: &'a Document<'a>, most: usize) -> Result<(), Refused> {
        for one in &document.definitions {
            if self.depth(one)? > most {
                return Err(Refused::TooDeep { most });
            }
        }
        Ok(())
    }

    /// It calls itself once for each fragment at the most, of which there are few.
    fn depth(&mut self, one: &'a Definition<'a>) -> Result<usize, Refused> {
        let mut deepest = one.depth;
        for (name, around) in &one.spreads {
            // What is not there is the server's to refuse.
            let Some(fragment) = self.by_name.get(name).copied() else { continue };
            let within = match self.depths.get(name) {
                Some(Depth::Asked) => return Err(Refused::Cycle(short(name))),
                Some(Depth::Known(depth)) => *depth,
                None => {
                    self.depths.insert(name, Depth::Asked);
                    let depth = self.depth(fragment)?;
                    self.depths.insert(name, Depth::Known(depth));
                    depth
                }
            };
            deepest = deepest.max(around + within);
        }
        Ok(deepest)
    }
}

/// A client's word in an error message.
fn short(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests;
