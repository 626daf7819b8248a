//! Files that are put in and taken away. Invariants: nobody sees a file before all of it is on the disk; one that is given up,
//! for whatever reason, leaves nothing behind; a name that has a content keeps it until it is taken away.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::catalogue::{Entry, digits, learn};
use super::kind::{self, Kind};
use super::root::{Folder, Root, now, stamp};
use super::{MediaError, kind_error};
use crate::ledger::{Ledger, Owned};
use crate::limits::{MEDIA_DRAFT_OLD, MEDIA_HEAD_BYTES};

/// What drafts are called, which no name of a file may be.
const DRAFT: &str = ".draft-";

/// A file on its way in.
pub struct Draft {
    root: Root,
    folder: Folder,
    /// What it is called until it is whole; empty once it has its name.
    draft: String,
    name: String,
    named: Kind,
    file: Owned<File>,
    hasher: blake3::Hasher,
    head: Vec<u8>,
}

/// What became of it.
#[derive(Debug)]
pub enum Put {
    /// It is there, and was not before.
    Made(Entry),
    /// It was there already, with this content.
    Same(Entry),
}

impl Draft {
    /// Begins a file of that name. It blocks, as all of this does.
    pub fn begin(root: Root, name: &str, ledger: &Ledger) -> Result<Self, MediaError> {
        let named = kind::of_name(name).ok_or_else(|| kind_error(name))?;
        let (folder, _) = root.folder_of(name, true)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let draft = format!("{DRAFT}{:032x}", u128::from_be_bytes(random));
        let file = folder.create(&draft, ledger)?;
        let (hasher, head) = (blake3::Hasher::new(), Vec::new());
        Ok(Self { root, folder, draft, name: name.to_string(), named, file, hasher, head })
    }

    /// Appends to it. What cannot be what its name says is refused as soon as that is known.
    pub fn write(&mut self, parts: &[Bytes]) -> Result<(), MediaError> {
        for part in parts {
            if self.head.len() < MEDIA_HEAD_BYTES {
                let more = part.len().min(MEDIA_HEAD_BYTES - self.head.len());
                self.head.extend_from_slice(&part[..more]);
                if self.head.len() == MEDIA_HEAD_BYTES {
                    self.check()?;
                }
            }
            self.hasher.update(part);
            self.file.write_all(part)?;
        }
        Ok(())
    }

    /// Gives it its name, if nothing else has it.
    pub fn finish(mut self) -> Result<Put, MediaError> {
        self.check()?;
        self.file.sync_all()?;
        let last = self.name.rsplit('/').next().unwrap_or_default();
        match self.folder.give(&self.draft, last) {
            Ok(()) => self.draft.clear(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = learn(&self.root, &self.name)?.ok_or(MediaError::Exists)?;
                let is_same = there.hash == digits(&self.hasher.finalize());
                return if is_same { Ok(Put::Same(there)) } else { Err(MediaError::Exists) };
            }
            Err(error) => return Err(error.into()),
        }
        // Behind its naming, which is a change of its times.
        let stamp = stamp(self.file.as_fd())?;
        Ok(Put::Made(Entry::new(&self.name, stamp, digits(&self.hasher.finalize()), self.named)))
    }

    fn check(&self) -> Result<(), MediaError> {
        match kind::of_content(&self.head) {
            Some(found) if found == self.named => Ok(()),
            found => Err(MediaError::Kind {
                named: self.named.media_type,
                found: found.map(|kind| kind.media_type),
            }),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.draft.is_empty() {
            return;
        }
        if let Err(error) = self.folder.remove(&self.draft) {
            tracing::warn!(%error, "a draft could not be taken away");
        }
    }
}

/// Takes the file of that name away.
pub fn remove(root: &Root, name: &str) -> Result<(), MediaError> {
    // What is no file is not there.
    drop(root.look(name)?);
    let (folder, last) = root.folder_of(name, false)?;
    folder.remove(last)?;
    Ok(folder.sync()?)
}

/// Takes away drafts of servers that died long ago. Young ones may be another server's that lives.
pub fn clear(root: &Root, folder: &str) -> io::Result<()> {
    let mut drafts = Vec::new();
    root.list(folder, |name, is_folder| {
        if !is_folder && name.starts_with(DRAFT) {
            drafts.push(if folder.is_empty() {
                name.to_string()
            } else {
                format!("{folder}/{name}")
            });
        }
    })?;
    for draft in drafts {
        let (_, stamp) = root.look(&draft)?;
        let age = now().duration_since(stamp.modified()).unwrap_or(Duration::ZERO);
        if age >= MEDIA_DRAFT_OLD {
            let (folder, last) = root.folder_of(&draft, false)?;
            folder.remove(last)?;
            tracing::info!(draft, "a draft of a server that died was taken away");
        }
    }
    Ok(())
}

/// All files of the root that may be media, by name.
pub fn walk(root: &Root, most: usize) -> io::Result<Vec<Arc<str>>> {
    let (mut folders, mut names) = (vec![String::new()], Vec::new());
    while let Some(folder) = folders.pop() {
        let within = |name: &str| match folder.as_str() {
            "" => name.to_string(),
            folder => format!("{folder}/{name}"),
        };
        if let Err(error) = clear(root, &folder) {
            tracing::warn!(%error, folder, "drafts could not be looked at");
        }
        let mut found = Vec::new();
        let listed = root.list(&folder, |name, is_folder| found.push((within(name), is_folder)));
        if let Err(error) = listed {
            // It may have gone meanwhile, or not be ours to read.
            tracing::warn!(%error, folder, "a folder of media cannot be read");
            continue;
        }
        for (name, is_folder) in found {
            match super::name::Name::parse(&name) {
                Some(_) if is_folder => folders.push(name),
                Some(parsed) if parsed.hash.is_none() && kind::of_name(&name).is_some() => {
                    names.push(name.into());
                }
                _ => {}
            }
            if names.len() > most {
                return Ok(names);
            }
        }
    }
    Ok(names)
}
