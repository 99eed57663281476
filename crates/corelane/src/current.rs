//! The fiber that the caller runs on, and through it the current task.
//!
//! Every call into the runtime must find its task. A field of the OS thread would name whatever runs on
//! the carrier; but a fiber *is* a thread to compiled code, so an ordinary thread-local of the fiber, set
//! once when its thread starts, is right for as long as the fiber lives, on every carrier.
//!
//! A fiber tells its carrier what it wants by an [`Intent`] and suspends; the carrier does it after it has
//! left the stack. So nothing that another CPU may act on is done while the stack is still in use.
//!
//! # Unsafe
//! What is raw: a [`Fiber`] is shared by its body (through the thread-local) and by whoever resumes it.
//! Its cells belong to the body while it runs and to its carrier while it is suspended; the task's state
//! word hands them over. It outlives its thread: `fibers.rs` frees it after joining the thread. Shown by
//! `tests/identity.rs`.

use crate::primitives::atomic::Ordering::Relaxed;
use crate::primitives::panic::resume_unwind;
use core::cell::{Cell, UnsafeCell};
use core::ptr;
use std::sync::Arc;

use crate::primitives::Mutex;
use corelane_os::clock;
use corelane_os::fiber::{self, Resumed, Suspender};
use corelane_os::thread::Tid;
use corelane_sched::{CpuId, Wait, Why};

use crate::cpu::Cpu;
use crate::job::{Cancelled, Ended};
use crate::native;
use crate::runtime::Shared;
use crate::task_body::{Class, NOT_ARMED, Task};

/// What a fiber wants from its carrier when it suspends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Intent {
    /// Look whether the task should go on running here.
    Review(Why),
    /// Wait until somebody wakes the task, or the deadline passes.
    Wait { deadline_ns: Option<u64> },
    /// Go on on the fiber's own kernel thread.
    Native,
    /// The native part is over: go on wherever the task belongs.
    BackFromNative,
    /// Have the housekeeping thread run a closure first.
    Outside,
    /// The task has ended.
    Exit,
}

/// A closure that runs on the housekeeping thread; it lives on the stack of the suspended task.
pub(crate) type OutsideJob = *mut dyn FnMut();

/// A fiber of the pool, with what its body and its carrier say to each other.
pub(crate) struct Fiber {
    /// The thread behind it. Used by whoever resumes it; by nobody else.
    pub(crate) inner: UnsafeCell<Option<fiber::Fiber>>,
    shared: Cell<*const Shared>,
    suspender: Cell<*const Suspender<'static>>,
    intent: Cell<Intent>,
    task: UnsafeCell<Option<Task>>,
    /// The same task for those who end it from outside; locked to look, never while running.
    pub(crate) bound: Mutex<Option<Task>>,
    cpu: Cell<u16>,
    native: Cell<bool>,
    /// Where the fiber's own thread was last placed.
    pub(crate) lender_place: Cell<Option<(CpuId, Class)>>,
    /// The fiber's own thread; set before anybody else knows the fiber.
    pub(crate) tid: Cell<Option<Tid>>,
    pub(crate) leaving: Cell<bool>,
    pub(crate) outside: Cell<Option<OutsideJob>>,
    slice_end_ns: Cell<u64>,
    ended: Cell<Ended>,
    /// Counts the tasks that ran on this fiber, so that a guard of an earlier one is told apart.
    generation: Cell<u64>,
}

// SAFETY: the cells have one owner at a time, see the module's page; `bound` is locked.
unsafe impl Sync for Fiber {}
// SAFETY: as above.
unsafe impl Send for Fiber {}

crate::primitives::thread_local! {
    static FIBER: Cell<*const Fiber> = const { Cell::new(ptr::null()) };
}

impl Fiber {
    pub(crate) fn new(shared: *const Shared) -> Fiber {
        Fiber {
            inner: UnsafeCell::new(None),
            shared: Cell::new(shared),
            suspender: Cell::new(ptr::null()),
            intent: Cell::new(Intent::Exit),
            task: UnsafeCell::new(None),
            bound: Mutex::new(None),
            cpu: Cell::new(0),
            native: Cell::new(false),
            lender_place: Cell::new(None),
            tid: Cell::new(None),
            leaving: Cell::new(false),
            outside: Cell::new(None),
            slice_end_ns: Cell::new(u64::MAX),
            ended: Cell::new(Ended::Returned),
            generation: Cell::new(0),
        }
    }

