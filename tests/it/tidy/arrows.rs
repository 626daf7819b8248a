//! Imports go only down the list, and within one layer none goes across: so a module can be read,
//! tested and replaced with nothing but what stands below it.

use super::source::{Path, Source};

/// The layers from the top down. `lib` is only the map; it stands above and is not looked at.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["soak"],
    &["server"],
    &["config"],
    &["http"],
    &["realtime"],
    &["dialogue"],
    &["answer"],
    &["speech", "session", "media", "search"],
    &["upstream"],
    &["bounds"],
    &["tasks"],
    &["ledger"],
    &["limits", "protocol", "metrics"],
];

/// Every path of `source` that points up, across, or to where nothing is known.
pub fn complaints(source: &Source) -> Vec<String> {
    let module = source.module();
    let file = &source.name;
    if module == ["lib"] {
        return Vec::new();
    }
    let faults = source.paths.iter().filter_map(|path| {
        judge(&module, path).map(|fault| format!("{file}:{}: {fault}", path.line))
    });
    let homeless = layer(module[0]).is_none().then(|| {
        format!("{file}:1: `{}` has no layer: give it one in tests/it/tidy/arrows.rs", module[0])
    });
    faults.chain(homeless).collect()
}

fn judge(module: &[&str], path: &Path) -> Option<String> {
    let (from, text) = (module[0], path.text());
    let attribute = path.place.in_attribute && !path.place.in_operation;
    let renames = attribute && text == "path" && path.after == "=";
    if renames || (path.last() == "include" && path.after == "!") {
        return Some(format!("`{text}` brings in code under another name: use `mod`"));
    }
    let Some(to) = target(module, path)? else {
        return Some(format!("`{text}` names the whole crate: name the module that is meant"));
    };
    let where_to = match (layer(from)?, layer(to)) {
        _ if from == to => return None,
        (here, Some(there)) if there > here => return None,
        (here, Some(there)) if there == here => "points across",
        (_, Some(_)) => "points up",
        (_, None) => return Some(format!("{from} -> {to}: `{to}` is no module of the list")),
    };
    Some(format!("{from} -> {to} {where_to}: move what both need below both, or hand it in"))
}

/// The module that a path leads to, `Some(None)` for the crate's root; `None` if the path leads to
/// another crate or stays near.
fn target<'a>(module: &[&str], path: &'a Path) -> Option<Option<&'a str>> {
    let names = path.segments.iter().map(String::as_str).skip_while(|name| *name == "self");
    let names: Vec<&str> = names.collect();
    let depth = module.len() + path.place.nesting;
    let ups = names.iter().take_while(|name| **name == "super").count();
    let rest = match *names.first()? {
        // The library, seen from the binary.
        "evensong" => &names[1..],
        // In the binary itself, the root is its own.
        _ if module == ["main"] => return None,
        "crate" => &names[1..],
        "super" if ups == depth => &names[ups..],
        _ => return None,
    };
    match rest.first() {
        // `pub(crate)`, or a thing that happens to be called evensong.
        None if ups == 0 && path.before != "use" => None,
        None | Some(&"self" | &"*") => Some(None),
        Some(name) => Some(Some(name)),
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn down_and_within_pass() {
    for (name, text) in [
        ("src/http/speech.rs", "use crate::{bounds::budget, tasks}; pub(crate) fn f() {}"),
        ("src/http/speech.rs", "use super::error; use super::super::speech;"),
        ("src/http/speech.rs", "pub(in crate::http) struct S; fn f() { crate::ledger::g() }"),
        (
            "src/tasks.rs",
            "use super::ledger; mod tests { use super::*; use super::super::limits; }",
        ),
        ("src/speech/espeak.rs", "//! Like [`crate::http`].\nuse crate::speech::x; use std::io;"),
        (
            "src/main.rs",
            "use evensong::cli; mod tests { use super::main; } const C: u8 = evensong;",
        ),
        ("src/lib.rs", "pub mod http; pub use http::X;"),
        ("src/http.rs", "#[utoipa::path(get, path = \"/healthz\")] async fn f() {}"),
    ] {
        let found = complaints(&Source::parse(name, text).unwrap());
        assert!(found.is_empty(), "{name}: {text}: {found:?}");
    }
}

#[test]
fn up_across_and_unknown_fail() {
    for (name, text, fault) in [
        ("src/tasks.rs", "use crate::http::Router;", "src/tasks.rs:1: tasks -> http points up"),
        ("src/tasks.rs", "\nuse super::{ledger, http};", "src/tasks.rs:2: tasks -> http points up"),
        ("src/bounds/ring.rs", "fn f() -> super::super::speech::P { g() }", "bounds -> speech"),
        (
            "src/bounds/ring.rs",
            "fn f() { select! { _ = crate::http::g() => {} } }",
            "bounds -> http",
        ),
        ("src/bounds.rs", "#[cfg(test)] mod tests { use super::super::http; }", "bounds -> http"),
        ("src/bounds.rs", "macro_rules! m { () => { $crate::http::g() } }", "bounds -> http"),
        ("src/bounds.rs", "#[serde(with = \"crate::http::s\")] struct S;", "bounds -> http"),
        ("src/bounds.rs", "type T = Vec<<u8 as self::super::http::A>::B>;", "bounds -> http"),
        ("src/bounds.rs", "pub(in crate::http) struct S;", "bounds -> http"),
        ("src/speech.rs", "use crate::session::Session;", "speech -> session points across"),
        ("src/limits.rs", "use crate::metrics;", "limits -> metrics points across"),
        ("src/http.rs", "use evensong::server;", "http -> server points up"),
        ("src/http.rs", "use crate::Budget;", "`Budget` is no module of the list"),
        ("src/main.rs", "use evensong::Budget;", "`Budget` is no module of the list"),
        ("src/http.rs", "use crate::*;", "names the whole crate"),
        ("src/http.rs", "use crate::{self as root};", "names the whole crate"),
        ("src/http.rs", "use crate as root;", "names the whole crate"),
        ("src/util.rs", "fn f() {}", "`util` has no layer"),
        ("src/http.rs", "#[path = \"../x.rs\"] mod x;", "under another name"),
        ("src/http.rs", "#[cfg_attr(unix, path = \"../x.rs\")] mod x;", "under another name"),
        ("src/http.rs", "#[other::path(path = \"../x.rs\")] mod x;", "under another name"),
        ("src/http.rs", "#[utoipa::path(path = crate::server::X)] fn f() {}", "points up"),
        ("src/http.rs", "include!(\"x.rs\");", "under another name"),
    ] {
        let found = complaints(&Source::parse(name, text).unwrap());
        assert!(found.len() == 1 && found[0].contains(fault), "{name}: {text}: {found:?}");
    }
}
