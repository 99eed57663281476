//! A waker and a woken that measure the way from one to the other.
//!
//! The first timestamp is taken immediately before the wake, the second by the woken's first
//! instruction. A round trip would be easier to take and would measure the waker's own wait as well.
//! Between two CPUs the counters may differ by a constant; whoever measures takes both directions
//! and their mean, where the constant cancels.
//!
//! The woken answers through one word. The waker polls it, which costs the woken a cache miss after
//! its timestamp, not before it.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::Duration;

use corelane_os::clock;

use crate::{Random, Stamp};

/// A woken that does not answer for so long never will.
const ANSWER_MAX_NS: u64 = 500_000_000;
const SILENT: &str = "the woken does not answer: its wake was lost, or another real-time thread holds its CPU; \
                      end other real-time programs and try again";
const NONE: u64 = 0;

/// The wait before a wake: long enough for the woken to be asleep again, and of no fixed phase.
#[derive(Clone, Copy, Debug)]
pub struct GapNs {
    /// The shortest.
    pub min: u64,
    /// The longest, exclusive.
    pub max: u64,
}

/// The words between waker and woken.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Exchange {
    answered_at: AtomicU64,
    ready: AtomicBool,
    over: AtomicBool,
}

impl Exchange {
    /// Waits on an ordinary thread until the woken is about to wait.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn await_ready(&self) {
        let give_up_ns = clock::now_ns() + ANSWER_MAX_NS;
        // Acquire: pairs with `serve`; what the woken prepared is visible.
        while !self.ready.load(Acquire) {
            assert!(clock::now_ns() < give_up_ns, "{SILENT}");
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// The woken side, until the block is over: `wait` returns when it was woken.
    #[inline]
    pub fn serve(&self, stamp: Stamp, mut wait: impl FnMut()) {
        self.ready.store(true, Release); // Release: pairs with `await_ready`.
        loop {
            wait();
            let woken_at = stamp.now();
            // Acquire: pairs with the end of `sample`, which precedes the last wake.
            if self.over.load(Acquire) {
                return;
            }
            self.answer(woken_at);
        }
    }

    #[inline]
    fn answer(&self, woken_at: u64) {
        // Release: pairs with `await_answer`; a stamp of 0 would read as no answer and is not 0.
        self.answered_at.store(woken_at.max(1), Release);
    }

    /// Takes `count` samples in nanoseconds, each off by what the counters of the two CPUs differ, then ends the block with a last wake.
    ///
    /// # Panics
    /// If the woken does not answer.
    pub fn sample(
        &self,
        stamp: Stamp,
        (count, gap): (u64, GapNs),
        random: &mut Random,
        wake: impl Fn(),
    ) -> Vec<i64> {
        let mut samples_ns = Vec::with_capacity(count as usize);
        for _ in 0..count {
            stamp.spin(gap.min + random.below(gap.max - gap.min));
            self.answered_at.store(NONE, Relaxed); // Relaxed: the woken waits for the wake below.
            let woken_from = stamp.now();
            wake();
            samples_ns.push(stamp.between_ns(woken_from, self.await_answer()));
        }
        self.over.store(true, Release); // Release: pairs with `serve`.
        stamp.spin(gap.max);
        wake();
        samples_ns
    }

    #[inline]
    fn await_answer(&self) -> u64 {
        let give_up_ns = clock::now_ns() + ANSWER_MAX_NS;
        loop {
            match self.answered_at.load(Acquire) {
                // Acquire: pairs with `answer`; a missed answer is read in the next turn.
                NONE => assert!(clock::now_ns() < give_up_ns, "{SILENT}"),
                answered_at => return answered_at,
            }
            core::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Doorbell;

    #[test]
    fn every_wake_is_answered_and_the_last_one_ends_it() {
        let (exchange, doorbell) = (Exchange::default(), Doorbell::default());
        let gap = GapNs {
            min: 1_000,
            max: 50_000,
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut seen = 0;
                exchange.serve(Stamp::Clock, || seen = doorbell.sleep(seen));
            });
            exchange.await_ready();
            let mut random = Random::new(1);
            let samples_ns = exchange.sample(Stamp::Clock, (20, gap), &mut random, || {
                doorbell.ring_asleep()
            });
            assert_eq!(samples_ns.len(), 20);
        });
    }
}
