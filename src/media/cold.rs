//! A file that is sent without being in memory: a piece at a time, when the one before was taken. Invariant: what is given is of
//! the content that was promised, as far as its file's times tell; a file that changes or ends early breaks the transfer.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use tokio_stream::Stream;

use super::catalogue::Entry;
use super::root::{Root, Stamp, stamp};
use crate::bounds::Stake;
use crate::ledger::Owned;
use crate::limits::MEDIA_CHUNK_BYTES;
use crate::tasks::Spawner;

/// An open file of known content.
pub struct Cold {
    file: Arc<Owned<File>>,
    promised: Stamp,
    spawner: Spawner,
    spare: Arc<Spare>,
}

/// What the last piece lay in, for the next: one that is new costs as much as reading into it.
#[derive(Default)]
struct Spare(Mutex<Option<Vec<u8>>>);

/// Bytes on their way, counted until they are sent.
struct Piece {
    bytes: Vec<u8>,
    spare: Arc<Spare>,
    _held: crate::bounds::budget::Held,
    _stake: Arc<Stake>,
}

impl Spare {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, count: usize) -> Vec<u8> {
        let mut bytes = self.lock().take().unwrap_or_default();
        // By hand: memory that is asked for as zeroed is brought in page by page.
        bytes.resize(count, 0);
        bytes
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        *self.spare.lock() = Some(std::mem::take(&mut self.bytes));
    }
}

impl Cold {
    /// Opens what `entry` knows; an error where it is not that any more.
    pub async fn open(entry: &Arc<Entry>, root: &Root, spawner: &Spawner) -> io::Result<Self> {
        let (file, stamp) = match root.file_at_once(&entry.name) {
            Some(opened) => opened?,
            None => {
                let (root, name) = (root.clone(), Arc::clone(&entry.name));
                let opened = spawner.blocking("media open", move || root.file(&name)).await;
                opened.ok_or_else(|| io::Error::other("the thread died"))??
            }
        };
        if stamp != entry.stamp {
            return Err(changed());
        }
        Ok(Self {
            file: Arc::new(file),
            promised: stamp,
            spawner: spawner.clone(),
            spare: Arc::default(),
        })
    }

    /// The bytes `from` … `to`, under `stake`.
    pub fn stream(
        self: Arc<Self>,
        from: u64,
        to: u64,
        stake: Arc<Stake>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures_util::stream::try_unfold(from, move |at| {
            let (this, stake) = (Arc::clone(&self), Arc::clone(&stake));
            async move {
                if at >= to {
                    return Ok(None);
                }
                let count = (to - at).min(MEDIA_CHUNK_BYTES as u64) as usize;
                let bytes = this.piece(at, count).await?;
                let held = stake.hold(count as u64);
                let spare = Arc::clone(&this.spare);
                let piece = Piece { bytes, spare, _held: held, _stake: stake };
                Ok(Some((Bytes::from_owner(piece), at + count as u64)))
            }
        })
    }

    /// Exactly `count` bytes: at once where the kernel has them, else on a thread that may wait for the disk.
    async fn piece(&self, at: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut buffer = self.spare.take(count);
        let mut filled = 0;
        while filled < count {
            match read_now(&self.file, &mut buffer[filled..], at + filled as u64) {
                Ok(0) => return Err(changed()),
                Ok(got) => filled += got,
                Err(_) => {
                    let (file, from) = (Arc::clone(&self.file), at + filled as u64);
                    let read = move || {
                        std::os::unix::fs::FileExt::read_exact_at(
                            &**file,
                            &mut buffer[filled..],
                            from,
                        )?;
                        Ok::<_, io::Error>(buffer)
                    };
                    let read = self.spawner.blocking("media read", read).await;
                    buffer = read.ok_or_else(|| io::Error::other("the thread died"))??;
                    filled = count;
                }
            }
        }
        // Whoever writes to a file changes its times before a reader can have what was written.
        match stamp(self.file.as_fd())? == self.promised {
            true => Ok(buffer),
            false => Err(changed()),
        }
    }
}

/// What of a file lies in the kernel's memory; an error where that is nothing, or the file system does not say.
fn read_now(file: &File, into: &mut [u8], at: u64) -> Result<usize, Errno> {
    #[cfg(target_os = "linux")]
    {
        let mut into = [io::IoSliceMut::new(into)];
        rustix::io::preadv2(file, &mut into, at, ReadWriteFlags::NOWAIT)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, into, at);
        Err(Errno::AGAIN)
    }
}

fn changed() -> io::Error {
    io::Error::other("the file changed while it was sent")
}
