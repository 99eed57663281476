//! What a task runs, and where its result goes.
//!
//! The closure and its result live in one shared packet: the spawner's handle reads the result, the fiber
//! runs the closure. A panic becomes the result; so does being cancelled or never started. Whatever
//! happens, the packet is completed exactly once: a joiner never waits for a task that is gone.
//!
//! # Unsafe
//! What is raw: the two cells of a packet. `closure` belongs to whoever holds the task's `Box<dyn Job>`,
//! which is one; `result` belongs to that holder until `done` is completed, and to the one `JoinHandle`
//! after. Shown by `tests/spawn.rs`.

use crate::primitives::panic::{AssertUnwindSafe, catch_unwind};
use core::any::Any;
use core::cell::UnsafeCell;
use std::sync::Arc;

use crate::JoinError;
use crate::completion::Completion;

/// The private payload with which a cancelled task unwinds.
pub(crate) struct Cancelled;

/// A closure that has not run yet.
pub(crate) trait Job: Send {
    /// Runs it on the calling fiber. Never unwinds. Says whether it was cancelled.
    fn run(self: Box<Self>) -> Ended;
    /// Gives it up unrun.
    fn abandon(self: Box<Self>, why: JoinError);
}

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Returned,
    Panicked,
    Cancelled,
}

pub(crate) struct Packet<T> {
    result: UnsafeCell<Option<Result<T, JoinError>>>,
    pub(crate) done: Completion,
}

// SAFETY: `result` has one owner at a time, handed over by `done`; the value moves between threads.
unsafe impl<T: Send> Sync for Packet<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Packet<T> {}

impl<T> Packet<T> {
    pub(crate) fn new() -> Arc<Packet<T>> {
        Arc::new(Packet {
            result: UnsafeCell::new(None),
            done: Completion::new(),
        })
    }

    /// Takes the result, after `done`.
    pub(crate) fn take(&self) -> Option<Result<T, JoinError>> {
        assert!(
            self.done.is_done(),
            "a result is taken after the task has ended"
        );
        // SAFETY: `done` has handed the cell to the handle, of which there is one.
        unsafe { (*self.result.get()).take() }
    }

    fn complete(&self, result: Result<T, JoinError>) {
        // SAFETY: not completed yet, so the cell belongs to the job, of which there is one.
        unsafe { *self.result.get() = Some(result) };
        self.done.complete();
    }
}

/// A closure with the packet for its result.
pub(crate) struct Closure<F, T> {
    pub(crate) closure: F,
    pub(crate) packet: Arc<Packet<T>>,
}

impl<F, T> Job for Closure<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(self: Box<Self>) -> Ended {
        let Closure { closure, packet } = *self;
        let (ended, result) = match catch_unwind(AssertUnwindSafe(closure)) {
            Ok(value) => (Ended::Returned, Ok(value)),
            Err(payload) if payload.is::<Cancelled>() => {
                (Ended::Cancelled, Err(JoinError::Cancelled))
            }
            Err(payload) => (Ended::Panicked, Err(JoinError::Panicked(payload))),
        };
        finish(packet, result);
        ended
    }

    fn abandon(self: Box<Self>, why: JoinError) {
        let Closure { closure, packet } = *self;
        contain(move || drop(closure));
        finish(packet, Err(why));
    }
}

/// Completes the packet; a detached result whose destructor panics must not unwind into the fiber's loop.
fn finish<T>(packet: Arc<Packet<T>>, result: Result<T, JoinError>) {
    packet.complete(result);
    contain(move || drop(packet));
}

fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // The panic hook has reported it; dropping the payload could panic again.
        core::mem::forget::<Box<dyn Any + Send>>(payload);
    }
}
