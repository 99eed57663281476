//! The CPU time of some threads of this process.
//!
//! The clock of the process would do, if it did not also count the thread that measures, and what other
//! rows have left behind.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Threads by their kernel numbers.
pub(crate) struct Threads(Vec<i32>);

impl Threads {
    /// The threads that the process has now.
    ///
    /// # Panics
    /// If the process cannot list its own threads.
    pub(crate) fn all() -> Threads {
        let folder = std::fs::read_dir("/proc/self/task").expect("a process may list its threads");
        let number = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.ok()?.file_name().to_str()?.parse().ok()
        };
        Threads(folder.filter_map(number).collect())
    }

    /// The threads that the process has now and that are not among these.
    pub(crate) fn started_since(&self) -> Threads {
        let mut threads = Threads::all();
        threads.0.retain(|thread| !self.0.contains(thread));
        threads
    }

    /// The CPU time of the threads so far in nanoseconds; one that has ended has none.
    pub(crate) fn spent_ns(&self) -> u64 {
        let clocks = self.0.iter().map(|&thread| clock_of(thread));
        let spent = clocks.filter_map(|clock| clock_gettime(clock).ok());
        spent
            .map(|time| Duration::from(time).as_nanos() as u64)
            .sum()
    }
}

/// The clock of a thread's CPU time, by the kernel's numbering of clocks: the complement of the
/// thread's number, and the bits for "of one thread" (4) and "time on a CPU" (2).
fn clock_of(thread: i32) -> ClockId {
    ClockId::from_raw(!thread << 3 | 4 | 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

    #[test]
    fn only_new_threads_count_and_computing_is_spent() {
        let before = Threads::all();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Relaxed: an end, and nothing else.
                while !is_over.load(Relaxed) {
                    core::hint::spin_loop();
                }
            });
            // A thread that computes has spent a millisecond sooner or later.
            while before.started_since().spent_ns() < 1_000_000 {
                std::thread::sleep(Duration::from_millis(1));
            }
            is_over.store(true, Relaxed);
        });
        assert_eq!(Threads::all().started_since().spent_ns(), 0);
    }
}
