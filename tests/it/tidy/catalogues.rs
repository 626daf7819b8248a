//! Every test that the catalogues of faults and requirements name is there: `file::test` in Rust, `file.py: case` in Python.

use std::path::Path;

/// Tests that `catalogue`, which is `file`, names and `read` has no file for, or whose file has not that function.
pub fn complaints(
    file: &str,
    catalogue: &str,
    read: impl Fn(&Path) -> Option<String>,
) -> Vec<String> {
    let rows = catalogue.lines().zip(1..).filter(|(line, _)| line.starts_with("| "));
    let named = rows.flat_map(|(line, number)| {
        let last = line.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let names: Vec<_> = last.split('`').skip(1).step_by(2).collect();
        names.into_iter().map(move |name| (name, number))
    });
    let missing = named.filter(|(name, _)| !exists(name, &read));
    missing.map(|(name, number)| format!("{file}:{number}: there is no test {name}")).collect()
}

fn exists(name: &str, read: &impl Fn(&Path) -> Option<String>) -> bool {
    let has = |path: String, function: String| {
        read(Path::new(&path)).is_some_and(|text| text.contains(&function))
    };
    if let Some((file, case)) = name.split_once(": ") {
        let places = ["door", "clients"].map(|folder| format!("tests/{folder}/{file}"));
        return places.into_iter().any(|place| has(place, format!("def {case}(")));
    }
    let Some((file, test)) = name.rsplit_once("::") else { return false };
    let function = format!("fn {test}(");
    let places = [format!("tests/it/{file}.rs"), format!("src/{file}.rs")];
    places.into_iter().any(|place| has(place, function.clone()))
}

#[test]
fn tests_that_are_not_there_are_named() {
    let read = |path: &Path| match path.to_str()? {
        "tests/it/a.rs" => Some("fn one() {}".to_string()),
        "src/b/c.rs" => Some("fn two() {}".to_string()),
        "tests/door/d.py" => Some("async def three(_): pass".to_string()),
        _ => None,
    };
    let table =
        |names: &str| format!("| fault | what | shown by |\n|---|---|---|\n| f | w | {names} |\n");
    assert!(complaints("f", &table("`a::one`, `b/c::two`, `d.py: three`"), read).is_empty());
    for name in ["`a::two`", "`c::two`", "`d.py: four`", "`nothing`"] {
        assert_eq!(complaints("f", &table(name), read).len(), 1, "{name}");
    }
}
