//! The timestamps of both arms.
//!
//! The cycle counter costs some 10 ns and is the same on every CPU where the kernel itself trusts
//! it; elsewhere the monotonic clock is used. Both arms use the same one.

use corelane_os::clock::{self, Tsc};

/// A source of timestamps.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stamp {
    Tsc(Tsc),
    Clock,
}

impl Stamp {
    /// Chooses the source; takes some 20 ms.
    pub(super) fn choose() -> Stamp {
        match Tsc::calibrate() {
            tsc if tsc.invariant() => Stamp::Tsc(tsc),
            _ => Stamp::Clock,
        }
    }

    /// The name in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Stamp::Tsc(_) => "invariant cycle counter",
            Stamp::Clock => "CLOCK_MONOTONIC",
        }
    }

    /// Now, in units of the source.
    #[inline(always)]
    pub(super) fn now(self) -> u64 {
        match self {
            Stamp::Tsc(tsc) => tsc.now(),
            Stamp::Clock => clock::now_ns(),
        }
    }

    /// From `earlier` to `later` in nanoseconds. Counters of two CPUs may differ by a few cycles; an
    /// interval shorter than that is 0.
    pub(super) fn between_ns(self, earlier: u64, later: u64) -> u64 {
        let delta = later.saturating_sub(earlier);
        match self {
            Stamp::Tsc(tsc) => tsc.to_ns(delta),
            Stamp::Clock => delta,
        }
    }

    /// Computes for `length_ns`.
    #[inline]
    pub(super) fn spin(self, length_ns: u64) {
        let start = self.now();
        while self.between_ns(start, self.now()) < length_ns {
            core::hint::spin_loop();
        }
    }
}
