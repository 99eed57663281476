//! Timestamps, the same ones in both arms.
//!
//! The cycle counter costs some 10 ns and counts alike on every CPU where it is invariant; elsewhere
//! the monotonic clock is used.

use corelane_os::clock::{self, Tsc};

/// A source of timestamps.
#[derive(Clone, Copy, Debug)]
pub enum Stamp {
    /// The invariant cycle counter.
    Tsc(Tsc),
    /// CLOCK_MONOTONIC.
    Clock,
}

impl Stamp {
    /// Chooses the source; takes some 20 ms.
    pub fn choose() -> Stamp {
        match Tsc::calibrate() {
            tsc if tsc.invariant() => Stamp::Tsc(tsc),
            _ => Stamp::Clock,
        }
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stamp::Tsc(_) => "invariant cycle counter",
            Stamp::Clock => "CLOCK_MONOTONIC",
        }
    }

    /// Now, in units of the source.
    #[inline(always)]
    pub fn now(self) -> u64 {
        match self {
            Stamp::Tsc(tsc) => tsc.now(),
            Stamp::Clock => clock::now_ns(),
        }
    }

    /// From `earlier` to `later` in nanoseconds; below 0 if the counters of two CPUs differ by more
    /// than that. It is not cut off there: the mean of both directions would no longer be free of the
    /// difference, and the shorter of two latencies would look longer than it is.
    #[inline]
    pub fn between_ns(self, earlier: u64, later: u64) -> i64 {
        let in_ns = |delta: u64| match self {
            Stamp::Tsc(tsc) => tsc.to_ns(delta).cast_signed(),
            Stamp::Clock => delta.cast_signed(),
        };
        match later.checked_sub(earlier) {
            Some(delta) => in_ns(delta),
            None => -in_ns(earlier - later),
        }
    }

    /// Computes for `length_ns`.
    #[inline]
    pub fn spin(self, length_ns: u64) {
        let start = self.now();
        while self.between_ns(start, self.now()) < length_ns.cast_signed() {
            core::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stamp;

    #[test]
    fn a_counter_that_is_behind_gives_a_time_below_zero() {
        assert_eq!(Stamp::Clock.between_ns(100, 150), 50);
        assert_eq!(Stamp::Clock.between_ns(150, 100), -50);
    }
}
