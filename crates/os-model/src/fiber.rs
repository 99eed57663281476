//! Fibers: the fiber's own thread runs the body while its carrier waits.
//!
//! Native fibers do just that on a real host. What carried ones do beyond it is done here, too: the carrier
//! goes from one body to the next that it names ([`Suspender::switch_to`]) and runs nothing of its own in
//! between, and a carried body has the kernel id of its carrier. The word and its states are those of `corelane_os::fiber`'s lender, and so are the moments at which each
//! side may run: a lender that came back from a native run has published that it is parked before it calls
//! `then`, so that another carrier may resume the fiber while `then` still runs.
//!
//! # Unsafe
//! What is raw: the cells of a lender, which belong to its thread in STARTING, NATIVE, AWAITED and EXIT and
//! to the holder of the [`Fiber`] in LENT; and the pointer of [`Fiber::resume_native`]. Shown by the models of
//! the runtime, in which a broken hand-over fails an assertion here or deadlocks.

use core::cell::Cell;
use core::time::Duration;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};

use shuttle::sync::atomic::{AtomicU32, Ordering::SeqCst};
use shuttle::thread::{Builder, JoinHandle};

pub use corelane_os::fiber::{
    Backend, FiberError, FiberSpec, FsBase, NativeReason, Resumed, STACK_SIZE_MIN, Then,
};

use crate::futex;
use crate::machine;
use crate::thread::{Tid, gettid};

const STARTING: u32 = 0;
const LENT: u32 = 1;
/// The lender runs the body; nobody sleeps for it.
const NATIVE: u32 = 2;
/// The lender runs the body; its owner sleeps on the word.
const AWAITED: u32 = 3;
const EXIT: u32 = 4;

/// The backend of this host.
pub fn detect_backend() -> Backend {
    machine::with(|machine| machine.settings.backend)
}

type Work = Box<dyn FnOnce(&Suspender<'_>) + Send>;

pub(crate) struct Lender {
    word: AtomicU32,
    started: Cell<bool>,
    finished: Cell<bool>,
    /// Whether the body runs as its own thread, and not for a carrier.
    native: Cell<bool>,
    /// Whom the body wants resumed in its place. Set by the body, taken by its carrier.
    next: Cell<Option<Arc<Lender>>>,
    then: Cell<Option<(Then, *const ())>>,
    work: Cell<Option<Work>>,
    tid: Cell<Tid>,
}

// SAFETY: the word says who owns the cells, see the module's page.
unsafe impl Sync for Lender {}
// SAFETY: as above.
unsafe impl Send for Lender {}

/// A parked or running fiber.
pub struct Fiber {
    lender: Arc<Lender>,
    thread: JoinHandle<()>,
    backend: Backend,
    stack_bytes: usize,
}

// SAFETY: the lender's cells are owned by whoever its word says.
unsafe impl Send for Fiber {}
// SAFETY: as above.
unsafe impl Sync for Fiber {}

/// Why a fiber did not end.
pub enum FinishError {
    /// The body suspended again instead of returning.
    Suspended(Fiber),
    /// The fiber's thread panicked.
    Panicked(Box<dyn Any + Send>),
}

impl core::fmt::Debug for FinishError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            FinishError::Suspended(_) => "Suspended(..)",
            FinishError::Panicked(_) => "Panicked(..)",
        })
    }
}

