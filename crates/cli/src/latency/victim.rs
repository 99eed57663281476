//! Whoever computes on the target's CPU while it is woken.

use std::time::Duration;

use corelane_os::clock;

use super::exchange::Exchange;
use super::stamp::Stamp;

/// The work between two safe points.
const WORK_NS: u64 = 1_000;

/// A victim that nobody stops would hold a CPU for ever; it gives up by itself.
const GRACE: Duration = Duration::from_millis(500);

/// Computes until the block is over, and calls `safe_point` after each piece of work.
pub(super) fn compute(stamp: Stamp, exchange: &Exchange, length: Duration, safe_point: impl Fn()) {
    let give_up_ns = clock::now_ns() + (length + GRACE).as_nanos() as u64;
    while !exchange.is_over() && clock::now_ns() < give_up_ns {
        stamp.spin(WORK_NS);
        safe_point();
    }
}
