//! A source file as the rules see it: its tree for shapes, and every path in it for meanings.
//!
//! Paths are read from tokens, not from the tree, because a tree ends at a macro's brackets: what
//! stands inside `select!` or `macro_rules!` counts like everything else.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One file.
pub struct Source {
    /// From the root of the repository: `src/http/speech.rs`.
    pub name: String,
    pub text: String,
    pub tree: syn::File,
    pub paths: Vec<Path>,
}

/// One path, `a::b::c`; a name alone is a path too, and `use a::{b, c::d}` is two.
pub struct Path {
    pub segments: Vec<String>,
    pub line: usize,
    /// The tokens beside it: `.`, `fn`, `!`; empty for brackets and for the end.
    pub before: String,
    pub after: String,
    pub place: Place,
}

/// What stands around a path.
#[derive(Clone, Copy, Default)]
pub struct Place {
    /// Inline modules.
    pub nesting: usize,
    pub in_attribute: bool,
    /// Within `#[utoipa::path(…)]`, whose `path` is one of the server's and none of the compiler's.
    pub in_operation: bool,
    pub in_tests: bool,
}

impl Source {
    /// Reads one file; the error names it.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let tree = syn::parse_file(text).map_err(|e| format!("{name}: {e}"))?;
        let tokens = text.parse().map_err(|e| format!("{name}: {e}"))?;
        let (mut paths, in_tests) = (Vec::new(), is_tests(name));
        walk(tokens, &[], Place { in_tests, ..Place::default() }, &mut paths);
        Ok(Self { name: name.to_owned(), text: text.to_owned(), tree, paths })
    }

    /// `src/http/speech.rs` is `["http", "speech"]`.
    pub fn module(&self) -> Vec<&str> {
        let stem = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        stem.split('/').filter(|part| *part != "mod").collect()
    }
}

impl Path {
    /// The last name of it.
    pub fn last(&self) -> &str {
        self.segments.last().map_or("", String::as_str)
    }

    /// As it would be written.
    pub fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// A file that its parent declares as `#[cfg(test)] mod tests;`.
pub fn is_tests(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// Whether an attribute, as its tokens print, leaves an item to test builds.
pub fn for_tests(attribute: &str) -> bool {
    attribute == "cfg (test)" || attribute.starts_with("cfg (all (test")
}

/// Collects the paths of `tokens`. In the braces of a `use`, `prefix` is what stands before them.
fn walk(tokens: TokenStream, prefix: &[String], place: Place, paths: &mut Vec<Path>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let (mut at, mut here) = (0, place);
    while let Some(tree) = trees.get(at) {
        at = match tree {
            TokenTree::Group(group) => {
                let inside = enter(group, &trees[..at], &mut here);
                walk(group.stream(), &[], inside, paths);
                at + 1
            }
            // `#[serde(with = "crate::protocol::seconds")]` is an import as well.
            TokenTree::Literal(literal) => {
                let quoted = literal.to_string().trim_matches('"').to_owned();
                if quoted.starts_with("crate::") || quoted.starts_with("super::") {
                    walk(quoted.parse().unwrap_or_default(), &[], here, paths);
                }
                at + 1
            }
            // An alias is no path.
            TokenTree::Ident(name) if name == "as" && !prefix.is_empty() => at + 2,
            TokenTree::Ident(_) => read(&trees, at, prefix, here, paths),
            TokenTree::Punct(mark) if mark.as_char() == '*' && !prefix.is_empty() => {
                read(&trees, at, prefix, here, paths)
            }
            TokenTree::Punct(mark) => {
                here.in_tests = if mark.as_char() == ';' { place.in_tests } else { here.in_tests };
                at + 1
            }
        };
        // What `#[cfg(test)]` covers ends with its braces.
        if matches!(tree, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace) {
            here.in_tests = place.in_tests;
        }
    }
}

/// The place inside a group; an attribute about tests also marks what follows it, `here`.
fn enter(group: &Group, before: &[TokenTree], here: &mut Place) -> Place {
    let back = |by: usize| before.len().checked_sub(by).map(|at| word(before.get(at)));
    let back = |by| back(by).unwrap_or_default();
    let attribute = group.delimiter() == Delimiter::Bracket
        && (back(1) == "#" || (back(1) == "!" && back(2) == "#"));
    let operation = group.delimiter() == Delimiter::Parenthesis
        && [4, 3, 2, 1].map(back) == ["utoipa", ":", ":", "path"];
    let module = group.delimiter() == Delimiter::Brace && back(2) == "mod";
    here.in_tests |= attribute && for_tests(&group.stream().to_string());
    Place {
        nesting: here.nesting + usize::from(module),
        in_attribute: here.in_attribute || attribute,
        in_operation: here.in_operation || (here.in_attribute && operation),
        in_tests: here.in_tests,
    }
}

/// Reads the path that begins at `first`; gives the place after it.
fn read(
    trees: &[TokenTree],
    first: usize,
    prefix: &[String],
    place: Place,
    paths: &mut Vec<Path>,
) -> usize {
    let text = |at: usize| word(trees.get(at));
    let mut segments = prefix.to_vec();
    segments.push(text(first));
    let mut at = first + 1;
    while text(at) == ":" && text(at + 1) == ":" {
        match trees.get(at + 2) {
            Some(TokenTree::Group(braces)) => {
                walk(braces.stream(), &segments, place, paths);
                return at + 3;
            }
            Some(TokenTree::Ident(_)) => segments.push(text(at + 2)),
            _ if text(at + 2) == "*" => segments.push(text(at + 2)),
            _ => break,
        }
        at += 3;
    }
    let before = first.checked_sub(1).map(text).unwrap_or_default();
    let line = trees[first].span().start().line;
    paths.push(Path { segments, line, before, after: text(at), place });
    at
}

/// A token's text; nothing for a group and past the end.
fn word(tree: Option<&TokenTree>) -> String {
    match tree {
        Some(TokenTree::Group(_)) | None => String::new(),
        Some(other) => other.to_string().trim_start_matches("r#").to_owned(),
    }
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let text = r#"
        use a::{b, c::{self, d as e}, f::*};
        #[serde(with = "crate::x::y")]
        pub(in crate::q) fn g(h: &i::J<k::L>) { select! { _ = m::n() => o.p() } }
        #[cfg(test)]
        mod tests { use super::z; }
    "#;
    let source = Source::parse("src/t.rs", text).unwrap();
    let found = |text: &str| source.paths.iter().find(|path| path.text() == text);
    for text in ["a::b", "a::c::self", "a::c::d", "a::f::*", "crate::x::y", "crate::q", "i::J"] {
        assert!(found(text).is_some(), "{text} is missing");
    }
    assert!(found("a::c::e").is_none(), "an alias is no path");
    let at = |text: &str| {
        let path = found(text).unwrap();
        (path.line, path.place.nesting, path.place.in_tests)
    };
    assert_eq!(
        [at("k::L"), at("m::n"), at("super::z")],
        [(4, 0, false), (4, 0, false), (6, 1, true)]
    );
    assert_eq!((&*found("p").unwrap().before, &*found("select").unwrap().after), (".", "!"));
    assert!(Source::parse("src/t.rs", "fn {").is_err());
}
