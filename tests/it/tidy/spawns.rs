//! Only `tasks` starts tasks, threads and child processes: what has no owner cannot be ended.
//!
//! clippy's bans know the types and so see method calls; this sees names, also where a lint was allowed,
//! a macro hides the call, or the code is for another platform.

use super::source::{Path, Source};

const CALLS: &[&str] =
    &["spawn", "spawn_blocking", "spawn_local", "spawn_on", "spawn_pinned", "block_in_place"];
const OWNERS: &[&str] = &["JoinSet", "JoinMap", "LocalSet", "TaskTracker", "TokioExecutor"];
/// tokio's `Command` only describes; `tasks` starts it. The standard library's blocks as well.
const WAYS: &[&[&str]] =
    &[&["std", "process", "Command"], &["thread", "Builder"], &["thread", "scope"]];

/// Every name by which `source` could start something by itself.
pub fn complaints(source: &Source) -> Vec<String> {
    if source.module()[0] == "tasks" {
        return Vec::new();
    }
    let say = |path: &Path| {
        let (file, line) = (&source.name, path.line);
        format!("{file}:{line}: `{}` starts what nobody owns: ask `tasks` for it", path.text())
    };
    source.paths.iter().filter(|path| starts(path)).map(say).collect()
}

fn starts(path: &Path) -> bool {
    let names: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    // On which type a method is called, `scope.spawn(…)`, only clippy knows.
    let called = CALLS.contains(&path.last())
        && ![".", "fn"].contains(&&*path.before)
        && (names.len() > 1 || path.after.is_empty());
    // Threads of the model checker end with the model.
    let ours = names[0] == "loom" || names.contains(&"tasks");
    (called && !ours)
        || names.iter().any(|name| OWNERS.contains(name))
        || WAYS.iter().any(|way| names.windows(way.len()).any(|part| part == *way))
}

#[test]
fn owned_starts_pass_and_others_fail() {
    let count = |name: &str, text: &str| complaints(&Source::parse(name, text).unwrap()).len();
    for text in [
        "use std::{process, thread}; fn f() { process::id(); thread::current(); clap::Command::new(\"x\"); }",
        "fn f(scope: &Scope) { scope.spawn(g()); crate::tasks::spawn(g()); \"tokio::spawn\"; }",
        "fn f() { loom::thread::spawn(g); }",
        "fn f() { Child::start(tokio::process::Command::new(\"x\")) }",
        "struct S { spawn: u8 } impl S { fn spawn(self) {} }",
    ] {
        assert_eq!(count("src/http.rs", text), 0, "{text}");
    }
    for text in [
        "fn f() { tokio::spawn(g()); }",
        "use tokio::{spawn as start, time};",
        "use tokio::task::{self, spawn_blocking};",
        "fn f() { spawn(g()) }",
        "fn f() { select! { _ = task::spawn_local(g()) => {} } }",
        "use tokio::task::JoinSet;",
        "fn f() { std::thread::Builder::new(); }",
        "use std::process::{Command, id};",
        "#[cfg(test)] mod tests { fn f() { thread::spawn(g); } }",
        "use hyper_util::rt::TokioExecutor;",
    ] {
        assert_eq!(count("src/http.rs", text), 1, "{text}");
    }
    assert_eq!(count("src/tasks.rs", "fn f() { tokio::spawn(g()); }"), 0);
    assert_eq!(count("src/tasks/child.rs", "use tokio::process::Command;"), 0);
}
