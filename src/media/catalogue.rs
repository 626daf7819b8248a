//! What is known of each file: its content's hash, its kind, when that was found out. Invariants: a file is hashed once for
//! each of its contents, by one at a time; what is known is kept beside the index, so that a start hashes nothing that was
//! hashed before; what may have changed unseen is hashed again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::kind::{self, Kind};
use super::name::HASH_DIGITS;
use super::root::{Root, Stamp, now, stamp};
use crate::limits;

/// What is known of one file.
#[derive(Debug)]
pub struct Entry {
    /// Its name, without a hash.
    pub name: Arc<str>,
    /// What it was when it was hashed.
    pub stamp: Stamp,
    /// Of its content: [`HASH_DIGITS`] hexadecimal digits of BLAKE3.
    pub hash: String,
    /// What it is.
    pub kind: Kind,
    /// When it was looked at last.
    seen: Mutex<Instant>,
    /// Whether it may have changed again without showing it, when it was hashed.
    is_fresh: bool,
}

impl Entry {
    /// Of a file that was read just now.
    pub fn new(name: &str, stamp: Stamp, hash: String, kind: Kind) -> Self {
        let (seen, is_fresh) = (Mutex::new(Instant::now()), stamp.is_fresh(now()));
        Self { name: name.into(), stamp, hash, kind, seen, is_fresh }
    }

    /// Where it is found for good.
    pub fn address(&self) -> String {
        super::name::address(&self.name, &self.hash)
    }

    /// Whether it is to be looked at again; only the first who asks is told so.
    pub fn is_due(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = seen.elapsed() >= limits::MEDIA_LOOK;
        if is_due {
            *seen = Instant::now();
        }
        is_due
    }

    /// As if it had been hashed some time after it changed last.
    #[cfg(test)]
    pub fn settled(self) -> Self {
        Self { is_fresh: false, ..self }
    }

    /// Whether a file that shows `now` has this content.
    pub fn still_is(&self, now: &Stamp) -> bool {
        self.stamp == *now && !self.is_fresh
    }
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    stamp: Stamp,
    hash: String,
}

/// See the module.
pub struct Catalogue {
    entries: Mutex<BTreeMap<Arc<str>, Arc<Entry>>>,
    /// Where it is kept, if it is.
    file: Option<PathBuf>,
    /// Whether there is something to be kept.
    is_changed: AtomicBool,
}

impl Catalogue {
    /// What is kept at `file`; nothing where that cannot be read.
    pub fn open(file: Option<PathBuf>) -> Self {
        let kept = file.as_deref().map(read).unwrap_or_default();
        let entry = |kept: Kept| {
            let kind = kind::of_name(&kept.name)?;
            let name: Arc<str> = kept.name.into();
            let seen = Mutex::new(Instant::now());
            let entry =
                Entry { name, stamp: kept.stamp, hash: kept.hash, kind, seen, is_fresh: false };
            Some((Arc::clone(&entry.name), Arc::new(entry)))
        };
        let entries = Mutex::new(kept.into_iter().filter_map(entry).collect());
        Self { entries, file, is_changed: AtomicBool::new(false) }
    }

    /// What is known of the file of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Entry>> {
        self.lock().get(name).cloned()
    }

    /// Files behind `after`, by name, at most so many; and whether there are more.
    pub fn list(&self, after: &str, most: usize) -> (Vec<Arc<Entry>>, bool) {
        let entries = self.lock();
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let mut found: Vec<_> = entries
            .range::<str, _>(range)
            .take(most + 1)
            .map(|(_, entry)| Arc::clone(entry))
            .collect();
        let is_more = found.len() > most;
        found.truncate(most);
        (found, is_more)
    }

    /// All names.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    /// Takes note of a file. None where there are as many as may be.
    pub fn put(&self, entry: Entry) -> Option<Arc<Entry>> {
        let entry = Arc::new(entry);
        let mut entries = self.lock();
        if entries.len() >= limits::MEDIA_FILES && !entries.contains_key(&entry.name) {
            return None;
        }
        entries.insert(Arc::clone(&entry.name), Arc::clone(&entry));
        self.is_changed.store(true, Relaxed);
        Some(entry)
    }

    /// A file is not there any more.
    pub fn forget(&self, name: &str) {
        if self.lock().remove(name).is_some() {
            self.is_changed.store(true, Relaxed);
        }
    }

    /// Keeps what is known, if that changed: whole, or as it was before.
    pub fn keep(&self) -> io::Result<()> {
        let Some(file) = self.file.as_deref() else { return Ok(()) };
        if !self.is_changed.swap(false, Relaxed) {
            return Ok(());
        }
        let kept: Vec<_> = {
            let entries = self.lock();
            // What was fresh is looked at again by the next start.
            let settled = entries.values().filter(|entry| !entry.is_fresh);
            let kept = |entry: &Arc<Entry>| Kept {
                name: entry.name.to_string(),
                stamp: entry.stamp,
                hash: entry.hash.clone(),
            };
            settled.map(kept).collect()
        };
        let written = write(file, &kept);
        if written.is_err() {
            self.is_changed.store(true, Relaxed);
        }
        written
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(file: &Path) -> Vec<Kept> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "what is known of media cannot be read; all is hashed anew");
            return Vec::new();
        }
    };
    let kept: Vec<Kept> = serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, "what is known of media is damaged; all is hashed anew");
        Vec::new()
    });
    let is_hash =
        |hash: &str| hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    kept.into_iter().filter(|kept| is_hash(&kept.hash)).take(limits::MEDIA_FILES).collect()
}

fn write(file: &Path, kept: &[Kept]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(io::BufWriter::new(draft.as_file_mut()), kept)?;
    draft.as_file().sync_all()?;
    draft.persist(file)?;
    File::open(folder)?.sync_all()
}

/// Finds out what a file is, by reading all of it. It blocks. None where it is no medium.
pub fn learn(root: &Root, name: &str) -> io::Result<Option<Entry>> {
    let Some(named) = kind::of_name(name) else { return Ok(None) };
    let (mut file, mut before) = root.look(name)?;
    for _ in 0..limits::MEDIA_OPEN_TRIES {
        let mut head = Vec::with_capacity(limits::MEDIA_HEAD_BYTES);
        file.by_ref().take(limits::MEDIA_HEAD_BYTES as u64).read_to_end(&mut head)?;
        if kind::of_content(&head) != Some(named) {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        let mut buffer = vec![0; limits::MEDIA_CHUNK_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            };
        }
        let after = stamp(std::os::fd::AsFd::as_fd(&*file))?;
        if before == after {
            return Ok(Some(Entry::new(name, after, digits(&hasher.finalize()), named)));
        }
        // Somebody writes to it.
        before = after;
        file.rewind()?;
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is being written to"))
}

/// As much of a hash as names and tags have.
pub fn digits(hash: &blake3::Hash) -> String {
    let mut digits = hash.to_hex().to_string();
    digits.truncate(HASH_DIGITS);
    digits
}
