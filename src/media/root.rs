//! The folder that media lie in. Invariants: nothing outside of it is opened, whatever names and links say; what is opened
//! to be read is a file, and opening it waits for nobody.
//!
//! `openat2` has the kernel see to that (`RESOLVE_BENEATH`, no links of any kind). Where it is not to be had (an old kernel, a
//! sandbox that does not know it), the parts of a name are opened one after the other, each without following links.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::ledger::{Kind, Ledger, Owned};

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Root {
    folder: Arc<Owned<OwnedFd>>,
    ledger: Ledger,
}

/// What tells a file from another, or from itself with another content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub length: u64,
    /// When its content changed last: nanoseconds since 1970.
    pub modified: i64,
    /// When anything of it did, which nobody sets back.
    pub changed: i64,
    /// The place on its disk.
    pub inode: u64,
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            length: u64::try_from(stat.st_size).unwrap_or(0),
            modified: nanos(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: nanos(stat.st_ctime, stat.st_ctime_nsec as i64),
            inode: stat.st_ino,
        }
    }

    /// When its content changed last, in whole seconds, as HTTP has them.
    pub fn modified(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(self.modified / 1_000_000_000).unwrap_or(0))
    }

    /// Whether it changed so shortly before `now` that it may change once more and show the same times.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        now.saturating_sub(self.changed.max(self.modified))
            < crate::limits::MEDIA_FRESH.as_nanos() as i64
    }
}

/// The clock of the wall, by which file systems tell times.
pub fn now() -> SystemTime {
    jiff::Timestamp::now().into()
}

