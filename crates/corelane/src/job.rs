//! What a task runs, and where its result goes.
//!
//! A task brings a closure and leaves a result for one handle. Both lie in the task itself ([`Room`]),
//! first the one, then the other, so that neither needs memory of its own; the functions that know their
//! types come with them. A panic becomes the result; so does being cancelled or never started. Whatever
//! happens, the job is completed exactly once: a joiner never waits for a task that is gone.
//!
//! ```text
//!   EMPTY ─(0) fill─► UNRUN ─(1) take─► EMPTY ─(2) run, abandon─► RESULT ─(3) take_result, discard─► EMPTY
//!   └─── whoever holds the task: its spawner, a queue, its fiber ──────┘
//!                                    complete ─► the handle, or the fiber if the handle has been dropped
//! ```
//!
//! Room and stage have one owner at a time. Before (2) that is whoever holds the task, which has not
//! started or is on its fiber; [`Job::take`] makes a [`Taken`] of that right. After [`Ran::complete`] it is
//! the handle, of which there is one; if the handle has been dropped before, the right stays with the `Ran`.
//!
//! Cost: no allocation for closures and results of up to [`crate::room::ROOM_BYTES`]; one exchange.
//!
//! # Unsafe
//! What is raw: the room and its types. Shown by `tests/spawn.rs`, `tests/payloads.rs` and `tests/cancel.rs`.

use crate::primitives::panic::{AssertUnwindSafe, catch_unwind};
use core::any::Any;
use core::cell::{Cell, UnsafeCell};

use crate::JoinError;
use crate::completion::{Completion, Owner};
use crate::room::Room;

/// The private payload with which a cancelled task unwinds.
pub(crate) struct Cancelled;

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Returned,
    Panicked,
    Cancelled,
}

/// What is in the room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Unrun,
    Empty,
    /// Code of the closure runs.
    Running,
    Result,
}

/// What knows the types. Each is called by the room's owner, with what the stage before the colon holds.
///
/// # Safety
/// Of each: the room is the caller's alone, and what is in it has the types that this table was made for
/// (in stage Running there is nothing in it). `Job::fill` keeps it by setting the table with the room, and
/// the methods of `Job` and `Taken` by reading or moving the stage at each call.
struct Types {
    /// Unrun: empties the room, and fills it with the result. By pointer: it may never return.
    run: unsafe fn(*mut Room) -> Ended,
    /// Unrun: the same for a closure that is given up.
    abandon: unsafe fn(*mut Room, JoinError),
    /// Running: fills it with the result of a closure that is left in the middle.
    desert: unsafe fn(*mut Room),
    /// Result: drops it.
    drop_result: unsafe fn(&mut Room),
}

pub(crate) struct Job {
    done: Completion,
    stage: Cell<Stage>,
    types: Cell<&'static Types>,
    room: UnsafeCell<Room>,
}

// SAFETY: `room` and `stage` have one owner at a time, see the module's page; what lies in the room is
// `Send`, by the bounds of `fill`, and so is an error.
unsafe impl Sync for Job {}
// SAFETY: as above.
unsafe impl Send for Job {}

impl Job {
    /// A job without a closure yet.
    #[inline]
    pub(crate) fn vacant() -> Job {
        Job {
            done: Completion::new(),
            stage: Cell::new(Stage::Empty),
            types: Cell::new(const { &types::<fn(), ()>() }),
            room: UnsafeCell::new(Room::empty()),
        }
    }

    /// (0) Moves the closure in, right to where it is kept.
    ///
    /// # Safety
    /// The job is vacant, and nobody else knows the task.
    #[inline]
    pub(crate) unsafe fn fill<F, T>(&self, closure: F)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: nobody else knows the task, so the room is ours; it is empty.
        unsafe { (*self.room.get()).put(closure) };
        self.types.set(const { &types::<F, T>() });
        self.stage.set(Stage::Unrun);
    }

    /// (1) Takes the closure, unless somebody has.
    ///
    /// # Safety
    /// The caller holds the task: it took it out of a queue or has not put it into one, or is its fiber.
    pub(crate) unsafe fn take(&self) -> Option<Taken<'_>> {
        if self.stage.get() != Stage::Unrun {
            return None;
        }
        self.stage.set(Stage::Empty);
        Some(Taken(self))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.is_done()
    }

    /// Ends a closure in the middle, where nothing unwinds; nothing happens if none runs.
    ///
    /// # Safety
    /// The caller is code of the closure, and is never continued.
    pub(crate) unsafe fn desert(&self) {
        if self.stage.get() != Stage::Running {
            return;
        }
        // SAFETY: the room belongs to `Taken::run` below us on this stack, which is not continued; it is empty.
        unsafe { (self.types.get().desert)(self.room.get()) };
        self.stage.set(Stage::Result);
        let ended = Ended::Cancelled;
        Ran { job: self, ended }.complete_and_discard();
    }

    /// Waits until the job is done.
    ///
    /// # Safety
    /// The caller is the job's handle.
    #[inline]
    pub(crate) unsafe fn wait(&self) {
        self.done.wait();
    }

    /// (3) The handle takes the result, once.
    ///
    /// # Safety
    /// The caller is the handle that was made with the job, and so `T` is its type.
    #[inline]
    pub(crate) unsafe fn take_result<T>(&self) -> Result<T, JoinError> {
        assert!(self.is_done(), "a result is taken after the task has ended");
        let stage = self.stage.replace(Stage::Empty);
        assert_eq!(stage, Stage::Result, "a result is taken once");
        // SAFETY: done, so the room is the handle's; it holds a result, of type `T` by contract.
        unsafe { (*self.room.get()).take() }
    }

    /// The handle is dropped: drops a result that was not taken, or leaves it to the fiber.
    ///
    /// # Safety
    /// The caller is the handle, and does not touch the job again.
    #[inline]
    pub(crate) unsafe fn detach(&self) {
        if self.is_done() || self.done.detach() == Owner::Waiter {
            self.discard();
        }
    }

    /// (3) The owner of a completed job drops its result, if there is one.
    fn discard(&self) {
        if self.stage.replace(Stage::Empty) == Stage::Result {
            // SAFETY: the room is the caller's, and it held a result.
            unsafe { (self.types.get().drop_result)(&mut *self.room.get()) };
        }
    }
}