impl Fiber {
    /// Creates the fiber's thread and waits until it has parked.
    ///
    /// # Errors
    /// When the model grants no more fibers.
    pub fn spawn(
        spec: &FiberSpec<'_>,
        body: impl FnOnce(&Suspender<'_>) + Send + 'static,
    ) -> Result<Fiber, FiberError> {
        machine::switch();
        let is_granted = machine::with(|machine| {
            machine.fibers += 1;
            machine.fibers <= machine.settings.fibers_max
        });
        if !is_granted {
            machine::with(|machine| machine.fibers -= 1);
            return Err(FiberError::Thread(io::ErrorKind::WouldBlock.into()));
        }
        let lender = Arc::new(Lender::new(Box::new(body)));
        let own = lender.clone();
        machine::with(|machine| machine.lenders.push(Arc::downgrade(&lender)));
        let thread = Builder::new().name(spec.name.to_owned());
        let thread = thread
            .spawn(move || own.live())
            .map_err(FiberError::Thread)?;
        assert_eq!(futex::wait_for_change(&lender.word, STARTING), LENT);
        Ok(Fiber {
            lender,
            thread,
            backend: spec.backend,
            stack_bytes: spec.stack_size,
        })
    }

    /// Runs the body on its own thread until it suspends or returns; if it switches to another fiber, until
    /// that one does.
    ///
    /// # Safety
    /// As for the real one: the fiber is the caller's and parked, and valid until its body suspends.
    pub unsafe fn resume_chain(fiber: *const Fiber) -> Resumed {
        // SAFETY: valid by contract, as the body has not run yet; the clone keeps the lender after that.
        let (mut lender, backend) = unsafe { ((*fiber).lender.clone(), (*fiber).backend) };
        loop {
            match backend {
                Backend::Carried(_) => lender.run_carried(),
                Backend::Native(_) => lender.run_native_awaited(),
            }
            let last = lender.resumed();
            match lender.next.take() {
                Some(next) => lender = next,
                None => return last,
            }
        }
    }

    /// Hands the body to its own thread and returns at once; `then(argument)` is called there once it has
    /// parked again.
    ///
    /// # Safety
    /// As for the real one: `fiber` is valid and nobody else uses it until `then` is called.
    pub unsafe fn resume_native(fiber: *const Fiber, then: Then, argument: *const ()) {
        // SAFETY: valid by contract until the word is stored; the clone keeps the word after that.
        let lender = unsafe { (*fiber).lender.clone() };
        lender.assert_parked();
        lender.then.set(Some((then, argument)));
        lender.native.set(true);
        lender.word.store(NATIVE, SeqCst); // gives the cells to the lender
        futex::rouse(&lender.word, 1);
    }

    /// The kernel id of the fiber's own thread.
    pub fn tid(&self) -> Tid {
        self.lender.tid.get()
    }

    /// Bytes of stack for the body, of which the model uses none.
    pub fn stack_bytes(&self) -> usize {
        self.stack_bytes
    }

    /// The lowest address of that stack: none that any body could touch.
    pub fn stack_low(&self) -> usize {
        0
    }

    /// Ends the fiber and joins its thread.
    ///
    /// # Errors
    /// The fiber comes back when its body suspended again.
    pub fn finish(self) -> Result<(), FinishError> {
        let lender = &self.lender;
        lender.assert_parked();
        if lender.started.get() && !lender.finished.get() {
            lender.run_native_awaited();
            if !lender.finished.get() {
                return Err(FinishError::Suspended(self));
            }
        }
        lender.word.store(EXIT, SeqCst); // gives the cells to the lender for the last time
        futex::rouse(&lender.word, 1);
        let joined = self.thread.join().map_err(FinishError::Panicked);
        machine::with(|machine| machine.fibers -= 1);
        joined
    }
}

/// The owner's side.
impl Lender {
    fn new(work: Work) -> Lender {
        Lender {
            word: AtomicU32::new(STARTING),
            started: Cell::new(false),
            finished: Cell::new(false),
            native: Cell::new(false),
            next: Cell::new(None),
            then: Cell::new(None),
            work: Cell::new(Some(work)),
            tid: Cell::new(Tid(0)),
        }
    }

    fn assert_parked(&self) {
        assert_eq!(self.word.load(SeqCst), LENT, "a fiber in use is parked");
    }

    /// Under the kernel id of the caller.
    fn run_carried(&self) {
        self.native.set(false);
        let (body, carrier) = (self.tid.get(), gettid());
        machine::with(|machine| _ = machine.carriers.insert(body, carrier));
        self.run_awaited();
        machine::with(|machine| _ = machine.carriers.remove(&body));
    }

