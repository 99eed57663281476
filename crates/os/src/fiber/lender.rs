//! The lender: the pthread behind a fiber, and the word by which it hands itself over.
//!
//! The lender must not touch its own thread control block while somebody else uses it, and there is
//! no moment in compiled code at which one can be sure of that: a channel is dropped after its
//! message was taken, `errno` is written after a futex wait returned. So publication and sleep are
//! one assembly routine, [`lend`]: the exchange that makes the word `LENT` is the last thing before
//! which the lender may use its thread-locals, and nothing but registers, its own frame and raw
//! system calls follows until the word says that it is its own again.
//!
//! ```text
//!   STARTING --lend--> LENT --run_native(_awaited)--> NATIVE, AWAITED --lend--> LENT
//!      |                 |
//!      +--> FAILED       +--exit--> EXIT        (both: the thread ends, its owner joins it and frees the lender)
//! ```
//!
//! Ownership: all fields are the lender's in STARTING, NATIVE, AWAITED and EXIT, and the owner's
//! (who holds the [`super::Fiber`]) in LENT and FAILED. That is the whole synchronisation; there is
//! no lock.
//!
//! Raw here: assembly, cells shared under the word, the ends of a leaked box. Tested by
//! `tests/fiber_native.rs`.

use super::stack::{self, Rest};
use super::suspender::{self, Work};
use super::switch::{self, Body, Controls};
use super::{Backend, FiberError, FiberSpec, FsBase, Resumed, backend, credentials, rseq};
use crate::futex;
use crate::thread::{self, Tid};
use core::arch::naked_asm;
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// What a lender calls after a native run, once it has published that it is parked.
///
/// # Safety
/// The argument is the one that was given with it, and valid until it returns; what it may do is said at
/// [`super::Fiber::resume_native`], whose caller answers for both.
pub type Then = unsafe fn(*const ());

const STARTING: u32 = 0;
const LENT: u32 = 1;
/// The lender runs the body; nobody sleeps for it.
const NATIVE: u32 = 2;
/// The lender runs the body; its owner sleeps on the word.
const AWAITED: u32 = 3;
const EXIT: u32 = 4;
const FAILED: u32 = 5;

/// What the lender and the owner of a fiber share.
#[repr(align(64))]
pub(super) struct Lender {
    word: AtomicU32,
    native: Cell<bool>,
    finished: Cell<bool>,
    started: Cell<bool>,
    controls: Cell<Controls>,
    thread_pointer: Cell<u64>,
    /// Whom the body wants resumed in its place; null for nobody. Set by the body, taken by its carrier.
    next: Cell<*const Lender>,
    /// The thread pointer of the carrier that runs the body, or last ran it.
    carrier: Cell<u64>,
    /// `None` until the lender is parked for the first time.
    body: UnsafeCell<Option<Body>>,
    then: Cell<Option<(Then, *const ())>>,
    /// `Some` until the body starts. On the heap, not on the lent stack: it may be dropped by the
    /// lender, unrun.
    work: Cell<Option<Work>>,
    open_mask: Cell<MaybeUninit<libc::sigset_t>>,
    tid: Cell<Tid>,
    rest: Cell<Option<Rest>>,
    failure: Cell<Option<FiberError>>,
    carries: Option<FsBase>,
}

/// A lender's address on its way into its own thread.
struct Handover(NonNull<Lender>);

// SAFETY: in STARTING the lender's thread owns the fields; `start` touches the word alone until it
// has changed.
unsafe impl Send for Handover {}

impl Handover {
    /// By method, so that a closure captures the whole value and with it the promise above.
    fn lender(&self) -> &Lender {
        // SAFETY: freed only after the thread that calls this was joined.
        unsafe { self.0.as_ref() }
    }
}

