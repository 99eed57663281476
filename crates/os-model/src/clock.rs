//! Virtual time: reading it takes some.

use crate::machine;

/// How long a read takes. A thread that polls the clock gets to its deadline.
const READ_NS: u64 = 100;

/// The virtual CLOCK_MONOTONIC in nanoseconds.
pub fn now_ns() -> u64 {
    machine::with(|machine| {
        machine.now_ns += READ_NS;
        machine.now_ns
    })
}
