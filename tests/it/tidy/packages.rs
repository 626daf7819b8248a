//! The packages that Evensong is promised to stand on are direct dependencies that cannot be switched
//! off, and the program itself calls them.

use toml::de::DeTable;

use super::source::Source;

/// Asked for from the start.
const ALWAYS: &[&str] = &["tokio", "axum", "bytes", "tokio-stream", "jemallocator"];
/// They come with the features that need them; from then on the same is asked of them.
const ONCE_NAMED: &[&str] = &["elasticsearch", "reqwest", "moka"];

/// What is missing, optional, or there only for show.
pub fn complaints(manifest: &str, sources: &[Source]) -> Vec<String> {
    let manifest = DeTable::parse(manifest).expect("cargo has read it, so it is TOML").into_inner();
    let expected =
        ALWAYS.iter().map(|name| (name, true)).chain(ONCE_NAMED.iter().map(|name| (name, false)));
    expected.filter_map(|(name, always)| judge(name, always, &manifest, sources)).collect()
}

fn judge(name: &str, always: bool, manifest: &DeTable<'_>, sources: &[Source]) -> Option<String> {
    // Only here is a dependency unconditional: not under `target`, not for tests or builds alone.
    let dependency = manifest.get("dependencies").and_then(|table| table.get_ref().get(name));
    let Some(dependency) = dependency else {
        return always.then(|| format!("Cargo.toml: `{name}` must be a direct dependency"));
    };
    if dependency.get_ref().get("optional").and_then(|value| value.get_ref().as_bool())
        == Some(true)
    {
        return Some(format!("Cargo.toml: `{name}` must not be optional"));
    }
    let root = name.replace('-', "_");
    let used = |source: &Source| {
        source
            .paths
            .iter()
            .any(|path| !path.place.in_tests && path.segments.len() > 1 && path.segments[0] == root)
    };
    (!sources.iter().any(used))
        .then(|| format!("Cargo.toml: `{name}` is not used in src: use it or take it out"))
}

#[test]
fn packages_must_be_direct_firm_and_used() {
    let uses = "use tokio::time; use axum::Router; use bytes::Bytes; fn f() { tokio_stream::iter(x) } \
                static A: J = jemallocator::Jemalloc; #[cfg(test)] mod tests { use moka::sync; }";
    let sources = [Source::parse("src/t.rs", uses).unwrap()];
    let good = r#"
        [dependencies]
        tokio = "1"
        axum = { version = "0.8", optional = false }
        tokio-stream = "0.1"
        jemallocator = { package = "tikv-jemallocator", version = "0.7" }
        [dependencies.bytes]
        version = "1"
    "#;
    assert_eq!(complaints(good, &sources), Vec::<String>::new());
    let fails = |was: &str, is: &str, what: &str| {
        let found = complaints(&good.replace(was, is), &sources);
        assert!(found.len() == 1 && found[0].contains(what), "{is}: {found:?}");
    };
    fails("tokio = \"1\"", "", "`tokio` must be a direct dependency");
    fails("jemallocator =", "tikv =", "`jemallocator` must be a direct dependency");
    fails(
        "[dependencies.bytes]",
        "[dev-dependencies.bytes]",
        "`bytes` must be a direct dependency",
    );
    fails("[dependencies.bytes]", "[target.'cfg(unix)'.dependencies.bytes]", "`bytes` must be");
    fails("optional = false", "optional = true", "`axum` must not be optional");
    fails("tokio = \"1\"", "tokio = \"1\"\nreqwest = \"0.13\"", "`reqwest` is not used in src");
    fails("tokio = \"1\"", "tokio = \"1\"\nmoka = \"0.12\"", "`moka` is not used in src");
    assert_eq!(complaints(good, &[]).len(), ALWAYS.len(), "without sources nothing is used");
}
