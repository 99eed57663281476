//! The CPU time that this process has spent, in all its threads.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The CPU time since a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    since_ns: u64,
}

impl Spent {
    /// Starts to watch.
    pub(crate) fn watch() -> Spent {
        Spent {
            since_ns: process_ns(),
        }
    }

    /// The CPU time since then in nanoseconds.
    pub(crate) fn ns(self) -> u64 {
        process_ns() - self.since_ns
    }
}

fn process_ns() -> u64 {
    let spent = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let spent = spent.expect("a process may read its own clock");
    Duration::from(spent).as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computing_is_spent_and_sleeping_is_not_much() {
        let spent = Spent::watch();
        let mut sum = 0_u64;
        while spent.ns() < 1_000_000 {
            sum = core::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }
}
