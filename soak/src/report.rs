//! The sums of all runtimes, and how they are told.

use std::time::{Duration, Instant};

use corelane_sim::stream::StreamTally;
use nix::sys::resource::{UsageWho, getrusage};

use crate::count::{Counts, get};

/// How long a run must be to be held to what nearly every runtime shows.
const SHORT: Duration = Duration::from_secs(10);
/// And to what some do.
const LONG: Duration = Duration::from_secs(120);

#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) runtimes: u64,
    pub(crate) events: u64,
    pub(crate) orders: u64,
    pub(crate) doubts: u64,
    pub(crate) guessed: u64,
    pub(crate) restarts: u64,
    pub(crate) dropped: u64,
    pub(crate) spawned: u64,
    pub(crate) ended: u64,
    pub(crate) panicked: u64,
    pub(crate) cancelled: u64,
    pub(crate) joins: u64,
    pub(crate) permits: u64,
    pub(crate) rests: u64,
    pub(crate) contended: u64,
    pub(crate) unjudged: u64,
    pub(crate) violations: u64,
}

impl Sums {
    pub(crate) fn add_stream(&mut self, tally: StreamTally) {
        self.events += tally.events;
        self.orders += tally.orders;
        self.doubts += tally.doubts;
        self.guessed += tally.guessed;
        self.restarts += tally.restarts;
        self.violations += tally.violations;
    }

    pub(crate) fn add_counts(&mut self, counts: &Counts, ended: u64) {
        self.ended += ended;
        self.spawned += get(&counts.spawned);
        self.panicked += get(&counts.panicked);
        self.cancelled += get(&counts.cancelled);
        self.joins += get(&counts.joins_answered);
        self.permits += get(&counts.permits_taken);
    }

    pub(crate) fn line(&self, elapsed: Duration, cpu_percent: u64) -> String {
        format!(
            "{:>5} s: {} events judged, {} tasks ended, {} dropped events, {} rests kept, {} runtimes, \
             CPU {cpu_percent} %, {} violations",
            elapsed.as_secs(),
            self.events,
            self.ended,
            self.dropped,
            self.rests,
            self.runtimes,
            self.violations
        )
    }

    /// What should have happened in a run of this length and never did: such a run has shown nothing, and
    /// a soak whose oracles are never asked would otherwise be the cleanest of all.
    pub(crate) fn missing(&self, duration: Duration) -> Vec<&'static str> {
        let rows = [
            ("events judged", self.events, SHORT),
            ("tasks that panicked", self.panicked, SHORT),
            ("tasks cancelled while they ran", self.cancelled, SHORT),
            ("joins answered", self.joins, SHORT),
            ("permits delivered", self.permits, SHORT),
            ("rests at which the promise held", self.rests, SHORT),
            // On many CPUs tasks may be too few, but some runtimes have one CPU.
            ("orders among equals judged", self.orders, LONG),
            ("rests with more tasks than CPUs", self.contended, LONG),
        ];
        let missing = rows
            .iter()
            .filter(|(_, count, least)| *count == 0 && duration >= *least);
        missing.map(|(name, ..)| *name).collect()
    }

    pub(crate) fn summary(&self) -> String {
        let rows = [
            ("runtimes", self.runtimes),
            ("tasks spawned", self.spawned),
            ("tasks ended", self.ended),
            ("  panicked", self.panicked),
            ("  cancelled while they ran", self.cancelled),
            ("joins answered", self.joins),
            ("permits delivered", self.permits),
            ("events judged", self.events),
            ("orders among equals judged", self.orders),
            ("rests at which the promise held", self.rests),
            ("  with more tasks than CPUs", self.contended),
            ("rests not judged", self.unjudged),
            ("events dropped", self.dropped),
            ("orders left open by the clocks", self.doubts),
            ("  events judged meanwhile", self.guessed),
            ("restarts of the oracles", self.restarts),
            ("violations", self.violations),
        ];
        let lines = rows.map(|(name, value)| format!("{name:<34} {value}"));
        lines.join("\n")
    }
}

/// How much of the host's CPUs this process uses.
pub(crate) struct Load {
    since: Instant,
    used: Duration,
    cpus: u32,
}

impl Load {
    pub(crate) fn new(cpus: usize) -> Load {
        Load {
            since: Instant::now(),
            used: used(),
            cpus: cpus.max(1) as u32,
        }
    }

    /// In percent of all CPUs since the last call; `None` if that was a moment ago.
    pub(crate) fn percent(&mut self, at_least: Duration) -> Option<u64> {
        let elapsed = self.since.elapsed();
        if elapsed < at_least {
            return None;
        }
        let now = used();
        let spent = now.saturating_sub(self.used) / self.cpus;
        (self.since, self.used) = (Instant::now(), now);
        Some((100.0 * spent.as_secs_f64() / elapsed.as_secs_f64()) as u64)
    }
}

fn used() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    let times = [usage.user_time(), usage.system_time()];
    let us = times.map(|time| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64);
    Duration::from_micros(us[0] + us[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_judged_nothing_is_not_clean() {
        let nothing = Sums::default();
        assert_eq!(nothing.missing(Duration::from_secs(1)), [""; 0]);
        assert_eq!(nothing.missing(SHORT).len(), 6);
        assert_eq!(nothing.missing(LONG).len(), 8);
        let judged = Sums {
            events: 1,
            panicked: 1,
            cancelled: 1,
            joins: 1,
            permits: 1,
            rests: 1,
            ..Sums::default()
        };
        assert_eq!(judged.missing(SHORT), [""; 0]);
    }
}
