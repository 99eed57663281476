//! What a running task does without entering the scheduler.

use std::sync::atomic::{Ordering, compiler_fence};

use corelane::{Idle, Priority, Runtime, migrate_disable, task};

/// Enters and leaves a guard. The fence is no instruction; it keeps the two halves from being folded
/// into nothing, as whatever a task does inside would.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_guard() {
    let guard = migrate_disable();
    compiler_fence(Ordering::SeqCst);
    drop(guard);
}

/// A safe point at which nobody asked for anything.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_checkpoint() {
    task::checkpoint();
}

pub(crate) fn guard(_size: usize, calls: usize) {
    in_a_task(move || (0..calls).for_each(|_| probe_guard()));
}

pub(crate) fn checkpoint(_size: usize, calls: usize) {
    in_a_task(move || (0..calls).for_each(|_| probe_checkpoint()));
}

/// Runs `f` as a task on a thread of its own: instrumenting tools follow threads, and lose the thread
/// pointers that carriers exchange. The probes' code is the same.
fn in_a_task(f: impl FnOnce() + Send + 'static) {
    let runtime = Runtime::builder()
        .native_fibers()
        .idle(Idle::Park)
        .build()
        .expect("a runtime on all CPUs");
    runtime
        .spawn(Priority::MIN, f)
        .join()
        .expect("a probe returns");
}