/// Creates the thread of a fiber and waits until it is parked.
pub(super) fn start(
    spec: &FiberSpec<'_>,
    work: Work,
) -> Result<(NonNull<Lender>, JoinHandle<()>), FiberError> {
    let carries = match spec.backend {
        Backend::Carried(by) => Some(by),
        Backend::Native(_) => None,
    };
    let lender = Box::leak(Box::new(Lender::new(work, carries)));
    let pointer = NonNull::from(lender);
    let handover = Handover(pointer);
    let spawned = std::thread::Builder::new()
        .name(spec.name.to_owned())
        .stack_size(spec.stack_size)
        .spawn(move || handover.lender().live());
    // SAFETY: from `leak` above, and no other thread has it: not spawned, or joined.
    let free = || drop(unsafe { Box::from_raw(pointer.as_ptr()) });
    let thread = match spawned {
        Ok(thread) => thread,
        Err(error) => {
            free();
            return Err(FiberError::Thread(error));
        }
    };
    // SAFETY: freed below or by the owner.
    let lender = unsafe { pointer.as_ref() };
    if lender.await_change(STARTING) == FAILED {
        let _ = thread.join();
        let failure = lender.failure.take().expect("a failed lender says why");
        free();
        return Err(failure);
    }
    let rest = lender
        .rest
        .get()
        .expect("a parked lender has measured its stack");
    let shared = pointer.as_ptr().cast_const();
    let body = Body::with_stack(rest, move |yielder, ()| {
        // SAFETY: the body runs only while the lender lives, and owns the cell while it runs.
        let work = unsafe { (*shared).work.take() }.expect("a body starts once");
        suspender::run(work, yielder, shared);
    });
    // SAFETY: LENT, so the field is ours.
    unsafe { *lender.body.get() = Some(body) };
    Ok((pointer, thread))
}

/// The owner's side: every function here is called in LENT, by the only owner.
impl Lender {
    fn new(work: Work, carries: Option<FsBase>) -> Lender {
        Lender {
            word: AtomicU32::new(STARTING),
            native: Cell::new(false),
            finished: Cell::new(false),
            started: Cell::new(false),
            controls: Cell::new(Controls::current()),
            thread_pointer: Cell::new(0),
            next: Cell::new(ptr::null()),
            carrier: Cell::new(0),
            body: UnsafeCell::new(None),
            then: Cell::new(None),
            work: Cell::new(Some(work)),
            open_mask: Cell::new(MaybeUninit::zeroed()),
            tid: Cell::new(Tid(0)),
            rest: Cell::new(None),
            failure: Cell::new(None),
            carries,
        }
    }

    #[inline(always)]
    pub(super) fn assert_parked(&self) {
        // Acquire: pairs with the exchange in `lend`; whoever sees LENT sees all that the lender
        // and the body did.
        assert_eq!(
            self.word.load(Ordering::Acquire),
            LENT,
            "the fiber is parked"
        );
    }

    #[inline(always)]
    pub(super) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    pub(super) fn is_started(&self) -> bool {
        self.started.get()
    }

    pub(super) fn tid(&self) -> Tid {
        self.tid.get()
    }

    pub(super) fn stack_bytes(&self) -> usize {
        self.rest.get().map_or(0, |rest| rest.bytes())
    }

    pub(super) fn stack_low(&self) -> usize {
        self.rest.get().map_or(0, |rest| rest.low())
    }

    /// What a carrier needs to run the body: the body, its thread pointer and its control words. Keeps the
    /// thread pointer of the carrier, for signal handlers that need it meanwhile.
    ///
    /// # Safety
    /// Parked, not finished, and the caller is the only owner until the body has suspended.
    #[inline(always)]
    pub(super) unsafe fn take_over(&self, carrier: u64) -> (*mut Body, u64, Controls) {
        self.native.set(false);
        self.carrier.set(carrier);
        self.started.set(true);
        // SAFETY: in LENT the body is the owner's, and it was made before the fiber was handed out.
        let body: *mut Body = unsafe { (*self.body.get()).as_mut().unwrap_unchecked() };
        (body, self.thread_pointer.get(), self.controls.get())
    }

    /// The body has left: keeps its control words, and says whom it wants resumed in its place.
    #[inline(always)]
    pub(super) fn left(&self, resumed: Resumed, controls: Controls) -> *const Lender {
        self.controls.set(controls);
        self.finished.set(resumed == Resumed::Finished);
        self.next.replace(ptr::null())
    }

