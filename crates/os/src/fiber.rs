//! A fiber: a stack together with the thread identity that belongs to it.
//!
//! A task that blocks must keep its stack, and a runtime that balances must be able to continue it
//! on another CPU. Moving a bare stack between OS threads is unsound in Rust: a reference from
//! `LocalKey::with` outlives the suspension, LLVM caches the address of a thread-local, the panic
//! count and the allocator's caches are thread-local too.
//!
//! So the thread moves along with the stack. A fiber is a real pthread, the *lender*. It parks at
//! the top of its own stack and lends the rest of that stack, and its thread control block, to the
//! *carriers* that resume the fiber: they load its thread pointer, switch to its stack, and put
//! their own back after. To all compiled code the body is one thread for life, whichever kernel
//! thread executes it. The lender's own kernel thread can run the body too (*native*), for what is
//! keyed by kernel thread id; where thread pointers cannot be carried, it always does
//! ([`Backend::Native`]).
//!
//! ```text
//!            spawn                    resume / resume_native
//!   Starting -----> Lent (parked) --------------------------> running, carried or native
//!                    ^  |                                          |
//!                    |  | finish                 Suspender::suspend, or the body returns
//!                    |  v                                          |
//!                    | Exit --> thread-local destructors, join     |
//!                    +---------------------------------------------+
//! ```
//!
//! Layout of the lender's stack, high addresses first:
//!
//! ```text
//!   thread control block, static thread-locals, start of the pthread
//!   the lender's parked frame
//!   reserve: one signal frame and RESERVE_BYTES, for the lender's own steps while the rest is lent
//!   the body's part                                                       <- Fiber::stack_bytes
//!   the pthread's guard page
//! ```
//!
//! A body that suspends may name the fiber to be resumed in its place ([`Suspender::switch_to`]). The
//! carrier then goes from one to the next without becoming itself in between.
//!
//! Cost: a carried switch there and back is two stack switches, two writes of the thread pointer
//! and a look at the floating-point control words: tens of nanoseconds, no system call with
//! FSGSBASE. A native one is two futex wakes.
//!
//! Limits: a carried body runs with its carrier's kernel thread id, signal mask, alternate signal
//! stack and credentials. Signal masks that a body sets while native are kept between its native
//! runs; masks set while carried are the carrier's.
//!
//! Raw here: everything; see the files below this one. Tested by `tests/fiber.rs`,
//! `tests/fiber_native.rs`, `tests/fiber_setxid.rs` and `tests/fiber_overflow.rs`.

mod backend;
mod credentials;
mod error;
mod lender;
mod rseq;
mod stack;
mod suspender;
mod switch;

pub use backend::{Backend, FsBase, NativeReason, detect_backend};
pub use error::{FiberError, FinishError};
pub use lender::Then;
pub use rseq::RseqError;
pub use stack::{RESERVE_BYTES, STACK_SIZE_MIN};
pub use suspender::Suspender;

pub(crate) use backend::has_shadow_stack;
pub(crate) use stack::bounds as stack_bounds;

use crate::thread::Tid;
use core::ptr::NonNull;
use lender::Lender;
use std::thread::JoinHandle;

/// What a new fiber shall be.
#[derive(Clone, Copy, Debug)]
pub struct FiberSpec<'a> {
    /// The name of its thread, also in std's report of a stack overflow. No NUL bytes.
    pub name: &'a str,
    /// Bytes of the pthread's stack, at least [`STACK_SIZE_MIN`]; [`Fiber::stack_bytes`] says what
    /// is left for the body.
    pub stack_size: usize,
    /// How it is resumed; from [`detect_backend`].
    pub backend: Backend,
}

/// Why a body came back: the one that was resumed, or the last that it switched to
/// ([`Suspender::switch_to`]).
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// It called [`Suspender::suspend`].
    Suspended,
    /// It returned. It must not be resumed again.
    Finished,
}