impl Drop for Job {
    /// A task that is dropped unrun takes its closure with it.
    fn drop(&mut self) {
        if self.stage.get() == Stage::Unrun {
            // SAFETY: nobody else is left.
            unsafe { (self.types.get().abandon)(self.room.get(), JoinError::Cancelled) };
            self.stage.set(Stage::Result);
        }
        contain(|| self.discard());
    }
}

/// The right to run the closure of a job or to give it up, one of which must follow.
#[must_use = "a joiner waits for the job to end"]
pub(crate) struct Taken<'a>(&'a Job);

impl<'a> Taken<'a> {
    /// (2) Runs it on the calling fiber. Never unwinds.
    pub(crate) fn run(self) -> Ran<'a> {
        let job = self.0;
        job.stage.set(Stage::Running);
        // SAFETY: the room is ours by `take`, which found a closure in it.
        let ended = unsafe { (job.types.get().run)(job.room.get()) };
        job.stage.set(Stage::Result);
        Ran { job, ended }
    }

    /// (2) Gives it up unrun.
    pub(crate) fn abandon(self, why: JoinError) -> Ran<'a> {
        let job = self.0;
        job.stage.set(Stage::Running);
        // SAFETY: as in `run`.
        unsafe { (job.types.get().abandon)(job.room.get(), why) };
        job.stage.set(Stage::Result);
        let ended = Ended::Cancelled;
        Ran { job, ended }
    }
}

/// A job that is over and has not told yet.
#[must_use = "a joiner waits for the job to be completed"]
pub(crate) struct Ran<'a> {
    job: &'a Job,
    pub(crate) ended: Ended,
}

impl<'a> Ran<'a> {
    /// Tells the handle, and gives it the result. If there is no handle, the result comes back.
    #[inline]
    pub(crate) fn complete(self) -> Option<Orphan<'a>> {
        let owner = self.job.done.complete();
        (owner == Owner::Completer).then_some(Orphan(self.job))
    }

    /// The same; a result without a handle is dropped.
    pub(crate) fn complete_and_discard(self) {
        self.complete().into_iter().for_each(Orphan::discard);
    }
}

/// The result of a detached task.
#[must_use]
pub(crate) struct Orphan<'a>(&'a Job);

impl Orphan<'_> {
    /// Drops it. A destructor that panics does not unwind into the caller.
    pub(crate) fn discard(self) {
        contain(|| self.0.discard());
    }
}

const fn types<F, T>() -> Types
where
    F: FnOnce() -> T,
{
    Types {
        run: run::<F, T>,
        abandon: abandon::<F, T>,
        desert: desert::<T>,
        drop_result: drop_result::<T>,
    }
}

/// # Safety
/// The room is the caller's and holds an `F`. Nobody else uses it until this returns, or [`desert`] does.
unsafe fn run<F: FnOnce() -> T, T>(room: *mut Room) -> Ended {
    // SAFETY: by contract.
    let closure: F = unsafe { (*room).take() };
    let (ended, result) = match catch_unwind(AssertUnwindSafe(closure)) {
        Ok(value) => (Ended::Returned, Ok(value)),
        Err(payload) if payload.is::<Cancelled>() => (Ended::Cancelled, Err(JoinError::Cancelled)),
        Err(payload) => (Ended::Panicked, Err(JoinError::Panicked(payload))),
    };
    // SAFETY: by contract; empty since the closure was taken.
    unsafe { (*room).put::<Result<T, JoinError>>(result) };
    ended
}

/// # Safety
/// As for [`run`].
unsafe fn abandon<F: FnOnce() -> T, T>(room: *mut Room, why: JoinError) {
    // SAFETY: by contract.
    let closure: F = unsafe { (*room).take() };
    contain(move || drop(closure));
    // SAFETY: by contract; empty since the closure was taken.
    unsafe { (*room).put::<Result<T, JoinError>>(Err(why)) };
}

/// # Safety
/// The room is empty and the caller's, because the code that had it is not continued.
unsafe fn desert<T>(room: *mut Room) {
    // SAFETY: by contract.
    unsafe { (*room).put::<Result<T, JoinError>>(Err(JoinError::Cancelled)) };
}

/// # Safety
/// The room is the caller's and holds a result.
unsafe fn drop_result<T>(room: &mut Room) {
    // SAFETY: by contract.
    drop(unsafe { room.take::<Result<T, JoinError>>() });
}

fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // The panic hook has reported it; dropping the payload could panic again.
        core::mem::forget::<Box<dyn Any + Send>>(payload);
    }
}
