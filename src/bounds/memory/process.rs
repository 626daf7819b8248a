//! What the kernel says of this process as a whole. Invariant: what cannot be read is 0, and nothing that is
//! shown here is guessed.

/// The process at one moment, without its workers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Time on a processor, user and system.
    pub cpu_seconds: f64,
    /// Memory that is there.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Most that may be open.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
    /// When it began, in seconds since 1970.
    pub start_seconds: f64,
}

impl Process {
    /// As `/proc` says now.
    pub fn read() -> Self {
        let text = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let booted = text("/proc/stat");
        let booted =
            booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        let (stat, page) = (text("/proc/self/stat"), rustix::param::page_size() as u64);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self {
            max_fds: limit.unwrap_or(u64::MAX),
            ..Self::parse(&stat, ticks, page, booted.unwrap_or(0.0))
        }
    }

    /// `stat` is the line of proc_pid_stat(5); `booted` seconds since 1970.
    fn parse(stat: &str, ticks: f64, page: u64, booted: f64) -> Self {
        // The second field is the name, in brackets, and may hold anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        // Numbered there from 1; after name and number, the third is the first here.
        let field =
            |n: usize| fields.get(n - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        Self {
            cpu_seconds: (field(14) + field(15)) as f64 / ticks,
            threads: field(20),
            start_seconds: booted + field(22) as f64 / ticks,
            virtual_bytes: field(23),
            resident_bytes: field(24) * page,
            ..Self::default()
        }
    }
}

/// What is in memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resident {
    /// All of it; 0 where the system does not say.
    pub all: u64,
    /// Of that, pages of files and what is shared.
    pub files: u64,
}

/// Of this process, without its workers.
pub fn resident() -> Resident {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let bytes = |field| pages(&statm, field) * rustix::param::page_size() as u64;
    Resident { all: bytes(1), files: bytes(2) }
}

/// Resident bytes of this process, without its workers; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    resident().all
}

/// Resident bytes of the child processes: the workers. What they share with one another counts for each.
pub fn children_resident_bytes() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let resident = |child: &str| resident_pages(&format!("/proc/{child}/statm"));
    children.map(|all| all.split_whitespace().map(resident).sum::<u64>()).sum::<u64>()
        * rustix::param::page_size() as u64
}

fn resident_pages(statm: &str) -> u64 {
    let statm = std::fs::read_to_string(statm).unwrap_or_default();
    pages(&statm, 1)
}

/// A field of proc_pid_statm(5), from 0.
fn pages(statm: &str, field: usize) -> u64 {
    statm.split(' ').nth(field).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

#[cfg(all(test, not(evensong_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_shifts_nothing() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 0 10 0 0 0 150 50 0 0 20 0 9 0 3000 4096000 25 \
                    18446744073709551615 0";
        let process = Process::parse(stat, 100.0, 4096, 1_000_000.0);
        assert_eq!((process.cpu_seconds, process.threads), (2.0, 9));
        assert_eq!((process.start_seconds, process.virtual_bytes), (1_000_030.0, 4_096_000));
        assert_eq!(process.resident_bytes, 25 * 4096);
        assert_eq!(Process::parse("", 100.0, 4096, 0.0), Process::default());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_there() {
        let process = Process::read();
        assert!(process.threads >= 1 && process.max_fds >= 3);
        assert!(process.start_seconds > 1.6e9, "{process:?}");
        let near = process.resident_bytes.abs_diff(resident_bytes());
        assert!(near < 64 << 20 && resident_bytes() > 1 << 20, "{process:?}");
    }
}