/// A parked or running fiber.
///
/// Dropping a fiber that was not [`Fiber::finish`]ed leaks its thread, its stack and its body on
/// purpose: a body in the middle of its work can neither be unwound from outside nor be waited for
/// without blocking.
#[derive(Debug)]
pub struct Fiber {
    /// Owned; freed by `finish` after the lender was joined, and by nobody else.
    lender: NonNull<Lender>,
    thread: JoinHandle<()>,
    backend: Backend,
}

// SAFETY: the body is Send before it starts. Once started, everything on its stack and in its
// thread-locals belongs to the fiber's own thread identity, which travels along; the lender's
// fields are owned by whoever its word says.
unsafe impl Send for Fiber {}

// SAFETY: `&Fiber` gives read access to values that never change after spawn, and `is_finished`,
// which asserts that the fiber is parked.
unsafe impl Sync for Fiber {}

impl Fiber {
    /// Creates the fiber's thread and waits until it has parked. The body is not started.
    ///
    /// The body must not unwind: a panic that leaves it ends the process with a message.
    ///
    /// # Errors
    /// See [`FiberError`]; nothing is left behind.
    pub fn spawn(
        spec: &FiberSpec<'_>,
        body: impl FnOnce(&Suspender<'_>) + Send + 'static,
    ) -> Result<Fiber, FiberError> {
        if spec.stack_size < STACK_SIZE_MIN {
            return Err(FiberError::StackTooSmall {
                asked: spec.stack_size,
                min: STACK_SIZE_MIN,
            });
        }
        if spec.name.contains('\0') {
            return Err(FiberError::Name);
        }
        if spec.backend == Backend::Carried(FsBase::Instruction) && !backend::has_fsgsbase() {
            return Err(FiberError::NoFsGsBase);
        }
        let (lender, thread) = lender::start(spec, Box::new(body))?;
        Ok(Fiber {
            lender,
            thread,
            backend: spec.backend,
        })
    }

    fn lender(&self) -> &Lender {
        // SAFETY: the lender is freed by `finish` only, which consumes the fiber.
        unsafe { self.lender.as_ref() }
    }

    /// Runs the body until it suspends or returns; if it switches to another fiber, until that one does.
    ///
    /// Carried: on the calling thread, with the fiber's thread pointer loaded. Native: on the
    /// fiber's own kernel thread, whose affinity and policy are the caller's business
    /// ([`Fiber::tid`]), while the caller sleeps on a futex.
    ///
    /// # Panics
    /// When the fiber is not parked, or its body has returned.
    ///
    /// # Safety
    /// - The calling thread must stay alive and must not be unwound or cancelled until this
    ///   returns.
    /// - A guard that is tied to the calling kernel thread and used by the body (a lock that
    ///   records the kernel thread id) must not be held by the body across a suspension after which
    ///   another carrier resumes it.
    /// - One at a time: nobody else resumes the fiber, switches to it, finishes it or asks whether it
    ///   [`Fiber::is_finished`], until it has suspended. The body must not resume the fiber that it runs on.
    #[inline]
    pub unsafe fn resume(&self) -> Resumed {
        // SAFETY: by contract; the reference keeps the fiber from being finished before the chain ends.
        unsafe { Fiber::resume_chain(self) }
    }

    /// [`Fiber::resume`] for a fiber whose body may switch to another ([`Suspender::switch_to`]) and then
    /// be resumed by somebody else, even finished, before this call returns; hence the raw pointer: a
    /// reference that is an argument promises that its target lives until the function returns.
    ///
    /// # Panics
    /// As [`Fiber::resume`].
    ///
    /// # Safety
    /// As for [`Fiber::resume`]; `fiber` is valid until its body suspends, by itself or by a switch.
    #[inline]
    pub unsafe fn resume_chain(fiber: *const Fiber) -> Resumed {
        // SAFETY: valid by contract, as the body has not run yet; both references end here.
        let (lender, backend) = unsafe { ((*fiber).lender, (*fiber).backend) };
        {
            // SAFETY: as above.
            let lender = unsafe { lender.as_ref() };
            lender.assert_parked();
            assert!(!lender.is_finished(), "a finished body is not resumed");
        }
        match backend {
            // SAFETY: parked and not finished, so body, stack and thread control block are ours by
            // the lender's word; the rest is promised by our caller.
            Backend::Carried(by) => unsafe { switch::carried(lender, by) },
            Backend::Native(_) => {
                // SAFETY: as above; a native body switches to nobody, so the fiber is valid until it is
                // parked, and the caller's after that.
                let lender = unsafe { lender.as_ref() };
                lender.run_native_awaited();
                if lender.is_finished() {
                    Resumed::Finished
                } else {
                    Resumed::Suspended
                }
            }
        }
    }

    /// Hands the body to its own kernel thread and returns at once.
    ///
    /// When the body suspends or returns, the lender first publishes that it is parked, then calls
    /// `then(argument)` on its reserve of stack, then sleeps. From the moment `then` was called any
    /// thread may resume the fiber, also before `then` returns and before this call returns; hence
    /// the raw pointer.
    ///
    /// # Panics
    /// When the fiber is not parked, or its body has returned.
    ///
    /// # Safety
    /// - `fiber` is valid and nobody else uses the fiber until `then` is called.
    /// - As for [`Fiber::resume`], the body must not hold what is tied to another kernel thread.
    /// - `argument` stays valid until `then` has returned.
    /// - `then` runs while the thread control block of its thread may be in use elsewhere. It must
    ///   not touch a thread-local or `errno`, allocate, panic, take a lock that knows its owner's
    ///   thread (parking_lot and std's reentrant ones do), or call what does; atomics,
    ///   [`crate::futex`] and plain memory are its means. It has [`RESERVE_BYTES`] / 2 of stack.
    pub unsafe fn resume_native(fiber: *const Fiber, then: Then, argument: *const ()) {
        // SAFETY: valid by contract until the word is stored; the reference ends before that.
        let lender = unsafe { (*fiber).lender };
        // SAFETY: the lender outlives the body's run, and this call uses no more than its address
        // after the store.
        unsafe { Lender::run_native(lender, then, argument) }
    }

    /// The kernel id of the fiber's own thread, for its affinity and policy.
    pub fn tid(&self) -> Tid {
        self.lender().tid()
    }

    /// How this fiber is resumed.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Bytes of stack for the body: the pthread's stack without its control block, parked frame and
    /// reserve.
    pub fn stack_bytes(&self) -> usize {
        self.lender().stack_bytes()
    }

    /// The lowest address of the body's stack; the pthread's guard lies below it.
    pub fn stack_low(&self) -> usize {
        self.lender().stack_low()
    }

    /// Whether the body has returned.
    ///
    /// # Panics
    /// When the fiber is not parked.
    pub fn is_finished(&self) -> bool {
        self.lender().assert_parked();
        self.lender().is_finished()
    }

    /// Ends the fiber: its body's last part and its thread-local destructors run on its own kernel
    /// thread, which is joined.
    ///
    /// A body that never started is dropped there, unrun. A suspended one is resumed natively, and
    /// must return. Blocks for as long as all that takes.
    ///
    /// # Errors
    /// The fiber comes back when its body suspended again; a panic out of the drop of an unstarted
    /// body is returned.
    ///
    /// # Panics
    /// When the fiber is not parked.
    pub fn finish(self) -> Result<(), FinishError> {
        let lender = self.lender();
        lender.assert_parked();
        if lender.is_started() && !lender.is_finished() {
            lender.run_native_awaited();
            if !lender.is_finished() {
                return Err(FinishError::Suspended(self));
            }
        }
        lender.exit();
        let joined = self.thread.join();
        // SAFETY: `lender::start` made it with Box::into_raw; the thread that used it is gone, and
        // the fiber is consumed.
        drop(unsafe { Box::from_raw(self.lender.as_ptr()) });
        joined.map_err(FinishError::Panicked)
    }
}
