//! A file says what it is for, fits the eye, and leaves nothing for later.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, ImplItemFn, Item, ItemFn, ItemMod, Meta, Signature, TraitItemFn};

use super::source::{self, Path, Source, is_tests};

/// Lines of a file without its tests. Most stay far below; past this a file has two purposes.
const FILE_LINES: usize = 600;
/// Lines of a function from `fn` to its last brace: a screen.
const FUNCTION_LINES: usize = 70;

/// The first line is the file's purpose.
pub fn opening(source: &Source) -> Option<String> {
    let told = source
        .text
        .strip_prefix("//!")
        .is_some_and(|rest| !rest.lines().next().unwrap_or("").trim().is_empty());
    (!told).then(|| {
        format!("{}:1: the first line must be `//! ` and what the file is for", source.name)
    })
}

/// Files and functions that are too long; tests may take the room they need.
pub fn lengths(source: &Source) -> Vec<String> {
    if is_tests(&source.name) {
        return Vec::new();
    }
    let tests: usize = source.tree.items.iter().filter_map(tests_lines).sum();
    let lines = source.text.lines().count() - tests;
    let mut long = LongFunctions { file: &source.name, complaints: Vec::new() };
    long.visit_file(&source.tree);
    if lines > FILE_LINES {
        let file = &source.name;
        long.complaints.push(format!(
            "{file}:{FILE_LINES}: {lines} lines, at most {FILE_LINES}: split it by purpose"
        ));
    }
    long.complaints
}

/// How many lines an item takes if it is a module of tests.
fn tests_lines(item: &Item) -> Option<usize> {
    match item {
        Item::Mod(module) if for_tests(&module.attrs) => {
            Some(module.span().end().line + 1 - module.span().start().line)
        }
        _ => None,
    }
}

fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            source::for_tests(&format!("cfg ({})", list.tokens))
        }
        // `#[test]`, `#[tokio::test(…)]`
        meta => meta.path().segments.last().is_some_and(|name| name.ident == "test"),
    })
}

struct LongFunctions<'a> {
    file: &'a str,
    complaints: Vec<String>,
}

impl LongFunctions<'_> {
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let first = signature.fn_token.span.start().line;
        let lines = body.brace_token.span.close().end().line + 1 - first;
        if lines > FUNCTION_LINES {
            let (file, name) = (self.file, &signature.ident);
            self.complaints.push(format!("{file}:{first}: `{name}` has {lines} lines, at most {FUNCTION_LINES}: give its steps names"));
        }
    }
}

impl<'ast> Visit<'ast> for LongFunctions<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if !for_tests(&function.attrs) {
            self.measure(&function.sig, &function.block);
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// Places that wait for somebody to finish them, and tests that nobody runs.
pub fn leftovers(source: &Source) -> Vec<String> {
    let complain = |path: &Path| {
        let what = match path.last() {
            word @ ("todo" | "unimplemented") if path.after == "!" => {
                format!("`{word}!`: write it, or leave it out")
            }
            "ignore" if path.place.in_attribute => "an ignored test tells nothing: run it".into(),
            _ => return None,
        };
        Some(format!("{}:{}: {what}", source.name, path.line))
    };
    source.paths.iter().filter_map(complain).collect()
}

fn parse(text: &str) -> Source {
    Source::parse("src/t.rs", text).expect("an example parses")
}

#[test]
fn an_opening_is_asked_for() {
    assert!(opening(&parse("//! Says it.\nfn f() {}")).is_none());
    for text in ["", "fn f() {}", "// Not a doc.\n", "//!\n//! Late.", "\n//! Late."] {
        assert!(opening(&parse(text)).is_some(), "{text:?}");
    }
}

#[test]
fn long_files_and_functions_are_named() {
    let function = |lines: usize| format!("fn long() {{{}}}\n", "\n".repeat(lines - 1));
    let complaints = |text: &str| lengths(&parse(text));
    assert_eq!(complaints(&function(70)), Vec::<String>::new());
    assert!(
        complaints(&format!("\n{}", function(71)))[0]
            .starts_with("src/t.rs:2: `long` has 71 lines")
    );
    for around in
        ["impl S { @ }", "trait T { @ }", "mod m { @ }", "fn outer() { struct S; impl S { @ } }"]
    {
        assert!(!complaints(&around.replace('@', &function(71))).is_empty(), "{around}");
    }
    for around in ["#[cfg(test)] mod tests { @ }", "#[test] @", "#[tokio::test] async @"] {
        assert!(complaints(&around.replace('@', &function(71))).is_empty(), "{around}");
    }
    assert!(complaints(&"//\n".repeat(600)).is_empty());
    assert!(complaints(&"//\n".repeat(601))[0].contains("601 lines"));
    let tested =
        format!("{}#[cfg(test)]\nmod tests {{{}}}\n", "//\n".repeat(590), "\n".repeat(300));
    assert!(complaints(&tested).is_empty(), "{:?}", complaints(&tested));
}

#[test]
fn leftovers_are_found() {
    let complaints = |text: &str| leftovers(&parse(text)).len();
    for text in [
        "fn f() { todo!() }",
        "fn f() { std::unimplemented!(\"x\") }",
        "proptest! { #[test] #[ignore] fn f() {} }",
        "#[test] #[ignore = \"slow\"] fn f() {}",
        "#[test] #[cfg_attr(miri, ignore)] fn f() {}",
    ] {
        assert_eq!(complaints(text), 1, "{text}");
    }
    assert_eq!(complaints("/// todo!()\nfn ignore() { let todo = \"todo!()\"; f(ignore); }"), 0);
}