/// What is read only, where links are followed by nobody.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// Of a file: a FIFO would wait for whoever writes to it.
const READ_FILE: OFlags = READ.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl Root {
    /// The folder at `path`, which is made where there is none.
    pub fn open(path: &Path, ledger: &Ledger) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let entry = ledger.enter(Kind::MediaRoot, "media", 0);
        // Of the operator's own, who may well have a link there.
        let folder = rustix::fs::openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { folder: Arc::new(Owned::new(folder, entry)), ledger: ledger.clone() })
    }

    /// The file of that name, to be read, and what it was at this moment.
    pub fn file(&self, name: &str) -> io::Result<(Owned<File>, Stamp)> {
        self.open_as(Kind::MediaFile, name)
    }

    /// As [`Root::file`], to find out what it is.
    pub fn look(&self, name: &str) -> io::Result<(Owned<File>, Stamp)> {
        self.open_as(Kind::MediaLook, name)
    }

    /// As [`Root::file`], where the kernel has all of the way to it in memory, so that nobody waits for a disk; `None` where it
    /// has not, or cannot tell.
    pub fn file_at_once(&self, name: &str) -> Option<io::Result<(Owned<File>, Stamp)>> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::ResolveFlags;
            match self.resolve(name, READ_FILE, ResolveFlags::CACHED) {
                Err(Errno::AGAIN | Errno::INTR | Errno::INVAL | Errno::NOSYS | Errno::PERM) => None,
                opened => Some(
                    opened.map_err(Into::into).and_then(|file| self.stamped(Kind::MediaFile, file)),
                ),
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = name;
            None
        }
    }

    fn open_as(&self, kind: Kind, name: &str) -> io::Result<(Owned<File>, Stamp)> {
        self.stamped(kind, self.beneath(name, READ_FILE)?)
    }

    fn stamped(&self, kind: Kind, file: OwnedFd) -> io::Result<(Owned<File>, Stamp)> {
        let stamp = stamp(file.as_fd())?;
        Ok((Owned::new(File::from(file), self.ledger.enter(kind, "media", 0)), stamp))
    }

    /// The folder in which the file of that name is or would be, and the last part of the name.
    pub fn folder_of<'a>(&self, name: &'a str, makes: bool) -> io::Result<(Folder, &'a str)> {
        let entry = self.ledger.enter(Kind::MediaLook, "media", 0);
        let Some((folders, file)) = name.rsplit_once('/') else {
            let same = rustix::io::fcntl_dupfd_cloexec(&**self.folder, 0)?;
            return Ok((Folder(Owned::new(same, entry)), name));
        };
        if makes {
            let mut so_far = String::new();
            for part in folders.split('/') {
                let within = match so_far.is_empty() {
                    true => rustix::io::fcntl_dupfd_cloexec(&**self.folder, 0)?,
                    false => self.beneath(&so_far, READ | OFlags::DIRECTORY)?,
                };
                match rustix::fs::mkdirat(&within, part, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                so_far =
                    if so_far.is_empty() { part.to_string() } else { format!("{so_far}/{part}") };
            }
        }
        let folder = self.beneath(folders, READ | OFlags::DIRECTORY)?;
        Ok((Folder(Owned::new(folder, entry)), file))
    }

    /// Says what lies in the folder `name`, and in the root where that is empty: the name of each, and whether it is a folder.
    /// Hidden ones, links and what else is no file are passed over.
    pub fn list(&self, name: &str, mut found: impl FnMut(&str, bool)) -> io::Result<()> {
        let entry = self.ledger.enter(Kind::MediaLook, "media", 0);
        let folder = match name {
            "" => rustix::fs::openat(&**self.folder, ".", READ | OFlags::DIRECTORY, Mode::empty())?,
            name => self.beneath(name, READ | OFlags::DIRECTORY)?,
        };
        let folder = Owned::new(folder, entry);
        for item in Dir::read_from(&*folder)? {
            let item = item?;
            let Ok(name) = item.file_name().to_str() else { continue };
            let kind = match item.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                kind => kind,
            };
            match kind {
                FileType::Directory if !name.starts_with('.') => found(name, true),
                FileType::RegularFile => found(name, false),
                _ => {}
            }
        }
        Ok(())
    }

    fn beneath(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        #[cfg(target_os = "linux")]
        {
            // EAGAIN: something was renamed meanwhile, and the kernel could not tell whether we are still beneath.
            for _ in 0..crate::limits::MEDIA_OPEN_TRIES {
                match self.resolve(name, flags, rustix::fs::ResolveFlags::empty()) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::NOSYS | Errno::PERM) => return self.walk(name, flags),
                    opened => return Ok(opened?),
                }
            }
            Err(Errno::AGAIN.into())
        }
        #[cfg(not(target_os = "linux"))]
        self.walk(name, flags)
    }

    #[cfg(target_os = "linux")]
    fn resolve(
        &self,
        name: &str,
        flags: OFlags,
        how: rustix::fs::ResolveFlags,
    ) -> rustix::io::Result<OwnedFd> {
        use rustix::fs::ResolveFlags;
        let beneath =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&**self.folder, name, flags, Mode::empty(), beneath | how)
    }

    /// As [`Root::file`] opens one where the kernel does not help.
    #[cfg(test)]
    pub fn walked(&self, name: &str) -> io::Result<OwnedFd> {
        self.walk(name, READ)
    }

    /// Part by part, following nothing.
    fn walk(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let mut within: Option<OwnedFd> = None;
        let (folders, last) = name.rsplit_once('/').unwrap_or(("", name));
        let open = |within: &Option<OwnedFd>, part: &str, flags| {
            if matches!(part, "" | "." | "..") {
                return Err(Errno::NOENT);
            }
            let at: BorrowedFd<'_> = within.as_ref().map_or(self.folder.as_fd(), AsFd::as_fd);
            rustix::fs::openat(at, part, flags, Mode::empty())
        };
        for part in folders.split('/').filter(|_| !folders.is_empty()) {
            within = Some(open(&within, part, READ | OFlags::DIRECTORY)?);
        }
        Ok(open(&within, last, flags)?)
    }
}

/// A folder in the root, in which something is put or taken away.
pub struct Folder(Owned<OwnedFd>);

impl Folder {
    /// A new file of that name, which must not be there.
    pub fn create(&self, name: &str, ledger: &Ledger) -> io::Result<Owned<File>> {
        let entry = ledger.enter(Kind::MediaFile, "media", 0);
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*self.0, name, flags, Mode::from_raw_mode(0o644))?;
        Ok(Owned::new(File::from(file), entry))
    }

    /// Gives a file its name, if nothing has it, and sees that this lasts.
    pub fn give(&self, from: &str, to: &str) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        match rustix::fs::renameat_with(&*self.0, from, &*self.0, to, RenameFlags::NOREPLACE) {
            // Some file systems do not know of it.
            Err(Errno::INVAL | Errno::NOSYS) => self.link(from, to)?,
            given => given?,
        }
        #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
        self.link(from, to)?;
        self.sync()
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        rustix::fs::linkat(&*self.0, from, &*self.0, to, AtFlags::empty())?;
        Ok(rustix::fs::unlinkat(&*self.0, from, AtFlags::empty())?)
    }

    /// Takes a file away.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&*self.0, name, AtFlags::empty())?)
    }

    /// Sees that what was named or taken away here stays so.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&*self.0)?)
    }
}

/// What a file is at this moment. What is no file is not there.
pub fn stamp(file: BorrowedFd<'_>) -> io::Result<Stamp> {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NOENT.into());
    }
    Ok(Stamp::of(&stat))
}
