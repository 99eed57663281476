//! One block: an arm's operation, repeated for a few milliseconds.

/// What an arm reports of one block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// The cost of one operation in nanoseconds: the mean of a throughput, the middle of a latency.
    pub operation_ns: f64,
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
        let operation_ns = length_ns.max(1) as f64 / operations as f64;
        Block {
            operation_ns,
            length_ns,
            interruptions,
        }
    }
}

/// The middle of some latencies in nanoseconds, at least 1; sorts them.
///
/// It is the mean of the middle half. The median itself can only be a sample, and on hosts where the
/// cycle counter advances in steps of some 10 ns that is too coarse for a ratio of short latencies;
/// the phase between counter and event is random, so the mean resolves what lies between two steps.
/// Neither half looks at the tail.
///
/// # Panics
/// If there are none.
pub fn middle_ns(samples_ns: &mut [u64]) -> f64 {
    assert!(!samples_ns.is_empty(), "a middle needs a sample");
    samples_ns.sort_unstable();
    let quarter = samples_ns.len() / 4;
    let middle = &samples_ns[quarter..samples_ns.len() - quarter];
    (middle.iter().sum::<u64>() as f64 / middle.len() as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throughput_is_a_mean() {
        assert_eq!(Block::of_throughput(4, 10, 0).operation_ns, 2.5);
        assert_eq!(Block::of_throughput(1, 0, 0).operation_ns, 1.0);
    }

    #[test]
    fn the_middle_ignores_the_tail_and_resolves_steps() {
        assert_eq!(middle_ns(&mut [9_000, 3, 1, 4]), 3.5);
        assert_eq!(middle_ns(&mut [10, 20, 10, 10, 20, 10, 0, 9_000]), 12.5);
        assert_eq!(middle_ns(&mut [0]), 1.0);
    }
}
