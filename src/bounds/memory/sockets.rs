//! What the kernel holds for the sockets of this process. Invariant: every socket counts once, however
//! many descriptors lead to it, and what is looked at is only counted, never touched.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

/// Descriptors that are looked at before others may run.
const STEP: usize = 256;

/// Bytes that the kernel holds for this process' sockets: what came in and was not read, what is to be
/// sent or was not acknowledged, and what it keeps beside. 0 where the system does not say.
pub async fn kernel_bytes() -> u64 {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    // All names first: the folder's own descriptor must not be open while others run, and count.
    let name = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<RawFd>().ok();
    let descriptors: Vec<_> = folder.flatten().filter_map(name).collect();
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    for (n, fd) in descriptors.into_iter().enumerate() {
        // A socket's inode is its name; the link leads nowhere else.
        let inode = std::fs::metadata(format!("/proc/self/fd/{fd}")).map(|data| data.ino());
        if let Ok(inode) = inode
            && let Some(held) = held(fd)
            && seen.insert(inode)
        {
            bytes += held;
        }
        if n % STEP == STEP - 1 {
            tokio::task::yield_now().await;
        }
    }
    bytes
}

/// `SO_MEMINFO` of one socket; none of what is no socket, or is closed by now.
#[cfg(target_os = "linux")]
fn held(fd: RawFd) -> Option<u64> {
    // SK_MEMINFO_*: rmem_alloc, rcvbuf, wmem_alloc, sndbuf, fwd_alloc, wmem_queued, optmem, backlog, drops
    let mut info = [0u32; 9];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`; a number that is no descriptor, or another
    // one by now, is an error or counts that one.
    #[allow(unsafe_code)]
    let code = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    let [read, _, _, _, spare, queued, options, backlog, _] = info.map(u64::from);
    (code == 0).then_some(read + spare + queued + options + backlog)
}

#[cfg(not(target_os = "linux"))]
fn held(_: RawFd) -> Option<u64> {
    None
}

#[cfg(all(test, not(evensong_loom), target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[tokio::test]
    async fn what_waits_in_a_socket_is_counted_once() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut client = TcpStream::connect(address).expect("connected");
        let (served, _) = listener.accept().expect("accepted");
        let before = held(served.as_raw_fd()).expect("a socket");
        client.write_all(&[7; 20_000]).expect("sent");
        let with = held(served.as_raw_fd()).expect("a socket");
        assert!(with >= before + 20_000, "{before} {with}");
        // Other tests' sockets are counted as well: this one's must be in it, its copies not twice.
        let copies: Vec<_> = (0..64).map(|_| served.try_clone().expect("a copy")).collect();
        let all = kernel_bytes().await;
        assert!(all >= with && all < 60 * with, "{all} of which {with}");
        drop(copies);
        assert_eq!(held(-1), None);
    }
}
