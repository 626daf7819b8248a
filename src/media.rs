//! Media: pictures, sounds and films that never change under their names. Invariants: nothing outside of the root is opened;
//! what is served is of the one content that its tag names, or the transfer breaks; what lies in memory is reserved, and goes
//! back with its last reader; a file is read to be hashed once for each of its contents.

mod catalogue;
pub mod cold;
mod hot;
mod keep;
pub mod kind;
pub mod name;
mod root;
mod samples;
mod store;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rustix::io::Errno;
use tokio::sync::{Notify, Semaphore};

use catalogue::Catalogue;
pub use catalogue::Entry;
use cold::Cold;
use hot::Hot;
use name::Name;
use root::Root;
use store::Draft;

use crate::ledger::Kind;
use crate::limits;
use crate::metrics::Metrics;
use crate::tasks::Spawner;

/// Where media lie, and how much of them is kept in memory.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// The folder.
    pub root: PathBuf,
    /// Bytes of files in memory at most; 0: none.
    pub hot_bytes: u64,
    /// The largest file that is taken.
    pub max_file_bytes: u64,
    /// Whether an empty folder begins with samples.
    pub samples: bool,
    /// Where what is known of the files is kept, if anywhere.
    pub index: Option<PathBuf>,
}

/// Why something cannot be done with a file.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// There is none of that name, or not with that content.
    #[error("there is no such file")]
    NotFound,
    /// Its content is not what it was a moment ago.
    #[error("the file is changing just now")]
    Changing,
    /// It has another content, and browsers do not ask again for a year.
    #[error(
        "there is a file of this name with another content; a name keeps its content, so choose another"
    )]
    Exists,
    /// It is none of the kinds that are taken, or not of the kind that its name says.
    #[error("{}", said_of(named, found.as_deref()))]
    Kind {
        /// What its name says.
        named: &'static str,
        /// What it is, where that is known.
        found: Option<&'static str>,
    },
    /// Its name ends in nothing that is known.
    #[error("the name of a file must end in one of {}", kind::endings())]
    Ending,
    /// The disk is full.
    #[error("there is no space left for it")]
    Full,
    /// As many files as may be.
    #[error("there are as many files as may be: {}", limits::MEDIA_FILES)]
    TooMany,
    /// The server leaves.
    #[error("the server is shutting down")]
    Leaving,
    /// The disk, or the right to use it.
    #[error("the folder of media cannot be used: {0}")]
    Io(String),
}

fn said_of(named: &str, found: Option<&str>) -> String {
    match found {
        Some(found) => format!("its name says that it is {named}, and it is {found}"),
        None => format!("its name says that it is {named}, and it is not"),
    }
}

fn kind_error(name: &str) -> MediaError {
    match kind::of_name(name) {
        Some(kind) => MediaError::Kind { named: kind.media_type, found: None },
        None => MediaError::Ending,
    }
}

