//! Limits of media.

use std::time::Duration;

use super::{CLIENT_SEND_BUFFER_BYTES, HYPER_BUFFER_BYTES, KIB};

/// Longest name, in bytes: what a path may be, and more than people write.
pub const MEDIA_NAME_BYTES: usize = 1024;
/// Folders in one another.
pub const MEDIA_NAME_DEPTH: usize = 8;
/// Longest part of a name: with the hash in it, still what file systems take (255).
pub const MEDIA_PART_BYTES: usize = 200;
/// Files in all; each is known by some 400 bytes.
pub const MEDIA_FILES: usize = 20_000;
/// A file that changed so shortly ago may change again and show the same times: clocks of file systems tick.
pub const MEDIA_FRESH: Duration = Duration::from_secs(2);
/// A file is looked at for changes so often, if it is asked for.
pub const MEDIA_LOOK: Duration = Duration::from_secs(1);
/// The whole folder is, when it is listed.
pub const MEDIA_SCAN_EVERY: Duration = Duration::from_secs(10);
/// What was found out is kept so often.
pub const MEDIA_KEEP_EVERY: Duration = Duration::from_secs(30);
/// A file that changes while it is looked at is looked at so often before that is an error.
pub const MEDIA_OPEN_TRIES: usize = 4;
/// Files that are hashed at once: that is work for a processor, which others need.
pub const MEDIA_LEARNERS: usize = 2;
/// What of a content tells its kind.
pub const MEDIA_HEAD_BYTES: usize = 64;
/// What is read of a file at once where it is not kept in memory. One such piece waits for its reader.
pub const MEDIA_CHUNK_BYTES: usize = 64 * KIB;
/// Files in memory, unless said otherwise.
pub const MEDIA_HOT_BYTES: u64 = 64 * 1024 * KIB as u64;
/// See [`MEDIA_HOT_BYTES`]: more is no cache but a copy of the disk.
pub const MEDIA_HOT_BYTES_MOST: u64 = 64 * 1024 * 1024 * KIB as u64;
/// A part of them is for what comes before something else has gone, and no file is larger.
pub const MEDIA_COMING_PART: u64 = 4;
/// A file that nobody asked for in so long is not kept in memory.
pub const MEDIA_IDLE_MOST: Duration = Duration::from_secs(3600);
/// The largest file that is taken, unless said otherwise.
pub const MEDIA_FILE_BYTES: u64 = 16 * 1024 * KIB as u64;
/// The largest that can be.
pub const MEDIA_FILE_BYTES_MOST: u64 = 4 * 1024 * 1024 * KIB as u64;
/// What of a file that is put waits to be written: half of it is being written meanwhile.
pub const MEDIA_WRITE_BYTES: usize = 512 * KIB;
/// A draft of a server that died is taken away at this age. A younger one may be another server's.
pub const MEDIA_DRAFT_OLD: Duration = Duration::from_secs(24 * 3600);
/// A download: hyper's buffer, the kernel's (which doubles what it is told), and what stands between them.
pub const MEDIA_DOWNLOAD_BYTES: usize =
    HYPER_BUFFER_BYTES + 2 * CLIENT_SEND_BUFFER_BYTES + 32 * KIB;
/// Files on a page of a listing, unless said otherwise.
pub const MEDIA_LISTED: usize = 50;
/// Most of them.
pub const MEDIA_LISTED_MOST: usize = 200;
/// What one of them may take there: its name twice, once with every byte escaped.
pub const MEDIA_LISTED_BYTES: usize = 8 * KIB;

const _: () = {
    assert!(MEDIA_DOWNLOAD_BYTES <= 176 * KIB);
    assert!(MEDIA_LISTED_BYTES > 5 * MEDIA_NAME_BYTES + KIB);
};
