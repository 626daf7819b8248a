//! What jemalloc says of itself, and what it can be asked to do: give free pages back, write a heap
//! profile. Invariant: a build or a system without it is told apart (`None`, an error), never guessed.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tikv_jemalloc_ctl::{epoch, raw, stats};

/// The allocator at one moment, in bytes (jemalloc's `stats.*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Handed out to the program.
    pub allocated: u64,
    /// In pages of which something is handed out.
    pub active: u64,
    /// In pages that the system has given memory to.
    pub resident: u64,
    /// Address space that is kept without memory behind it.
    pub retained: u64,
}

/// The allocator's numbers, brought up to date.
pub fn heap() -> Option<Heap> {
    epoch::advance().ok()?;
    let bytes = |read: tikv_jemalloc_ctl::Result<usize>| read.ok().map(|bytes| bytes as u64);
    Some(Heap {
        allocated: bytes(stats::allocated::read())?,
        active: bytes(stats::active::read())?,
        resident: bytes(stats::resident::read())?,
        retained: bytes(stats::retained::read())?,
    })
}

/// Gives every free page of every arena back to the system, now.
pub fn purge() -> io::Result<()> {
    // All arenas: MALLCTL_ARENAS_ALL is 4096.
    let name = c"arena.4096.purge";
    let none = std::ptr::null_mut();
    // SAFETY: the name ends with a NUL, and this command takes no value and gives none.
    #[allow(unsafe_code)]
    let code = unsafe {
        tikv_jemalloc_sys::mallctl(
            name.as_ptr(),
            none,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Whether this process samples its allocations, so that a profile says something.
pub fn samples() -> bool {
    // SAFETY: `opt.prof` is a `bool` (jemalloc(3)).
    #[allow(unsafe_code)]
    let on = unsafe { raw::read::<bool>(b"opt.prof\0") };
    on.unwrap_or(false)
}

/// Writes a heap profile to `file`, in the text format that `jeprof` reads, jemalloc's edition of pprof.
pub fn write_profile(file: &Path) -> io::Result<()> {
    let name = CString::new(file.as_os_str().as_bytes())?;
    // SAFETY: `prof.dump` takes a pointer to a name that ends with a NUL, and reads it before it returns.
    #[allow(unsafe_code)]
    let written = unsafe { raw::write(b"prof.dump\0", name.as_ptr()) };
    written.map_err(|_| {
        io::Error::other("the allocator could not write it: is there room on the disk?")
    })
}

#[cfg(all(test, not(evensong_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_counted_and_can_be_given_back() {
        let before = heap().expect("jemalloc is the allocator here, too");
        let taken = vec![1u8; 64 << 20];
        let with = heap().expect("still there");
        assert!(with.allocated >= before.allocated + (60 << 20), "{before:?} {with:?}");
        assert!(with.resident >= with.active && with.active >= with.allocated);
        drop(taken);
        purge().expect("it can be asked");
        let after = heap().expect("still there");
        assert!(after.resident + (50 << 20) <= with.resident, "{with:?} {after:?}");
    }
}
