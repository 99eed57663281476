//! Work that must run on one kernel thread, and work that must run on an ordinary one.
//!
//! Most code cannot tell a fiber from a thread. What is keyed by the kernel's thread id can: libc's
//! priority-inheriting mutexes, per-thread credentials, an io_uring ring with a single issuer, a GL
//! context. For these a task continues on its fiber's own kernel thread ([`native`]). And some things must
//! not happen on a real-time CPU at all, such as starting threads that should inherit the process's
//! affinity: [`outside`] has them done by the housekeeping thread.
//!
//! ```text
//!   carried ──(Intent::Native, carrier)──► own kernel thread ──(Intent::BackFromNative, lender)──► queued
//! ```
//!
//! # Unsafe
//! What is raw: handing the fiber to its own thread and coming back. The way back runs on the lender's
//! reserve of stack while the thread control block may already be in use elsewhere, so [`come_back`] uses
//! atomics and the futex call only. Shown by `tests/native.rs`.

use crate::primitives::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::primitives::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use corelane_os::cpuset::KernelCpuSet;
use corelane_os::fiber;
use corelane_os::thread::{self, Tid};

use crate::cpu::Cpu;
use crate::current::{Fiber, Intent, OutsideJob};
use crate::runtime::Shared;
use crate::task_body::{Body, Class, Task};
use crate::wake;
use corelane_sched::{Level, Node, Prio};

/// Runs `f` on the kernel thread that belongs to the calling task's fiber, and returns its result.
///
/// The thread is pinned to the task's CPU, one FIFO level above the worker: while `f` runs it has the CPU
/// before every task there, so `f` should be short or sleep. A task that returns from `f` competes by
/// priority again. Inside `f`, calls into the runtime behave as on an ordinary thread. Panics pass
/// through. On an ordinary thread, or nested, `f` just runs.
///
/// Costs two kernel switches and, on a first visit of a CPU, two system calls.
pub fn native<R>(f: impl FnOnce() -> R) -> R {
    let Some(fiber) = Fiber::carried() else {
        return f();
    };
    fiber.suspend(Intent::Native);
    let result = catch_unwind(AssertUnwindSafe(f));
    fiber.suspend(Intent::BackFromNative);
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Runs `f` on the housekeeping thread, which has the process's original affinity and no real-time
/// policy, while the task waits; returns its result. Closures of several tasks run one after the other.
/// Panics pass through. On an ordinary thread `f` just runs.
pub fn outside<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let Some(fiber) = Fiber::carried() else {
        return f();
    };
    let mut f = Some(f);
    let mut result = None;
    let mut run = || {
        if let Some(f) = f.take() {
            result = Some(catch_unwind(AssertUnwindSafe(f)));
        }
    };
    let run: &mut (dyn FnMut() + '_) = &mut run;
    // SAFETY: only the lifetime changes. The task stays suspended until the housekeeping thread has
    // called the closure and dropped the pointer, so the stack it is on outlives its use.
    let job = unsafe { core::mem::transmute::<*mut (dyn FnMut() + '_), OutsideJob>(run) };
    fiber.outside.set(Some(job));
    fiber.suspend(Intent::Outside);
    let result = result.expect("the housekeeping thread has run the closure");
    fiber.unwind_if_cancelled();
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// The carrier has left the stack: sends the fiber to its own kernel thread.
pub(crate) fn depart(shared: &Shared, cpu: &Cpu, fiber: &Fiber, task: Task) {
    // SAFETY: the fiber is suspended and ours until `resume_native`.
    let inner = unsafe { (*fiber.inner.get()).as_ref() }.expect("a fiber in use has a thread");
    place(shared, cpu, fiber, inner.tid());
    fiber.set_native(true);
    let raw = Arc::into_raw(task).cast::<()>();
    // SAFETY: nobody else uses the fiber until `come_back`, which takes the reference in `raw`.
    unsafe { fiber::Fiber::resume_native(inner, come_back, raw) };
}

/// Before a carrier resumes a fiber whose thread pointer cannot be carried: the fiber's thread runs in
/// the carrier's stead, so it gets the carrier's CPU and a level.
pub(crate) fn place_lender(shared: &Shared, cpu: &Cpu, fiber: &Fiber, inner: &fiber::Fiber) {
    if matches!(shared.fibers.backend(), fiber::Backend::Native(_)) {
        place(shared, cpu, fiber, inner.tid());
    }
}

/// Gives a fiber's own thread the CPU and the level at which it stands in for its carrier.
fn place(shared: &Shared, cpu: &Cpu, fiber: &Fiber, tid: Tid) {
    let class = fiber.task_node().body.class;
    let here = Some((cpu.id, class));
    if fiber.lender_place.replace(here) == here {
        return;
    }
    let policy = match class {
        Class::RealTime => shared.native_policy(),
        Class::Background => thread::Policy::Other,
    };
    // Priority first: a lower thread pinned under a spinning worker would not run. A refusal was
    // reported when the runtime was built, and the thread then runs like any other.
    let _ = thread::set_policy(tid, policy);
    let _ = thread::set_affinity(tid, &KernelCpuSet::single(cpu.kernel));
}

/// Called by the lender after the native part, once it has published that it is parked.
///
/// # Safety
/// `raw` is the reference that `depart` made, and comes back once.
unsafe fn come_back(raw: *const ()) {
    // SAFETY: by contract.
    let task: Task = unsafe { Arc::from_raw(raw.cast::<Node<Body>>()) };
    arrive_back(&task);
    task.entity().state().requeue();
    if task.body.class == Class::Background {
        return crate::background::enqueue(task);
    }
    wake::enqueue_from_outside(task);
}

/// The level at which a CPU counts as busy while tasks of it are in native parts: their threads have the
/// CPU before its worker, and the scheduler cannot see whether they use it.
pub(crate) fn set_out(cpu: &Cpu, task: &Task) {
    cpu.native_level
        .fetch_max(task.entity().level().get(), Relaxed); // Relaxed: the count orders it.
    cpu.natives.fetch_add(1, Release); // Release: pairs with `level`.
}

/// What a CPU publishes at least because of native parts.
pub(crate) fn level(cpu: &Cpu) -> Level {
    // Acquire: pairs with `set_out`. Lost to `arrive_back`: its kick makes the CPU publish again.
    if cpu.natives.load(Acquire) == 0 {
        cpu.native_level.store(0, Relaxed); // Relaxed: only this CPU's worker sets parts out.
        return Level::IDLE;
    }
    let level = cpu.native_level.load(Relaxed); // Relaxed: see above.
    level
        .checked_sub(2)
        .and_then(Prio::new)
        .map_or(Level::IDLE, Level::of)
}

/// The native part of a real-time task is over: its CPU is free again as far as it is concerned.
fn arrive_back(task: &Task) {
    if task.body.class == Class::RealTime {
        let cpu = task.body.shared.cpu(task.entity().last_cpu());
        cpu.natives.fetch_sub(1, AcqRel); // AcqRel: pairs with `level`; the kick makes it publish.
        cpu.kick();
    }
}

/// Runs the closure of a task that waits for the housekeeping thread.
///
/// # Safety
/// The caller is the housekeeping thread and owns `task`, which was sent to it by [`Intent::Outside`].
pub(crate) unsafe fn run_outside(task: &Task) {
    let fiber = task.body.fiber().expect("a task outside has started");
    let job = fiber
        .outside
        .take()
        .expect("a task outside has left a closure");
    // SAFETY: the task is suspended in `outside`, which keeps the closure alive; nobody else calls it.
    unsafe { (*job)() };
}