    /// The fiber of the caller, if it is running a task.
    #[inline]
    pub(crate) fn current() -> Option<&'static Fiber> {
        let fiber = FIBER.with(Cell::get);
        if fiber.is_null() {
            return None;
        }
        // SAFETY: set by `enter` on this very thread; the fiber outlives its thread. `'static` is a lie
        // that no caller keeps: every use ends within the call that made it.
        let fiber = unsafe { &*fiber };
        fiber.task_ref().is_some().then_some(fiber)
    }

    /// The same, but not during a native part, where the caller is on an ordinary thread.
    #[inline]
    pub(crate) fn carried() -> Option<&'static Fiber> {
        Fiber::current().filter(|fiber| !fiber.native.get())
    }

    /// The same, and on a worker: not a background task.
    #[inline]
    pub(crate) fn on_worker() -> Option<&'static Fiber> {
        Fiber::carried().filter(|fiber| fiber.task_body().class == Class::RealTime)
    }

    /// Names the fiber of the calling thread, once, at the start of its life.
    pub(crate) fn enter(&self, suspender: &Suspender<'_>) {
        FIBER.with(|own| own.set(self));
        self.suspender.set(ptr::from_ref(suspender).cast());
    }

    pub(crate) fn shared(&self) -> &Shared {
        // SAFETY: the runtime's shared part outlives its fibers: the bound task holds a reference.
        unsafe { &*self.shared.get() }
    }

    fn task_ref(&self) -> Option<&Task> {
        // SAFETY: the cell is the body's while it runs, and its carrier's while it is suspended.
        unsafe { (*self.task.get()).as_ref() }
    }

    /// The task that runs on this fiber.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn task(&self) -> Task {
        self.task_ref().expect("a task runs on this fiber").clone()
    }

    pub(crate) fn task_node(&self) -> &Task {
        self.task_ref().expect("a task runs on this fiber")
    }

    fn task_body(&self) -> &crate::task_body::Body {
        &self.task_node().body
    }

    pub(crate) fn is_running(&self, task: &Task) -> bool {
        self.task_ref().is_some_and(|mine| Arc::ptr_eq(mine, task))
    }

    /// The carrier gives the fiber a task to start.
    pub(crate) fn bind(&self, task: Task) {
        *self.bound.lock() = Some(task.clone());
        self.generation.set(self.generation.get() + 1);
        self.slice_end_ns.set(u64::MAX); // an earlier task's slice is over
        // SAFETY: the fiber is suspended and ours: it came out of the pool.
        unsafe { *self.task.get() = Some(task) };
    }

    /// The carrier takes the ended task off the fiber.
    pub(crate) fn unbind(&self) -> Option<Task> {
        *self.bound.lock() = None;
        // SAFETY: the fiber is suspended after `Intent::Exit`, and its carrier's.
        unsafe { (*self.task.get()).take() }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// The CPU slot where the task runs; changes only while it is suspended.
    #[inline]
    pub(crate) fn cpu_id(&self) -> CpuId {
        CpuId::new(self.cpu.get() as usize)
    }

    pub(crate) fn set_cpu(&self, cpu: CpuId) {
        self.cpu.set(cpu.index() as u16);
    }

    pub(crate) fn cpu(&self) -> &Cpu {
        self.shared().cpu(self.cpu_id())
    }

    pub(crate) fn set_native(&self, native: bool) {
        self.native.set(native);
    }

    pub(crate) fn set_ended(&self, ended: Ended) {
        self.ended.set(ended);
    }

    /// How the task that just exited ended.
    pub(crate) fn ended(&self) -> Ended {
        self.ended.get()
    }

    pub(crate) fn set_slice_end_ns(&self, at_ns: u64) {
        self.slice_end_ns.set(at_ns);
    }

    pub(crate) fn slice_end_ns(&self) -> u64 {
        self.slice_end_ns.get()
    }

    /// Runs the task until it suspends; its intent says why. On the calling carrier, which dispatched it.
    pub(crate) fn resume(&self, shared: &Shared) {
        self.native.set(false);
        // SAFETY: the caller dispatched the task, so the fiber is ours until its task is runnable again.
        let inner = unsafe { (*self.inner.get()).as_mut() }.expect("a bound fiber has a thread");
        native::place_lender(shared, self.cpu(), self, inner);
        // SAFETY: parked, since its last carrier left it before the task became runnable; a task holds
        // nothing that is tied to its carrier's kernel thread (that is what `native` is for).
        let resumed = unsafe { inner.resume() };
        assert_eq!(
            resumed,
            Resumed::Suspended,
            "a fiber's body suspends at the end of a task"
        );
    }

    /// What the body wanted when it suspended.
    pub(crate) fn intent(&self) -> Intent {
        self.intent.get()
    }

    /// Suspends; the carrier does what `intent` says. Does not look for cancellation.
    pub(crate) fn suspend(&self, intent: Intent) {
        self.intent.set(intent);
        // SAFETY: set by `enter` from a suspender that lives as long as the body.
        unsafe { &*self.suspender.get() }.suspend();
    }

    /// Waits until somebody wakes the task or `deadline_ns` passes; may return for no reason.
    ///
    /// The wake that came with a cancellation may have been consumed while the task was unwinding or inside
    /// a call that is no point of cancellation; so the flag is looked at before sleeping as well.
    pub(crate) fn wait(&self, deadline_ns: Option<u64>) {
        self.unwind_if_cancelled();
        if self.task_node().entity().state().begin_wait() == Wait::Leave {
            self.suspend(Intent::Wait { deadline_ns });
            self.disarm();
        }
        self.unwind_if_cancelled();
    }

    /// Enters the scheduler.
    pub(crate) fn review(&self, why: Why) {
        self.suspend(Intent::Review(why));
        self.unwind_if_cancelled();
    }

    /// A safe point: enters the scheduler if somebody asked for it, a timer is due, or the slice is over.
    #[inline]
    pub(crate) fn checkpoint(&self) {
        let cpu = self.cpu();
        // Relaxed: the pass that follows takes the letters with acquire; a request that is missed is
        // seen at the next safe point.
        if cpu.need_resched.load(Relaxed) {
            return self.review(Why::Asked);
        }
        // The request that came with a cancellation may have been answered inside a call that is no point of
        // cancellation, and for a background task there is none.
        self.unwind_if_cancelled();
        let alarm_ns = cpu
            .next_deadline_ns
            .load(Relaxed)
            .min(self.slice_end_ns.get());
        if alarm_ns != u64::MAX && clock::now_ns() >= alarm_ns {
            let slice_is_over = self.slice_end_ns.get() <= alarm_ns;
            self.review(if slice_is_over {
                Why::SliceEnd
            } else {
                Why::Asked
            });
        }
    }

    /// Gives way to equals; without any, a mere safe point.
    pub(crate) fn give_way(&self) {
        let own = self.task_node().entity().prio().get();
        // Relaxed: written by this CPU's worker, or by a puller that took a task away.
        if self.task_body().class == Class::RealTime && self.cpu().queued_top.load(Relaxed) < own {
            return self.checkpoint();
        }
        self.review(Why::Yield);
    }

    /// Whether the task should unwind, and can.
    pub(crate) fn is_cancelled(&self) -> bool {
        // Relaxed: the flag says nothing about other memory.
        self.task_body().cancelled.load(Relaxed)
    }

    /// Unwinds a cancelled task, unless it is unwinding already.
    pub(crate) fn unwind_if_cancelled(&self) {
        if self.is_cancelled() && !crate::primitives::thread::panicking() {
            resume_unwind(Box::new(Cancelled));
        }
    }

    fn disarm(&self) {
        let body = self.task_body();
        // Relaxed: written by the carrier before the task became resumable.
        let armed_on = body.armed_on.load(Relaxed);
        if armed_on == NOT_ARMED {
            return;
        }
        body.armed_on.store(NOT_ARMED, Relaxed); // Relaxed: ours while we run.
        self.shared()
            .disarm(self.task_node(), CpuId::new(armed_on as usize));
    }
}
