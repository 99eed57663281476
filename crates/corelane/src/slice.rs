//! Round-robin slices: a task's share of the CPU among its equals.
//!
//! A slice is measured in running time. A task that is preempted keeps the rest of its slice; one whose
//! slice ends goes behind its equals and gets a new one. The end is noticed at safe points. A FIFO task
//! costs one comparison here and never reads the clock.

use crate::primitives::atomic::Ordering::Relaxed;

use corelane_os::clock;
use corelane_sched::Policy;

use crate::current::Fiber;

/// The fiber's task starts to run.
pub(crate) fn begin(fiber: &Fiber) {
    let task = fiber.task_node();
    let Policy::RoundRobin { slice_ns } = task.entity().policy() else {
        return fiber.set_slice_end_ns(u64::MAX);
    };
    // Relaxed: only the carrier that runs the task touches it.
    let left_ns = match task.body.slice_left_ns.load(Relaxed) {
        0 => slice_ns,
        left_ns => left_ns,
    };
    fiber.set_slice_end_ns(clock::now_ns().saturating_add(left_ns));
}

/// The fiber's task has stopped running: what is left of its slice?
pub(crate) fn end(fiber: &Fiber) {
    if fiber.slice_end_ns() == u64::MAX {
        return;
    }
    let left_ns = fiber.slice_end_ns().saturating_sub(clock::now_ns());
    // Relaxed: see `begin`. Zero means a new slice.
    fiber.task_node().body.slice_left_ns.store(left_ns, Relaxed);
}
