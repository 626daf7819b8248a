//! How much memory the cgroup of this process leaves it. Invariant: the least of all that hold counts:
//! its own limit and those of the groups around it, of version 1 and version 2.

use std::path::Path;

/// Bytes, or none where nothing limits them.
pub fn memory_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    least(Path::new("/sys/fs/cgroup"), &groups)
}

/// `groups` is what the kernel says of a process: `number:controllers:path` lines.
fn least(mounted: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => (mounted.to_path_buf(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (mounted.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the path may be the host's: then only the root is there, and is ours.
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().filter_map(|group| read(&root.join(group).join(file))).min()
    });
    limits.min()
}

fn read(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(file, text).expect("written");
        };
        let limit = |groups: &str| least(root.path(), groups);
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "2000\n");
        assert_eq!(limit("0::/a/b\n"), Some(1000));
        write("memory/c/memory.limit_in_bytes", "500\n");
        let both = "4:cpu:/x\n3:blkio,memory:/c/d\n0::/a/b\n";
        assert_eq!(limit(both), Some(500));
        write("memory.max", "300\n");
        assert_eq!(limit("0::/of/the/host\n"), Some(300));
        assert_eq!(limit("nonsense"), None);
    }
}
