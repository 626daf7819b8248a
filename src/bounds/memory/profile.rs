//! Heap profiles on the operator's word, as files in one folder. Invariant: one is written at a time, and no
//! more than [`PROFILES_KEPT`] are kept: the oldest makes room, and nothing else in the folder is touched.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::allocator;
use crate::limits::PROFILES_KEPT;
use crate::tasks::Spawner;

/// Names begin and end so; between them stand time, process and number.
const PREFIX: &str = "evensong.";
const SUFFIX: &str = ".heap";

/// Where profiles go. Clones share it.
#[derive(Clone)]
pub struct Profiles(Arc<Inner>);

struct Inner {
    spawner: Spawner,
    folder: Option<PathBuf>,
    written: AtomicU32,
    writing: Mutex<()>,
}

/// A profile that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Why none was written.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Nobody said where to.
    #[error("memory.profile_dir is not set: name a folder for heap profiles")]
    NoFolder,
    /// The allocator was not told to sample.
    #[error("this process does not sample its allocations (jemalloc's opt.prof is off)")]
    NotSampling,
    /// One is being written.
    #[error("a heap profile is being written at this moment")]
    Busy,
    /// The folder or the file.
    #[error("no heap profile in {}: {source}", folder.display())]
    Io {
        /// Where it should have gone.
        folder: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl Profiles {
    /// Into `folder`, which is made when it is first needed, on threads of `spawner`.
    pub fn new(folder: Option<PathBuf>, spawner: Spawner) -> Self {
        let (written, writing) = (AtomicU32::new(0), Mutex::new(()));
        Self(Arc::new(Inner { spawner, folder, written, writing }))
    }

    /// Writes one.
    pub async fn write(&self) -> Result<Profile, ProfileError> {
        let this = self.clone();
        let written = self.0.spawner.blocking("heap profile", move || this.write_now()).await;
        written.unwrap_or(Err(ProfileError::Busy))
    }

    fn write_now(&self) -> Result<Profile, ProfileError> {
        let Inner { folder, written, writing, .. } = &*self.0;
        let folder = folder.as_deref().ok_or(ProfileError::NoFolder)?;
        if !allocator::samples() {
            return Err(ProfileError::NotSampling);
        }
        let Ok(_one) = writing.try_lock() else { return Err(ProfileError::Busy) };
        let number = written.fetch_add(1, Relaxed) + 1;
        // The time, since in a container every process has the same id.
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let name = format!("{PREFIX}{now}.{}.{number:04}{SUFFIX}", std::process::id());
        let write = || {
            let mut make = std::fs::DirBuilder::new();
            make.recursive(true).mode(0o700).create(folder)?;
            // Under a name that nobody can foresee, readable by us alone; it goes if this fails.
            let fresh = tempfile::Builder::new().prefix(".heap-").tempfile_in(folder)?;
            allocator::write_profile(fresh.path())?;
            let bytes = fresh.as_file().metadata()?.len();
            if bytes == 0 {
                return Err(io::Error::other("nothing could be written: is there room?"));
            }
            let file = folder.join(name);
            fresh.persist_noclobber(&file).map_err(|kept| kept.error)?;
            make_room(folder, PROFILES_KEPT)?;
            Ok(Profile { file, bytes })
        };
        write().map_err(|source| ProfileError::Io { folder: folder.into(), source })
    }
}

/// Removes the oldest profiles of `folder`, so that at most `most` are left.
fn make_room(folder: &Path, most: usize) -> io::Result<()> {
    let mut ours = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let data = entry.metadata()?;
        if data.is_file() && name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            ours.push((data.modified()?, entry.path()));
        }
    }
    ours.sort();
    let over = ours.len().saturating_sub(most);
    ours.iter().take(over).try_for_each(|(_, file)| std::fs::remove_file(file))
}

#[cfg(all(test, not(evensong_loom)))]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::tasks::Scope;

    #[tokio::test]
    async fn without_a_folder_it_says_what_to_set() {
        let scope = Scope::new("test", Ledger::new());
        let profiles = Profiles::new(None, scope.spawner());
        let error = profiles.write().await.expect_err("no folder");
        assert!(error.to_string().contains("memory.profile_dir"), "{error}");
    }

    #[test]
    fn the_oldest_makes_room_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("evensong.toml"), "").expect("written");
        for n in 0..5u64 {
            let file = std::fs::File::create(path(&format!("evensong.1.{n}.heap"))).expect("made");
            let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 - n);
            file.set_modified(then).expect("an age");
        }
        make_room(folder.path(), 2).expect("room");
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        left.sort();
        assert_eq!(left, ["evensong.1.0.heap", "evensong.1.1.heap", "evensong.toml"]);
    }
}
