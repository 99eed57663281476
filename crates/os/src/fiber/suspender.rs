//! The body's side of the switch.
//!
//! Signals are a matter of the kernel thread, and a lender blocks them while it lends. A body that
//! runs natively wants them back, yet not one instruction too early: a handler may need more stack
//! than the lender's reserve. So the mask is changed here, on the body's own stack, after it
//! arrived and before it leaves.
//!
//! Raw here: signal masks. Tested by `tests/fiber_native.rs`.

use super::Fiber;
use super::lender::Lender;
use core::mem::MaybeUninit;
use core::ptr;
use corosensei::Yielder;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A body as it is handed in.
pub(super) type Work = Box<dyn FnOnce(&Suspender<'_>) + Send>;

/// The body's means to suspend itself. Stays in its body: neither `Send` nor `Sync`.
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<corelane_os::fiber::Suspender<'static>>();
/// ```
pub struct Suspender<'a> {
    yielder: &'a Yielder<(), ()>,
    lender: *const Lender,
}

impl Suspender<'_> {
    /// Suspends the body: the call that resumed it returns. Comes back when the fiber is resumed,
    /// maybe on another kernel thread; to the code around this call it is the same thread as
    /// before.
    #[inline]
    pub fn suspend(&self) {
        self.leave();
        self.yielder.suspend(());
        self.arrive();
    }

    /// Suspends the body and has its carrier resume `next` in its place: one change of identity
    /// instead of two. Comes back as [`Suspender::suspend`] does.
    ///
    /// # Panics
    /// When `next` is not parked or its body has returned, or this body runs natively.
    ///
    /// # Safety
    /// - The contract of [`Fiber::resume`], with the carrier of this body as the calling thread.
    /// - `next` is valid, and its handle is the caller's, which gives it up until `next` suspends. After that
    ///   others may use it and finish it while this body is still away; hence the raw pointer.
    /// - `next` is not the fiber of this body, and was spawned with the same [`super::Backend`].
    #[inline]
    pub unsafe fn switch_to(&self, next: *const Fiber) {
        let own = self.lender();
        assert!(!own.is_native(), "a native body has no carrier to switch");
        // SAFETY: valid by contract; no reference to `next` is kept across the suspension.
        let lender = unsafe { (*next).lender };
        {
            // SAFETY: as above.
            let next = unsafe { lender.as_ref() };
            next.assert_parked();
            assert!(!next.is_finished(), "a finished body is not resumed");
        }
        own.set_next(lender);
        self.yielder.suspend(());
        self.arrive();
    }

    #[inline(always)]
    fn lender(&self) -> &Lender {
        // SAFETY: the lender is freed after its thread was joined, which waits for the body to
        // return.
        unsafe { &*self.lender }
    }

    /// Opens the signals on the body's own kernel thread.
    #[inline(always)]
    fn arrive(&self) {
        if self.lender().is_native() {
            set_mask(&self.lender().open_mask());
        }
    }

    /// Blocks the signals again, and keeps the mask that the body ran with.
    #[inline(always)]
    fn leave(&self) {
        if self.lender().is_native() {
            self.lender().keep_open_mask(block_signals());
        }
    }
}

/// Runs `work` from start to end on the current stack; what unwinds out of it ends the process.
pub(super) fn run(work: Work, yielder: &Yielder<(), ()>, lender: *const Lender) {
    let suspender = Suspender { yielder, lender };
    suspender.arrive();
    if catch_unwind(AssertUnwindSafe(|| work(&suspender))).is_err() {
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        eprintln!("corelane-os: the body of fiber '{name}' unwound; a body must catch its panics");
        std::process::abort();
    }
    suspender.leave();
}

/// Blocks every signal on the calling kernel thread except the two that glibc keeps for itself;
/// returns the mask before.
pub(super) fn block_signals() -> libc::sigset_t {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: sigfillset and pthread_sigmask initialise the sets; blocking with a full set cannot
    // fail.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        let answer = libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        assert_eq!(answer, 0, "a full signal mask is valid");
        before.assume_init()
    }
}

/// Sets the signal mask of the calling kernel thread.
pub(super) fn set_mask(mask: &libc::sigset_t) {
    // SAFETY: the mask came from the kernel by `block_signals`.
    let answer = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
    assert_eq!(answer, 0, "a mask that the kernel gave is valid");
}