    fn run_native_awaited(&self) {
        self.native.set(true);
        self.run_awaited();
    }

    fn resumed(&self) -> Resumed {
        match self.finished.get() {
            true => Resumed::Finished,
            false => Resumed::Suspended,
        }
    }

    fn run_awaited(&self) {
        self.assert_parked();
        assert!(!self.finished.get(), "a finished body is not resumed");
        self.then.set(None);
        self.word.store(AWAITED, SeqCst); // gives the cells to the lender
        futex::rouse(&self.word, 1);
        let parked = futex::wait_for_change(&self.word, AWAITED);
        assert_eq!(parked, LENT, "only its owner ends a lender");
    }
}

/// The lender's own side.
impl Lender {
    /// The whole life of the fiber's thread.
    fn live(&self) {
        self.tid.set(gettid());
        if self.lend() == EXIT {
            return drop(self.work.take());
        }
        self.started.set(true);
        let work = self.work.take().expect("a body starts once");
        let body = AssertUnwindSafe(|| work(&Suspender { lender: self }));
        match catch_unwind(body) {
            Ok(()) => {}
            Err(payload) if payload.is::<ProcessExits>() => return,
            Err(payload) => resume_unwind(payload),
        }
        self.finished.set(true);
        assert_eq!(self.lend(), EXIT, "a finished body is not resumed");
    }

    /// Publishes LENT, wakes a sleeping owner or calls `then`, and sleeps until the fiber is used again.
    fn lend(&self) -> u32 {
        let then = self.then.take();
        self.word.swap(LENT, SeqCst); // gives the cells to the owner
        match then {
            // SAFETY: the contract of `resume_native`: called once, after the fiber has been published.
            Some((then, argument)) => unsafe { then(argument) },
            None => _ = futex::rouse(&self.word, 1),
        }
        futex::wait_for_change(&self.word, LENT)
    }
}

/// Unwinds a body that is suspended when the process exits.
struct ProcessExits;

/// Ends the threads of fibers that nobody will resume or finish, as the exit of a process does: a runtime
/// leaves the fibers of abandoned tasks behind, and the checker would wait for their threads. Called by the
/// main thread at the end of a model that abandons tasks, and that is not hasty.
pub fn exit_process() {
    // The deadline comes when nobody else can run.
    crate::thread::sleep(Duration::from_secs(1));
    let lenders = machine::with(|machine| core::mem::take(&mut machine.lenders));
    for lender in lenders.iter().filter_map(Weak::upgrade) {
        if lender.word.load(SeqCst) == LENT {
            lender.word.store(EXIT, SeqCst); // nobody uses it: everybody sleeps
            futex::rouse(&lender.word, 1);
        }
    }
}

/// The body's means to suspend itself.
pub struct Suspender<'a> {
    lender: &'a Lender,
}

impl Suspender<'_> {
    /// Suspends the body; comes back when the fiber is resumed.
    pub fn suspend(&self) {
        let state = self.lender.lend();
        if state == EXIT {
            resume_unwind(Box::new(ProcessExits)); // nobody else ends a suspended body
        }
    }

    /// Suspends the body and has its carrier resume `next` in its place.
    ///
    /// # Panics
    /// When `next` is not parked or its body has returned, or this body runs natively.
    ///
    /// # Safety
    /// As for the real one: the caller owns the handle of `next`, and gives it up until `next` suspends.
    pub unsafe fn switch_to(&self, next: *const Fiber) {
        let native = self.lender.native.get();
        assert!(!native, "a native body has no carrier to switch");
        // SAFETY: valid by contract; the clone keeps the lender.
        let next = unsafe { (*next).lender.clone() };
        next.assert_parked();
        assert!(!next.finished.get(), "a finished body is not resumed");
        self.lender.next.set(Some(next));
        self.suspend();
    }
}
