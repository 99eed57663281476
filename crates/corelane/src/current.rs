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

use corelane_os::clock;
use corelane_os::fiber::{self, Resumed, Suspender};
use corelane_os::thread::Tid;
use corelane_sched::{CpuId, Node, Wait, Why};

use crate::bound::Bound;
use crate::cpu::Cpu;
use crate::direct::{self, Direct, Finished, Tail};
use crate::held::Held;
use crate::job::{Cancelled, Ended};
use crate::native;
use crate::runtime::Shared;
use crate::task_body::{Body, Class, NOT_ARMED, Task};

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
    /// The same task for those who end it from outside.
    pub(crate) bound: Bound<Node<Body>>,
    cpu: Cell<u16>,
    native: Cell<bool>,
    /// The migrate-disable guards of the running task.
    pub(crate) held: Held,
    /// What the task that left for this one had no time for.
    tail: Cell<Tail>,
    /// Where the fiber's own thread was last placed.
    pub(crate) lender_place: Cell<Option<(CpuId, Class)>>,
    /// The fiber's own thread; set before anybody else knows the fiber.
    pub(crate) tid: Cell<Option<Tid>>,
    /// Where the stack of the body ends and its guard begins, and how large it is; set with `tid`.
    stack_low: Cell<usize>,
    stack_bytes: Cell<usize>,
    pub(crate) leaving: Cell<bool>,
    pub(crate) outside: Cell<Option<OutsideJob>>,
    deserted: Cell<bool>,
    /// The task ends others, see [`Fiber::for_others`].
    ends_others: Cell<bool>,
    slice_end_ns: Cell<u64>,
    /// How its task ended, if it has.
    ended: Cell<Option<Ended>>,
}

// SAFETY: the cells have one owner at a time, see the module's page; `bound` is atomic.
unsafe impl Sync for Fiber {}
// SAFETY: as above.
unsafe impl Send for Fiber {}