    /// Hands the body to the lender and sleeps until it is parked again.
    pub(super) fn run_native_awaited(&self) {
        assert!(!self.is_finished(), "a finished body is not resumed");
        self.then.set(None);
        self.native.set(true);
        // Release: pairs with the load in `lend`; gives the fields to the lender.
        self.word.store(AWAITED, Ordering::Release);
        futex::wake(&self.word, 1);
        let parked = self.await_change(AWAITED);
        assert_eq!(parked, LENT, "only its owner ends a lender");
    }

    /// Hands the body to the lender and returns.
    ///
    /// # Safety
    /// The contract of [`super::Fiber::resume_native`].
    pub(super) unsafe fn run_native(pointer: NonNull<Lender>, then: Then, argument: *const ()) {
        let word = {
            // SAFETY: parked by contract; this reference ends before the fields are given away.
            let lender = unsafe { pointer.as_ref() };
            lender.assert_parked();
            assert!(!lender.is_finished(), "a finished body is not resumed");
            lender.then.set(Some((then, argument)));
            lender.native.set(true);
            &raw const lender.word
        };
        // SAFETY: alive until after this store. Release: pairs with the load in `lend`; gives the
        // fields to the lender, which may run the body, park, and be resumed, finished and freed by
        // others before the next line.
        unsafe { (*word).store(NATIVE, Ordering::Release) };
        futex::wake_at(word.cast(), 1);
    }

    /// Tells a parked lender to end its thread.
    pub(super) fn exit(&self) {
        // Release: pairs with the load in `lend`; gives the fields to the lender for the last time.
        self.word.store(EXIT, Ordering::Release);
        futex::wake(&self.word, 1);
    }

    /// Sleeps until the word is no longer `value`.
    fn await_change(&self, value: u32) -> u32 {
        loop {
            // Acquire: pairs with the lender's exchange or its FAILED store; if missed, the futex
            // compares again.
            match self.word.load(Ordering::Acquire) {
                now if now != value => return now,
                _ => _ = futex::wait(&self.word, value, None),
            }
        }
    }
}

/// The body's side, see [`suspender`]: called while the body runs, which owns these cells.
impl Lender {
    #[inline(always)]
    pub(super) fn is_native(&self) -> bool {
        self.native.get()
    }

    /// Has the carrier resume `next` once the body has suspended.
    #[inline(always)]
    pub(super) fn set_next(&self, next: NonNull<Lender>) {
        self.next.set(next.as_ptr());
    }

    /// The own thread pointer of the calling kernel thread, and how to load it, while that thread is
    /// a carrier with this lender's block loaded. For signal handlers: no thread-local, no `errno`.
    pub(super) fn carrier(&self) -> Option<(FsBase, u64)> {
        let by = self.carries?;
        (thread::gettid() != self.tid.get()).then(|| (by, self.carrier.get()))
    }

    pub(super) fn open_mask(&self) -> libc::sigset_t {
        // SAFETY: set by `prepare` before the lender parked for the first time.
        unsafe { self.open_mask.get().assume_init() }
    }

    pub(super) fn keep_open_mask(&self, mask: libc::sigset_t) {
        self.open_mask.set(MaybeUninit::new(mask));
    }
}

/// The lender's own side.
impl Lender {
    /// The whole life of the fiber's thread.
    fn live(&self) {
        self.keep_open_mask(suspender::block_signals());
        match self.prepare() {
            Ok(()) => self.serve(),
            Err(failure) => {
                self.failure.set(Some(failure));
                // Release: pairs with `await_change`; gives the failure to the spawner, which joins
                // before it frees.
                self.word.store(FAILED, Ordering::Release);
                futex::wake(&self.word, 1);
                return;
            }
        }
        // The whole stack is this thread's again: thread-local destructors run with the signals
        // open, as in any thread.
        suspender::set_mask(&self.open_mask());
    }

