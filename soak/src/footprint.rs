//! What the process holds: threads, descriptors, mappings.
//!
//! Each fiber and each carrier is a thread with a stack, and each stack has a guard: a mapping without any
//! permission. Guards are counted exactly. The number of all mappings also depends on how the allocator's
//! one arena is split, so it may differ a little; a runtime has dozens.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footprint {
    threads: usize,
    descriptors: usize,
    guards: usize,
    mappings: usize,
}

/// By how many mappings two footprints may differ.
const MAPPINGS_TOLERANCE: usize = 6;
/// How long the kernel may take to remove what has ended from its lists.
const SETTLE_MAX: Duration = Duration::from_secs(2);

impl Footprint {
    pub(crate) fn now() -> Footprint {
        let entries = |folder| fs::read_dir(folder).map_or(0, Iterator::count);
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let is_guard = |line: &&str| line.split(' ').nth(1) == Some("---p");
        Footprint {
            threads: entries("/proc/self/task"),
            descriptors: entries("/proc/self/fd"),
            guards: maps.lines().filter(is_guard).count(),
            mappings: maps.lines().count(),
        }
    }

    /// What is left that was not there `before`, once it had time to go.
    pub(crate) fn grown_since(before: Footprint) -> Option<String> {
        let start = Instant::now();
        loop {
            let now = Footprint::now();
            let is_same = (now.threads, now.descriptors, now.guards)
                == (before.threads, before.descriptors, before.guards);
            if is_same && now.mappings <= before.mappings + MAPPINGS_TOLERANCE {
                return None;
            }
            if start.elapsed() > SETTLE_MAX {
                return Some(format!("before {before:?}, after {now:?}"));
            }
            sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stays_is_noticed() {
        let before = Footprint::now();
        let (stay, leave) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || leave.recv());
        assert!(Footprint::grown_since(before).is_some());
        drop(stay);
        assert!(thread.join().is_ok());
    }
}
