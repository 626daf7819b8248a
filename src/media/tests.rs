//! The parts of it, with the folder in hand.

use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use tempfile::TempDir;

use super::catalogue::learn;
use super::*;
use crate::bounds::{Budget, Stake};
use crate::ledger::Ledger;
use crate::tasks::Scope;

fn gif(seed: u8, bytes: usize) -> Vec<u8> {
    b"GIF89a"
        .iter()
        .copied()
        .chain((0..).map(|n: u32| (n as u8).wrapping_mul(seed) ^ (n >> 8) as u8))
        .take(bytes)
        .collect()
}

fn folder(files: &[(&str, Vec<u8>)]) -> (TempDir, Ledger, Root) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("written");
    }
    let ledger = Ledger::new();
    let root = Root::open(folder.path(), &ledger).expect("it opens");
    (folder, ledger, root)
}

#[test]
fn what_is_known_outlives_the_server_and_what_may_have_changed_does_not() {
    let (folder, _, root) = folder(&[("old.gif", gif(1, 1000)), ("new.gif", gif(2, 1000))]);
    let file = folder.path().join("kept/media.json");
    let catalogue = Catalogue::open(Some(file.clone()));
    for name in ["old.gif", "new.gif"] {
        let entry = learn(&root, name).expect("readable").expect("a medium");
        assert!(!entry.still_is(&entry.stamp), "it was written just now");
        let entry = if name == "old.gif" { entry.settled() } else { entry };
        catalogue.put(entry).expect("room");
    }
    catalogue.keep().expect("kept");
    let again = Catalogue::open(Some(file.clone()));
    let old = again.get("old.gif").expect("it is known");
    let (_, stamp) = root.file("old.gif").expect("it opens");
    assert!(old.still_is(&stamp) && old.hash == blake3::hash(&gif(1, 1000)).to_hex()[..32]);
    assert!(again.get("new.gif").is_none(), "it may have changed since and show the same times");
    std::fs::write(folder.path().join("old.gif"), gif(3, 1000)).expect("written");
    assert!(!old.still_is(&root.file("old.gif").expect("it opens").1));
    for damage in ["", "[", "{}", r#"[{"name":"a.gif"}]"#] {
        std::fs::write(&file, damage).expect("written");
        assert!(Catalogue::open(Some(file.clone())).names().is_empty(), "{damage}");
    }
}

#[tokio::test]
async fn a_file_that_is_evicted_is_paid_for_until_its_last_reader_has_gone() {
    let files: Vec<_> = (0..40).map(|n| (format!("{n}.gif"), gif(n, 10_000))).collect();
    let names: Vec<_> = files.iter().map(|(name, content)| (&**name, content.clone())).collect();
    let (_folder, ledger, root) = folder(&names);
    let scope = Scope::new("test", ledger.clone());
    let hot = Hot::new(100_000, ledger.clone());
    let mut readers = Vec::new();
    let mut cold = 0;
    for (name, content) in &files {
        let entry = Arc::new(learn(&root, name).expect("readable").expect("a medium"));
        match hot.get(&entry, &root, &scope.spawner()).await {
            Ok(bytes) => {
                assert!(bytes == *content);
                readers.push(bytes);
            }
            Err(hot::Cold::NoRoom) => cold += 1,
            Err(hot::Cold::Changed) => panic!("{name} did not change"),
        }
        assert!(ledger.live(Kind::MediaCached) <= 10, "more is in memory than may be");
    }
    // Those who read hold all that there is: the rest comes from the disk.
    assert!(readers.len() == 10 && cold == 30, "{} in memory, {cold} not", readers.len());
    drop(readers);
    hot.forget_all().await;
    assert_eq!(ledger.live(Kind::MediaCached), 0);
}

#[tokio::test]
async fn a_file_is_not_taken_in_as_something_that_it_is_not() {
    let (folder, ledger, root) = folder(&[("cat.gif", gif(1, 1000))]);
    let scope = Scope::new("test", ledger.clone());
    let entry = Arc::new(learn(&root, "cat.gif").expect("readable").expect("a medium"));
    // Written over in place, with the times set back: only its content tells.
    std::fs::write(folder.path().join("cat.gif"), gif(2, 1000)).expect("written");
    let hot = Hot::new(100_000, ledger.clone());
    assert_eq!(hot.get(&entry, &root, &scope.spawner()).await.err(), Some(hot::Cold::Changed));
    assert_eq!(ledger.live(Kind::MediaCached), 0);
    assert!(Cold::open(&entry, &root, &scope.spawner()).await.is_err());
}

