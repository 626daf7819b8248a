//! What the process really has, beside what the ledger says it should have: tasks as the runtime counts
//! them, descriptors and threads as the kernel does. Invariant: whatever lives without being entered in
//! the ledger makes the two differ.

use std::sync::LazyLock;

use serde::Serialize;

use super::{Kind, Ledger};
use crate::limits::BLOCKING_THREADS;

/// The allocator has a thread for each core. Counted once: to ask is to read the files of the cgroup.
static ALLOCATOR_THREADS: LazyLock<usize> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.max(tikv_jemalloc_ctl::max_background_threads::read().unwrap_or(0))
});

/// What was there before the server served, and is not in the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub struct Baseline {
    fds: u64,
}

/// Both sides of the books at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// As counted by runtime and kernel.
    pub process: Process,
    /// As the ledger says it should be.
    pub expected: Expected,
}

/// See [`Census::process`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Open file descriptors.
    pub fds: u64,
    /// Threads.
    pub threads: u64,
    /// Tasks of the runtime that have not ended.
    pub tasks: u64,
}

/// See [`Census::expected`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Those of the ledger and of the baseline.
    pub fds: u64,
    /// The most that can be: the runtime's, its blocking ones, the allocator's.
    pub threads_most: u64,
    /// Those of the ledger.
    pub tasks: u64,
}

impl Baseline {
    /// Taken once, before anything is started and anybody let in: from then on whatever is opened has a
    /// line in the ledger. `listeners` are open by then, and enter it later.
    pub fn take(listeners: usize) -> Self {
        let listeners = listeners as u64 * Kind::Listener.fds();
        Self { fds: count("/proc/self/fd").unwrap_or(0).saturating_sub(listeners) }
    }
}

impl Census {
    /// Times that both sides are looked at before a difference is believed: between a thing's end
    /// and its entry's, they differ for microseconds.
    const LOOKS: usize = 5;

    /// Counts both sides. Where they differ, it looks again, and keeps what differs least.
    pub async fn take(ledger: &Ledger, baseline: Baseline) -> Self {
        let mut best = Self::look(ledger, baseline);
        for _ in 1..Self::LOOKS {
            if best.agrees() {
                break;
            }
            tokio::task::yield_now().await;
            let next = Self::look(ledger, baseline);
            if next.difference() < best.difference() {
                best = next;
            }
        }
        best
    }

    fn look(ledger: &Ledger, baseline: Baseline) -> Self {
        let runtime = tokio::runtime::Handle::current().metrics();
        // One for the main thread.
        let ours = 1 + runtime.num_workers() + BLOCKING_THREADS + *ALLOCATOR_THREADS;
        // Both before and behind the look: what comes or goes meanwhile is no difference.
        let look = || (baseline.fds + ledger.fds(), ledger.tasks(), ledger.may_have());
        let before = look();
        let (fds, tasks) = (count("/proc/self/fd"), runtime.num_alive_tasks() as u64);
        let after = look();
        // What libraries may have by themselves is no difference either, had or not.
        let nearest =
            |there: u64, a: u64, b: u64, foreign: u64| there.clamp(a.min(b), a.max(b) + foreign);
        let foreign_fds = before.2.fds.max(after.2.fds);
        let foreign_tasks = before.2.tasks.max(after.2.tasks);
        let threads_most = ours as u64 + before.2.threads.max(after.2.threads);
        // What cannot be counted, for want of a descriptor to do it by, says nothing.
        let fds = fds.unwrap_or(after.0);
        Self {
            process: Process { fds, threads: count("/proc/self/task").unwrap_or(0), tasks },
            expected: Expected {
                fds: nearest(fds, before.0, after.0, foreign_fds),
                threads_most,
                tasks: nearest(tasks, before.1, after.1, foreign_tasks),
            },
        }
    }

    /// Whether the process has what the ledger says, and no more threads than there can be.
    pub fn agrees(&self) -> bool {
        self.difference() == 0
    }

    /// By how much the sides differ, all in all.
    fn difference(&self) -> u64 {
        let Self { process, expected } = self;
        process.fds.abs_diff(expected.fds)
            + process.tasks.abs_diff(expected.tasks)
            + process.threads.saturating_sub(expected.threads_most)
    }
}

/// Entries of a folder of `/proc`, without the one by which it is read; none where it cannot be.
fn count(folder: &str) -> Option<u64> {
    let entries = std::fs::read_dir(folder).ok()?.count() as u64;
    Some(if folder.ends_with("fd") { entries.saturating_sub(1) } else { entries })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_threads_may_be_fewer_than_there_can_be() {
        let mut census = Census {
            process: Process { fds: 5, threads: 3, tasks: 2 },
            expected: Expected { fds: 5, threads_most: 9, tasks: 2 },
        };
        assert!(census.agrees());
        census.process.threads = 10;
        assert!(!census.agrees());
        census = Census { process: Process { fds: 4, threads: 3, tasks: 2 }, ..census };
        assert!(!census.agrees());
    }
}