/// The guard of a stack is at least a page.
const GUARD_BYTES_MIN: usize = 4096;

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
            bound: Bound::empty(),
            cpu: Cell::new(0),
            native: Cell::new(false),
            held: Held::new(),
            tail: Cell::new(Tail::Nothing),
            lender_place: Cell::new(None),
            tid: Cell::new(None),
            stack_low: Cell::new(0),
            stack_bytes: Cell::new(0),
            leaving: Cell::new(false),
            outside: Cell::new(None),
            deserted: Cell::new(false),
            ends_others: Cell::new(false),
            slice_end_ns: Cell::new(u64::MAX),
            ended: Cell::new(None),
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
        Some(unsafe { &*fiber })
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

    /// The thread of the fiber ends: destructors of its thread-locals run as on an ordinary thread.
    pub(crate) fn exit(&self) {
        FIBER.with(|own| own.set(ptr::null()));
    }

    /// Tells the scheduler how many guards the task holds: before it decides anything about the task.
    ///
    /// The count is kept here while the task runs, because the scheduler's entity is two dependent loads
    /// away from the task, and others read it.
    pub(crate) fn file_guards(&self) {
        self.task_node().entity().set_held(self.held.count());
    }

    /// Learns whether the scheduler waits for the last guard: after it has decided.
    pub(crate) fn heed(&self) {
        self.held
            .set_attention(self.task_node().entity().is_asked());
    }

    /// Whether an address lies in the guard below the body's stack. The guard is at least one page.
    pub(crate) fn is_guard(&self, address: usize) -> bool {
        (1..=GUARD_BYTES_MIN).contains(&self.stack_low.get().wrapping_sub(address))
    }

    pub(crate) fn stack_bytes(&self) -> usize {
        self.stack_bytes.get()
    }

    /// Remembers the stack, before anybody else knows the fiber.
    pub(crate) fn set_stack(&self, low: usize, bytes: usize) {
        self.stack_low.set(low);
        self.stack_bytes.set(bytes);
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

    fn task_body(&self) -> &Body {
        &self.task_node().body
    }

    pub(crate) fn is_running(&self, task: &Task) -> bool {
        self.task_ref().is_some_and(|mine| Arc::ptr_eq(mine, task))
    }

    /// The carrier gives the fiber a task to start.
    pub(crate) fn bind(&self, task: Task) {
        self.bound.show(&task);
        self.slice_end_ns.set(u64::MAX); // an earlier task's slice is over
        self.ended.set(None);
        // SAFETY: the fiber is suspended and ours: it came out of the pool.
        unsafe { *self.task.get() = Some(task) };
    }

    /// The carrier takes the ended task off the fiber, unless it has to stay with somebody who looks at it.
    pub(crate) fn unbind(&self) -> Option<Task> {
        // SAFETY: the fiber is suspended after `Intent::Exit`, and its carrier's.
        let task = unsafe { (*self.task.get()).take() };
        task.and_then(|task| self.bound.hide(task))
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

    /// The closure has ended. What follows is short and ends in [`Intent::Exit`], so a wake on the way does
    /// not enter the scheduler.
    pub(crate) fn set_ended(&self, ended: Ended) {
        self.ended.set(Some(ended));
    }

    /// There is more of the task's own code to run after all.
    pub(crate) fn go_on(&self) {
        self.ended.set(None);
    }

    /// Whether the task's own code is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// The task has ended: releases the guards that it left behind.
    pub(crate) fn release_guards(&self) {
        let leaked = self.held.end();
        if leaked > 0 {
            let leaked_guards = &self.cpu().stats.leaked_guards;
            leaked_guards.add_shared(u64::from(leaked));
        }
        let entity = self.task_node().entity();
        entity.set_held(0);
        entity.attended();
    }

    /// Whether a cancelled task has left its stack here for ever; only where nothing unwinds.
    #[inline]
    pub(crate) fn is_deserted(&self) -> bool {
        cfg!(panic = "abort") && self.deserted.get()
    }

    /// How the task that just exited ended.
    pub(crate) fn ended(&self) -> Ended {
        self.ended.get().expect("a task that exits has ended")
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
        let inner = unsafe { (*self.inner.get()).as_ref() }.expect("a bound fiber has a thread");
        native::place_lender(shared, self.cpu(), self, inner);
        // SAFETY: parked, since its last carrier left it before the task became runnable; a task holds
        // nothing that is tied to its carrier's kernel thread (that is what `native` is for). The task may
        // leave for another one, end elsewhere, and a shutdown free its fiber, while this carrier is stuck
        // in that other one: nothing of this fiber is touched below.
        let resumed = unsafe { fiber::Fiber::resume_chain(inner) };
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
        if intent != Intent::Exit {
            self.file_guards();
        }
        self.suspender().suspend();
        if intent != Intent::Exit {
            self.arrive();
        }
    }

    /// Suspends and has the carrier go on with `next`, a started or fresh fiber that is the caller's. The
    /// caller's next step, when it runs again, is [`Fiber::arrive`].
    ///
    /// # Safety
    /// The caller dispatched the task of `next`, and its own task is filed where nobody can resume it
    /// before `next` has run its tail.
    pub(crate) unsafe fn switch_to(&self, next: &Fiber) {
        next.native.set(false);
        // SAFETY: the caller dispatched the task, so the fiber is ours until its task is runnable again.
        let inner = unsafe { (*next.inner.get()).as_ref() }.expect("a bound fiber has a thread");
        // SAFETY: parked, as in `resume`; all fibers of a pool have one backend; a dispatched task is not
        // the one that runs. `next` may be gone when this comes back, and is not touched.
        unsafe { self.suspender().switch_to(inner) };
    }

    fn suspender(&self) -> &Suspender<'static> {
        // SAFETY: set by `enter` from a suspender that lives as long as the body.
        unsafe { &*self.suspender.get() }
    }

    /// The task runs again, or for the first time.
    pub(crate) fn arrive(&self) {
        // A loop: whoever goes first may leave for this task again, and be woken on its way again.
        while direct::finish(self, self.tail.replace(Tail::Nothing)) == Finished::TooEarly {
            self.intent.set(Intent::Review(Why::Asked)); // not a point of cancellation
            self.file_guards();
            self.suspender().suspend();
        }
        self.heed();
    }

    /// The one that leaves for this fiber says what is left to be done.
    pub(crate) fn set_tail(&self, tail: Tail) {
        self.tail.set(tail);
    }

    /// Waits until somebody wakes the task or `deadline_ns` passes; may return for no reason.
    ///
    /// The wake that came with a cancellation may have been consumed while the task was unwinding or inside
    /// a call that is no point of cancellation; so the flag is looked at before sleeping as well.
    pub(crate) fn wait(&self, deadline_ns: Option<u64>) {
        self.unwind_if_cancelled();
        if self.task_node().entity().state().begin_wait() == Wait::Leave {
            if direct::part(self, deadline_ns) == Direct::No {
                self.suspend(Intent::Wait { deadline_ns });
            }
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
        if direct::take_turns(self) == Direct::No {
            self.suspend(Intent::Review(Why::Yield));
        }
        self.unwind_if_cancelled();
    }

    /// Whether the task should unwind, and can.
    pub(crate) fn is_cancelled(&self) -> bool {
        // Relaxed: the flag says nothing about other memory.
        self.task_body().cancelled.load(Relaxed)
    }

    /// Unwinds a cancelled task, unless it is unwinding already.
    pub(crate) fn unwind_if_cancelled(&self) {
        if self.is_cancelled() && !crate::primitives::thread::panicking() {
            if cfg!(panic = "abort") {
                if self.ends_others.get() {
                    return;
                }
                self.desert();
            }
            resume_unwind(Box::new(Cancelled));
        }
    }

    /// Runs what ends other tasks. A destructor of theirs may reach a safe point, and where nothing unwinds a
    /// cancelled caller would leave its stack there, with the others on it, and their joiners would wait for
    /// ever: it leaves at its next safe point after this. Where panics unwind, `job` contains them.
    pub(crate) fn for_others<R>(f: impl FnOnce() -> R) -> R {
        let own = Fiber::current();
        let before = own.map(|fiber| fiber.ends_others.replace(true));
        let done = f();
        if let (Some(fiber), Some(before)) = (own, before) {
            fiber.ends_others.set(before);
        }
        done
    }

    /// Ends a cancelled task where nothing unwinds (`panic=abort`): its joiner is told, and its stack is left
    /// as it is, for ever. No destructor runs, and the fiber is lost to the pool.
    fn desert(&self) -> ! {
        self.set_ended(Ended::Cancelled);
        // SAFETY: this is the closure's code, and the stack is left below.
        unsafe { self.task_body().job.desert() };
        self.release_guards();
        self.deserted.set(true);
        self.suspend(Intent::Exit);
        unreachable!("a deserted fiber is not resumed")
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
