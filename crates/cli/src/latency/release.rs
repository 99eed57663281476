//! Periodic release: how late a loop wakes up that sleeps until absolute times.

use std::time::Duration;

use corelane_os::clock;

/// The period of the scenario.
const PERIOD_NS: u64 = 1_000_000;

/// The first releases of a block do not count.
const WARM_UP: usize = 1;

/// How an arm sleeps.
pub(super) trait SleepUntil {
    /// Sleeps until the CLOCK_MONOTONIC time `at_ns`.
    fn sleep_until(&self, at_ns: u64);
}

/// The distances from the planned to the real release in nanoseconds. A release that falls into a
/// late one's lateness is left out: it was never waited for.
pub(super) fn errors_ns(length: Duration, sleeper: &impl SleepUntil) -> Vec<u64> {
    let start_ns = clock::now_ns();
    let end_ns = start_ns + length.as_nanos() as u64;
    let mut errors_ns = Vec::with_capacity((length.as_nanos() as u64 / PERIOD_NS) as usize + 1);
    let mut due_ns = start_ns + PERIOD_NS;
    while due_ns <= end_ns {
        sleeper.sleep_until(due_ns);
        let now_ns = clock::now_ns();
        errors_ns.push(now_ns.abs_diff(due_ns));
        due_ns += PERIOD_NS * (1 + now_ns.saturating_sub(due_ns) / PERIOD_NS);
    }
    errors_ns.drain(..WARM_UP.min(errors_ns.len()));
    errors_ns
}
