//! One block: an arm's operation, repeated for a few milliseconds.

use corelane_os::clock;

use crate::involuntary_switches;

/// What an arm reports of one block: `N` costs, of which most operations have one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block<const N: usize = 1> {
    /// The cost of one operation in the unit of the claim: the mean of a throughput, the middle or
    /// the tail of a latency, a count.
    pub costs: [f64; N],
    /// From the first operation to the end of the last, in nanoseconds.
    pub length_ns: u64,
    /// How often the kernel took the CPU from a measured thread, beyond what the operation itself
    /// asks for.
    pub interruptions: u64,
}

impl Block {
    /// A block of `operations` operations that took `length_ns` together.
    ///
    /// # Panics
    /// If there was no operation.
    pub fn of_throughput(operations: u64, length_ns: u64, interruptions: u64) -> Block {
        assert!(operations > 0, "a block has at least one operation");
        // A clock that did not advance leaves a ratio undefined; a nanosecond is its resolution.
        let cost = length_ns.max(1) as f64 / operations as f64;
        Block {
            costs: [cost],
            length_ns,
            interruptions,
        }
    }
}

/// A stretch of time on the calling kernel thread, and how often that thread was interrupted in it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    interruptions: u64,
    start_ns: u64,
}

impl Stopwatch {
    /// Starts it. Inside a task the kernel thread is the one that carries the task.
    #[inline]
    pub fn start() -> Stopwatch {
        Stopwatch {
            interruptions: involuntary_switches(),
            start_ns: clock::now_ns(),
        }
    }

    /// The block of so many operations since the start.
    ///
    /// # Panics
    /// If there was no operation.
    #[inline]
    pub fn throughput(self, operations: u64) -> Block {
        let length_ns = clock::now_ns() - self.start_ns;
        let interruptions = involuntary_switches() - self.interruptions;
        Block::of_throughput(operations, length_ns, interruptions)
    }

    /// The block since the start with these costs.
    #[inline]
    pub fn block<const N: usize>(self, costs: [f64; N]) -> Block<N> {
        Block {
            costs,
            length_ns: clock::now_ns() - self.start_ns,
            interruptions: involuntary_switches() - self.interruptions,
        }
    }
}

/// The middle of some latencies in nanoseconds; sorts them. Latencies between two CPUs may be below 0
/// ([`crate::Stamp::between_ns`]), and so may their middle.
///
/// It is the mean of the middle half. The median itself can only be a sample, and on hosts where the
/// cycle counter advances in steps of some 10 ns that is too coarse for a ratio of short latencies;
/// the phase between counter and event is random, so the mean resolves what lies between two steps.
/// Neither half looks at the tail.
///
/// # Panics
/// If there are none.
pub fn middle_ns(samples_ns: &mut [i64]) -> f64 {
    assert!(!samples_ns.is_empty(), "a middle needs a sample");
    samples_ns.sort_unstable();
    let quarter = samples_ns.len() / 4;
    let middle = &samples_ns[quarter..samples_ns.len() - quarter];
    middle.iter().sum::<i64>() as f64 / middle.len() as f64
}

/// The sample that 99 of 100 do not exceed, at least 1; sorts them. With fewer than 100 samples that
/// is the worst.
///
/// # Panics
/// If there are none.
pub fn tail_ns(samples_ns: &mut [i64]) -> f64 {
    assert!(!samples_ns.is_empty(), "a tail needs a sample");
    samples_ns.sort_unstable();
    let rank = (samples_ns.len() * 99).div_ceil(100);
    samples_ns[rank - 1].max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throughput_is_a_mean() {
        assert_eq!(Block::of_throughput(4, 10, 0).costs, [2.5]);
        assert_eq!(Block::of_throughput(1, 0, 0).costs, [1.0]);
    }

    #[test]
    fn the_middle_ignores_the_tail_and_resolves_steps() {
        assert_eq!(middle_ns(&mut [9_000, 3, 1, 4]), 3.5);
        assert_eq!(middle_ns(&mut [10, 20, 10, 10, 20, 10, 0, 9_000]), 12.5);
        assert_eq!(middle_ns(&mut [-60]), -60.0);
    }

    #[test]
    fn the_tail_is_exceeded_by_one_in_a_hundred() {
        let mut hundred: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(tail_ns(&mut hundred), 99.0);
        assert_eq!(tail_ns(&mut [7, 30, 2]), 30.0);
    }
}