    fn prepare(&self) -> Result<(), FiberError> {
        if self.carries.is_some() {
            if backend::has_shadow_stack() {
                return Err(FiberError::ShadowStack);
            }
            rseq::withdraw().map_err(FiberError::Rseq)?;
        }
        let (low, high) = stack::bounds().map_err(FiberError::StackBounds)?;
        let frame = stack::pointer();
        // `serve` and `lend` run at about this depth; what they need below it is inside the
        // reserve.
        let min = stack::size_needed(high.saturating_sub(frame));
        let too_small = FiberError::StackTooSmall {
            asked: high - low,
            min,
        };
        self.rest
            .set(Some(Rest::below(frame, low).ok_or(too_small)?));
        self.controls.set(Controls::current());
        self.thread_pointer.set(switch::own_control_block());
        self.tid.set(thread::gettid());
        if self.carries.is_some() {
            credentials::attend(self);
        }
        Ok(())
    }

    /// Lends, runs the body natively when told to, until told to end.
    fn serve(&self) {
        loop {
            let (then, argument) = match self.then.take() {
                Some((then, argument)) => (then as usize, argument),
                None => (0, ptr::null()),
            };
            // SAFETY: the word lives until this thread was joined; `then` is null or a Then with
            // its argument.
            match unsafe { lend(self.word.as_ptr(), then, argument) } {
                NATIVE | AWAITED => self.run(),
                EXIT => return self.drop_body(),
                other => unreachable!("a lender was left in state {other}"),
            }
        }
    }

    fn run(&self) {
        self.started.set(true);
        let mut controls = self.controls.get();
        // SAFETY: in NATIVE and AWAITED the body is the lender's; it was made before the fiber was
        // handed out.
        let body = unsafe {
            (*self.body.get())
                .as_mut()
                .expect("a handed-out fiber has a body")
        };
        // SAFETY: this is the lender, in the frames above its reserve; the owner asserted that the
        // body is not finished.
        let resumed = unsafe { switch::native(body, &mut controls) };
        self.controls.set(controls);
        self.finished.set(resumed == Resumed::Finished);
    }

    /// Drops a body that is finished or never started, and the work of the latter, while its stack
    /// and identity are here.
    fn drop_body(&self) {
        // SAFETY: in EXIT the body is the lender's.
        drop(unsafe { (*self.body.get()).take() });
        drop(self.work.take());
    }
}

/// Publishes LENT, then wakes a sleeping owner or calls `then(argument)`, then sleeps until the
/// word is not LENT; returns it.
///
/// Everything after the exchange uses registers, this frame and raw system calls only. A full
/// exchange: it releases all that the lender did; the final load acquires what the owner did (on
/// x86 every load does).
///
/// # Safety
/// `word` is valid for as long as the calling thread lives; `then` is 0 or a [`Then`] whose
/// contract holds for `argument`.
#[unsafe(naked)]
unsafe extern "sysv64" fn lend(word: *mut u32, then: usize, argument: *const ()) -> u32 {
    naked_asm!(
        ".cfi_startproc", // for debuggers and profilers that look at a parked thread
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_offset rbx, -16",
        "mov rbx, rdi",
        "mov eax, {lent}",
        "xchg dword ptr [rbx], eax",
        "test rsi, rsi",
        "jnz 3f",
        // The spawner sleeps in STARTING, a resumer in AWAITED; after NATIVE nobody sleeps.
        "cmp eax, {native}",
        "je 4f",
        "mov eax, {futex}",
        "mov rdi, rbx",
        "mov esi, {wake}",
        "mov edx, 1",
        "syscall",
        "jmp 4f",
        "3:",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "call {call_then}",
        "4:",
        "mov eax, dword ptr [rbx]",
        "cmp eax, {lent}",
        "jne 5f",
        "mov eax, {futex}",
        "mov rdi, rbx",
        "mov esi, {wait}",
        "mov edx, {lent}",
        "xor r10d, r10d",
        "syscall",
        "jmp 4b",
        "5:",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "ret",
        ".cfi_endproc",
        lent = const LENT,
        native = const NATIVE,
        futex = const libc::SYS_futex,
        wake = const libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
        wait = const libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
        call_then = sym call_then,
    )
}

/// From the assembly's calling convention to Rust's.
///
/// # Safety
/// As [`lend`].
#[expect(
    improper_ctypes_definitions,
    reason = "a Rust function pointer is one register, passed through untouched"
)]
unsafe extern "sysv64" fn call_then(then: Then, argument: *const ()) {
    // SAFETY: the contract of `then` is kept by whoever passed it to `resume_native`.
    unsafe { then(argument) }
}