impl From<io::Error> for MediaError {
    fn from(error: io::Error) -> Self {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        match errno {
            // Links, devices without a driver, and ways out of the root are not there.
            Some(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::LOOP
                | Errno::XDEV
                | Errno::NXIO
                | Errno::ISDIR
                | Errno::NAMETOOLONG
                | Errno::ACCESS,
            ) => Self::NotFound,
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::Full,
            Some(Errno::EXIST) => Self::Exists,
            _ if error.kind() == io::ErrorKind::ResourceBusy => Self::Changing,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// The media of a server. Clones share them.
#[derive(Clone)]
pub struct Media(Arc<Inner>);

struct Inner {
    root: Root,
    catalogue: Catalogue,
    hot: Hot,
    spawner: Spawner,
    metrics: Metrics,
    /// Files that are being read to be hashed.
    learning: Mutex<HashSet<Arc<str>>>,
    learnt: Notify,
    learners: Semaphore,
    /// Asks for another look at the whole folder.
    rescan: Notify,
    scanned: Mutex<Option<Instant>>,
    max_file_bytes: u64,
}

/// A file's content.
pub enum Content {
    /// In memory.
    Hot(Bytes),
    /// On the disk.
    Cold(Arc<Cold>),
}

/// Whether something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is new.
    New,
    /// It was there already.
    Same,
}

impl Media {
    /// Opens the folder, and begins to look at what is in it.
    pub fn start(config: &MediaConfig, spawner: &Spawner, metrics: &Metrics) -> io::Result<Self> {
        let ledger = spawner.ledger().clone();
        let root = Root::open(&config.root, &ledger)?;
        let this = Self(Arc::new(Inner {
            root,
            catalogue: Catalogue::open(config.index.clone()),
            hot: Hot::new(config.hot_bytes, ledger),
            spawner: spawner.clone(),
            metrics: metrics.clone(),
            learning: Mutex::default(),
            learnt: Notify::new(),
            learners: Semaphore::new(limits::MEDIA_LEARNERS),
            rescan: Notify::new(),
            scanned: Mutex::default(),
            max_file_bytes: config.max_file_bytes,
        }));
        let (keeper, samples) = (this.clone(), config.samples);
        spawner.spawn(Kind::Service, "media", async move { keeper.keep(samples).await });
        Ok(this)
    }

    /// The largest file that is taken.
    pub fn max_file_bytes(&self) -> u64 {
        self.0.max_file_bytes
    }

    /// What is known of a file. It is looked at once a second, and read where it changed.
    pub async fn find(&self, name: &Name) -> Result<Arc<Entry>, MediaError> {
        let entry = match self.0.catalogue.get(&name.plain) {
            Some(entry) if !entry.is_due() => entry,
            Some(entry) => self.look(&entry).await?,
            None => self.learn(&name.plain).await?,
        };
        match &name.hash {
            Some(hash) if *hash != entry.hash => Err(MediaError::NotFound),
            _ => Ok(entry),
        }
    }

    /// The content of a file as `entry` has it; [`MediaError::Changing`] where it is not that any more.
    pub async fn content(&self, entry: &Arc<Entry>) -> Result<Content, MediaError> {
        let Inner { root, hot, spawner, .. } = &*self.0;
        let cold = match hot.get(entry, root, spawner).await {
            Ok(bytes) => return Ok(Content::Hot(bytes)),
            Err(cold) => cold,
        };
        if cold == hot::Cold::NoRoom
            && let Ok(cold) = Cold::open(entry, root, spawner).await
        {
            return Ok(Content::Cold(Arc::new(cold)));
        }
        // Whoever asks next finds what there is now.
        self.learn_anew(entry).await?;
        Err(MediaError::Changing)
    }

    /// Files behind `after`, by name, at most so many, and whether there are more. What was put there by others is seen soon.
    pub fn list(&self, after: &str, most: usize) -> (Vec<Arc<Entry>>, bool) {
        let scanned = *self.0.scanned.lock().unwrap_or_else(PoisonError::into_inner);
        if scanned.is_some_and(|scanned| scanned.elapsed() >= limits::MEDIA_SCAN_EVERY) {
            self.0.rescan.notify_one();
        }
        self.0.catalogue.list(after, most)
    }

    /// Looks at the whole folder again, soon.
    pub fn rescan(&self) {
        self.0.rescan.notify_one();
    }

    /// Where a file of ours is found for good, of which `url` says where it is found by its plain name.
    pub fn lasting(&self, url: &str) -> Option<String> {
        let name = Name::parse(url.strip_prefix("/media/")?)?;
        let entry = self.0.catalogue.get(&name.plain).filter(|_| name.hash.is_none())?;
        Some(entry.address())
    }

    /// Begins a file of that name.
    pub async fn begin(&self, name: &str) -> Result<Incoming, MediaError> {
        let (root, name) = (self.0.root.clone(), name.to_string());
        let ledger = self.0.spawner.ledger().clone();
        let begun =
            self.0.spawner.blocking("media write", move || Draft::begin(root, &name, &ledger));
        let draft = begun.await.ok_or(MediaError::Leaving)??;
        Ok(Incoming { media: self.clone(), draft })
    }

    /// Takes a file away. Who has it by its lasting address keeps it.
    pub async fn delete(&self, name: &str) -> Result<(), MediaError> {
        let (root, file) = (self.0.root.clone(), name.to_string());
        let removed = self.0.spawner.blocking("media write", move || store::remove(&root, &file));
        removed.await.ok_or(MediaError::Leaving)??;
        if let Some(entry) = self.0.catalogue.get(name) {
            self.0.catalogue.forget(name);
            self.0.hot.forget(&entry.hash).await;
        }
        Ok(())
    }

    async fn look(&self, entry: &Arc<Entry>) -> Result<Arc<Entry>, MediaError> {
        let looked = match self.0.root.file_at_once(&entry.name) {
            Some(looked) => looked,
            None => {
                let (root, name) = (self.0.root.clone(), Arc::clone(&entry.name));
                let looked = self.0.spawner.errand("media look", move || root.look(&name)).await;
                looked.ok_or(MediaError::Leaving)?
            }
        };
        match looked {
            Ok((_, stamp)) if entry.still_is(&stamp) => Ok(Arc::clone(entry)),
            Ok(_) => self.learn_anew(entry).await,
            Err(error) => {
                let error = error.into();
                if matches!(error, MediaError::NotFound) {
                    self.0.catalogue.forget(&entry.name);
                    self.0.hot.forget(&entry.hash).await;
                }
                Err(error)
            }
        }
    }

    /// What a file is of which nothing is known; of several who ask, one reads it.
    async fn learn(&self, name: &str) -> Result<Arc<Entry>, MediaError> {
        let _turn = self.turn(name).await;
        match self.0.catalogue.get(name) {
            Some(entry) => Ok(entry),
            None => self.read(name).await,
        }
    }

    /// What a file is that is not what `old` knows any more.
    async fn learn_anew(&self, old: &Arc<Entry>) -> Result<Arc<Entry>, MediaError> {
        let _turn = self.turn(&old.name).await;
        match self.0.catalogue.get(&old.name) {
            Some(entry) if !Arc::ptr_eq(&entry, old) => Ok(entry),
            _ => self.read(&old.name).await,
        }
    }

    /// The turn of one who reads the file of that name; there is one at a time.
    async fn turn(&self, name: &str) -> Turn<'_> {
        let name: Arc<str> = name.into();
        loop {
            let mut learnt = pin!(self.0.learnt.notified());
            // From here on nothing is missed.
            learnt.as_mut().enable();
            if self.0.learning().insert(Arc::clone(&name)) {
                return Turn { inner: &self.0, name };
            }
            learnt.await;
        }
    }

    async fn read(&self, name: &str) -> Result<Arc<Entry>, MediaError> {
        let _place = self.0.learners.acquire().await.map_err(|_| MediaError::Leaving)?;
        let (root, file) = (self.0.root.clone(), name.to_string());
        let learnt =
            self.0.spawner.errand("media hash", move || catalogue::learn(&root, &file)).await;
        match learnt.ok_or(MediaError::Leaving)? {
            Ok(Some(entry)) => {
                self.0.metrics.media_hashed.inc();
                self.0.catalogue.put(entry).ok_or(MediaError::TooMany)
            }
            found => {
                self.0.catalogue.forget(name);
                match found {
                    Err(error) => Err(error.into()),
                    Ok(_) => Err(MediaError::NotFound),
                }
            }
        }
    }
}

impl Inner {
    fn learning(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.learning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Media::turn`].
struct Turn<'a> {
    inner: &'a Inner,
    name: Arc<str>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.inner.learning().remove(&self.name);
        self.inner.learnt.notify_waiters();
    }
}

/// A file that is being put. Dropped before it is finished, nothing of it stays.
pub struct Incoming {
    media: Media,
    draft: Draft,
}

impl Incoming {
    /// Appends to it.
    pub async fn write(self, parts: Vec<Bytes>) -> Result<Self, MediaError> {
        let Self { media, mut draft } = self;
        let write = move || draft.write(&parts).map(|()| draft);
        let draft =
            media.0.spawner.blocking("media write", write).await.ok_or(MediaError::Leaving)??;
        Ok(Self { media, draft })
    }

    /// Gives it its name.
    pub async fn finish(self) -> Result<(Made, Arc<Entry>), MediaError> {
        let Self { media, draft } = self;
        let put = media.0.spawner.blocking("media write", move || draft.finish()).await;
        let (made, entry) = match put.ok_or(MediaError::Leaving)?? {
            store::Put::Made(entry) => (Made::New, entry),
            store::Put::Same(entry) => (Made::Same, entry),
        };
        let entry = media.0.catalogue.put(entry).ok_or(MediaError::TooMany)?;
        Ok((made, entry))
    }
}

/// Where what is known of the files of `root` is kept, among the `data` of this machine.
pub fn index_file(data: &Path, root: &Path) -> PathBuf {
    let name = blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex();
    data.join(format!("media-{}.json", &name[..16]))
}

#[cfg(test)]
mod tests;
