//! A counter that every CPU adds to and few read.
//!
//! One shared atomic costs a cache-line transfer per addition. Here each CPU adds to its own line,
//! and a reader pays by visiting them all.
//!
//! An addition is a relaxed atomic `fetch_add` on the caller's slot. Under a pin that holds, the
//! line is already owned by this CPU and only the locked instruction itself costs. A plain load and
//! store would be cheaper, but would silently lose an addition if the task were preempted between
//! the two, or if somebody broke the pin. A form without the locked instruction (one unlocked
//! `add`, which preemption on one CPU cannot split) belongs to the work on counters in the runtime,
//! which knows when a pin is broken; this crate does not, and so it does not guess.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{PerCpu, PinCurrentCpu};

/// A `u64` that is the sum of one part per CPU slot. Additions wrap around.
#[derive(Debug)]
pub struct PerCpuCounter {
    parts: PerCpu<AtomicU64>,
}

impl PerCpuCounter {
    /// A counter at zero, for pins that name slots `0..slots`.
    ///
    /// # Panics
    /// If `slots` is zero.
    #[track_caller]
    pub fn new(slots: usize) -> Self {
        Self {
            parts: PerCpu::new(slots, |_| AtomicU64::new(0)),
        }
    }

    /// Adds `n` on the caller's CPU. Wait-free; no addition is ever lost, whatever became of the
    /// pin.
    ///
    /// # Panics
    /// If the pin names a slot that this counter does not have.
    #[track_caller]
    pub fn add(&self, pin: &(impl PinCurrentCpu + ?Sized), n: u64) {
        // Relaxed: a count publishes nothing but itself.
        self.parts.get(pin).fetch_add(n, Relaxed);
    }

    /// Adds one on the caller's CPU.
    ///
    /// # Panics
    /// If the pin names a slot that this counter does not have.
    #[track_caller]
    pub fn inc(&self, pin: &(impl PinCurrentCpu + ?Sized)) {
        self.add(pin, 1);
    }

    /// The sum of all parts, one load each. It is exact once the writers are known to have finished
    /// (joined, for example). While they run, it contains every addition that happened before the
    /// call, and some of those made during it.
    pub fn sum(&self) -> u64 {
        // Relaxed: whoever needs the additions of another thread has already synchronised with that
        // thread.
        self.parts
            .iter()
            .fold(0, |sum, (_, part)| sum.wrapping_add(part.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::PerCpuCounter;
    use crate::pin::TestPin as Pin;

    const ADDITIONS: u64 = 20_000;

    fn sum_of_threads(slot_of_thread: impl Fn(usize) -> usize) -> u64 {
        let counter = PerCpuCounter::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (counter, pin) = (&counter, Pin(slot_of_thread(thread)));
                scope.spawn(move || (0..ADDITIONS).for_each(|_| counter.inc(&pin)));
            }
        });
        counter.sum()
    }

    #[test]
    fn a_new_counter_is_zero_and_sums_what_each_slot_got() {
        let counter = PerCpuCounter::new(2);
        assert_eq!(counter.sum(), 0);
        counter.add(&Pin(0), 40);
        counter.inc(&Pin(1));
        counter.inc(&Pin(1));
        assert_eq!(counter.sum(), 42);
    }

    #[test]
    fn additions_from_four_cpus_all_count() {
        assert_eq!(sum_of_threads(|thread| thread), 4 * ADDITIONS);
    }

    #[test]
    fn a_broken_pin_loses_no_addition() {
        assert_eq!(sum_of_threads(|_| 0), 4 * ADDITIONS);
    }

    #[test]
    fn the_sum_wraps_instead_of_panicking() {
        let counter = PerCpuCounter::new(2);
        counter.add(&Pin(0), u64::MAX);
        counter.add(&Pin(1), 2);
        assert_eq!(counter.sum(), 1);
    }
}
