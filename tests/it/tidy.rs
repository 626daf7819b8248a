//! The house rules that a compiler does not know: which way imports point, what a file opens with,
//! how long it and its functions get, what only `tasks` may do, which packages it stands on.
//!
//! Each rule is a pure function from sources to complaints (`file:line: what, and what would do`), in
//! a file of its own beside examples that must pass and examples that must fail: a check that cannot
//! fail is a defect. Here they meet the repository.

mod arrows;
mod catalogues;
mod packages;
mod shape;
mod source;
mod spawns;

use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// Every Rust file below `folder`, parsed.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    files.sort();
    files
        .iter()
        .map(|file| {
            let name = file.strip_prefix(root).expect("the walk began at the root");
            let text = fs::read_to_string(file).expect("a source file is readable UTF-8");
            Source::parse(&name.display().to_string(), &text).unwrap_or_else(|e| panic!("{e}"))
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("the folder stays while it is read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// Every source of the program. A walk that went astray would find everything tidy.
fn program() -> Vec<Source> {
    let sources = sources("src");
    for root in ["src/lib.rs", "src/main.rs"] {
        assert!(sources.iter().any(|source| source.name == root), "the walk missed {root}");
    }
    sources
}

fn expect_none(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn imports_point_down() {
    expect_none(program().iter().flat_map(arrows::complaints));
}

#[test]
fn files_open_with_their_purpose() {
    expect_none(program().iter().flat_map(shape::opening));
}

#[test]
fn files_and_functions_fit_the_eye() {
    expect_none(program().iter().flat_map(shape::lengths));
}

#[test]
fn nothing_is_left_for_later() {
    let all = ["src", "tests", "benches"].map(sources);
    expect_none(all.iter().flatten().flat_map(shape::leftovers));
}

#[test]
fn only_tasks_spawns() {
    expect_none(program().iter().flat_map(spawns::complaints));
}

#[test]
fn named_packages_are_direct_and_used() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .expect("Cargo.toml is readable");
    expect_none(packages::complaints(&manifest, &program()));
}

#[test]
fn the_catalogues_name_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| fs::read_to_string(root.join(path)).ok();
    for (file, least) in [("docs/faults.md", 30), ("docs/requirements.md", 15)] {
        let catalogue = read(Path::new(file)).expect("the catalogue is readable");
        assert!(catalogue.matches("::").count() > least, "{file} names its tests");
        expect_none(catalogues::complaints(file, &catalogue, read));
    }
}