#[tokio::test]
async fn what_is_sent_from_the_disk_is_what_was_asked_for() {
    let content = gif(5, 300_000);
    let (_folder, ledger, root) = folder(&[("film.gif", content.clone())]);
    let scope = Scope::new("test", ledger.clone());
    let entry = Arc::new(learn(&root, "film.gif").expect("readable").expect("a medium"));
    let cold = Arc::new(Cold::open(&entry, &root, &scope.spawner()).await.expect("it opens"));
    let budget = Budget::new(1_000_000);
    for (from, to) in
        [(0, 300_000), (0, 1), (299_999, 300_000), (65_535, 65_537), (1, 200_001), (7, 7)]
    {
        let stake = Stake::unlisted(budget.reserve(500_000).expect("room"));
        let pieces = Cold::stream(Arc::clone(&cold), from, to, stake);
        pin_mut!(pieces);
        let mut sent = Vec::new();
        while let Some(piece) = pieces.next().await {
            sent.extend_from_slice(&piece.expect("readable"));
        }
        assert!(sent == content[from as usize..to as usize], "{from}..{to}");
    }
    drop(cold);
    assert_eq!((budget.state().reserved, ledger.live(Kind::MediaFile)), (0, 0));
}

#[test]
fn without_the_kernels_help_names_lead_nowhere_else_either() {
    let (folder, _, root) = folder(&[("cat.gif", gif(1, 10))]);
    std::fs::create_dir_all(folder.path().join("a/b")).expect("made");
    std::fs::write(folder.path().join("a/b/dog.gif"), gif(2, 10)).expect("written");
    std::os::unix::fs::symlink("/etc", folder.path().join("etc")).expect("a link");
    std::os::unix::fs::symlink("cat.gif", folder.path().join("link.gif")).expect("a link");
    std::os::unix::fs::symlink("b", folder.path().join("a/c")).expect("a link");
    assert!(root.walked("cat.gif").is_ok() && root.walked("a/b/dog.gif").is_ok());
    for name in [
        "etc/hostname",
        "link.gif",
        "a/c/dog.gif",
        "../x",
        "a/../cat.gif",
        "",
        ".",
        "a//b",
        "/etc/hostname",
        "nobody",
    ] {
        assert!(root.walked(name).is_err(), "{name}");
        // Nor where it can tell at once. Two slashes are one to it.
        let found = root.file_at_once(name).and_then(Result::ok);
        assert!(found.is_none() || name == "a/../cat.gif", "{name}");
    }
}

#[test]
fn a_file_that_the_kernel_knows_is_opened_at_once() {
    let (folder, ledger, root) = folder(&[("cat.gif", gif(1, 10))]);
    std::fs::create_dir(folder.path().join("folder.gif")).expect("made");
    let (_, known) = root.file("cat.gif").expect("it opens");
    // An old kernel or a file system that is asked each time cannot tell; then nothing is claimed.
    if let Some(found) = root.file_at_once("cat.gif") {
        assert_eq!(found.expect("it opens").1, known);
    }
    assert!(root.file_at_once("folder.gif").is_none_or(|found| found.is_err()), "no file");
    assert_eq!(ledger.live(Kind::MediaFile), 0);
}

#[test]
fn drafts_of_the_dead_go_and_those_of_the_living_stay() {
    let (folder, _, root) =
        folder(&[(".draft-old", gif(1, 10)), (".draft-young", gif(1, 10)), (".other", gif(1, 10))]);
    let long_ago = root::now() - limits::MEDIA_DRAFT_OLD - Duration::from_secs(1);
    for name in [".draft-old", ".other"] {
        let file =
            std::fs::File::options().write(true).open(folder.path().join(name)).expect("it opens");
        file.set_modified(long_ago).expect("set");
    }
    assert!(store::walk(&root, 10).expect("readable").is_empty());
    let there = |name: &str| folder.path().join(name).exists();
    assert!(!there(".draft-old") && there(".draft-young") && there(".other"));
}
