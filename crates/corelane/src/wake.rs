//! The wake-up path: from "its condition is true" to "it is queued where it should run".
//!
//! ```text
//!   wake ── state word says Enqueue ──► last CPU spins idle? ── yes ──► its slot
//!                                                        │ no
//!                                                        ▼
//!                                       select_cpu ──► own CPU?  ── yes ──► here (own lock)
//!                                                        │ no
//!                                                        ▼
//!                                          spinning CPU's slot, else its inbox + kick
//! ```
//!
//! A waker never takes another CPU's runqueue lock: the holder could be preempted, and the waker could be
//! an ordinary thread that is stopped while it holds it. See `sched/idle.md`.
//!
//! Cost of a wake: to a spinning CPU one exchange on its slot; to a busy CPU one exchange on its inbox
//! and a store; to a sleeping CPU also one system call. Nothing allocates. This path touches no
//! thread-local after the caller is known, because lenders take it too ([`crate::native`]).
//!
//! # Unsafe
//! What is raw: the reference that a parked task owns ([`unparked`]). Shown by `tests/leaks.rs`.

use std::sync::Arc;

use corelane_sched::{Commit, CpuId, Leftover, Offer, Place, Wake, leftover, select_cpu};

use crate::current::Fiber;
use crate::runtime::Shared;
use crate::task_body::{Class, Task};
use crate::{arrival, background, balance, direct};

/// Wakes `task`, from a task or an ordinary thread. A safe point if the caller is a task.
pub(crate) fn wake(task: Task) {
    wake_ref(&task);
}

/// The same for a caller that keeps its reference.
#[inline]
pub(crate) fn wake_ref(task: &Task) {
    if task.entity().state().wake() == Wake::Enqueue {
        enqueue(unparked(task));
    }
}

/// Commits the wait of a task whose stack has been left; gives it back if it was woken meanwhile.
///
/// A task that waits owns a reference to itself, which [`unparked`] takes over: a wake then counts nothing,
/// and does not touch the line of the count, which the task's last CPU has.
pub(crate) fn commit_wait(task: Task) -> Option<Task> {
    match task.entity().state().commit_wait() {
        Commit::Enqueue => Some(task),
        Commit::Parked => {
            core::mem::forget(task);
            None
        }
    }
}

/// The reference that a task owned while it waited; for the one whose wake found it parked.
pub(crate) fn unparked(task: &Task) -> Task {
    // SAFETY: `commit_wait` forgot one reference when the word became PARKED, and one wake takes it from
    // PARKED: the caller's. The pointer is that of an `Arc`.
    unsafe { Arc::from_raw(Arc::as_ptr(task)) }
}

/// Puts a runnable task that belongs to the caller where it should run.
pub(crate) fn enqueue(task: Task) {
    if task.body.class == Class::Background {
        return background::enqueue(task);
    }
    match Fiber::on_worker() {
        Some(fiber) if core::ptr::eq(fiber.shared(), Arc::as_ptr(&task.body.shared)) => {
            enqueue_from_task(fiber, task)
        }
        _ => enqueue_from_outside(task),
    }
}

/// From a thread that is no worker. Touches no thread-local.
pub(crate) fn enqueue_from_outside(task: Task) {
    let shared = task.body.shared.clone();
    let Err(task) = hand_to_idle(&shared, task) else {
        return;
    };
    let to = select_cpu(&shared.domain, task.entity());
    send(&shared, task, Place::Tail, to);
}

/// Hands a task to its last CPU if that spins idle.
///
/// [`select_cpu`] would say the same, but it reads the CPU's published level. That line belongs to the CPU
/// that has just gone idle, and it writes it again when it takes the task: two trips between the CPUs
/// that the slot makes needless. A CPU whose slot is open is idle.
fn hand_to_idle(shared: &Shared, task: Task) -> Result<(), Task> {
    let entity = task.entity();
    let last = entity.last_cpu();
    if entity.held() == 0 && !entity.affinity().contains(last) {
        return Err(task);
    }
    match shared.cpu(last).slot.offer(task, Place::Tail) {
        Offer::Taken => Ok(()),
        Offer::Refused(task) => Err(task),
    }
}

fn enqueue_from_task(fiber: &Fiber, task: Task) {
    let shared = fiber.shared();
    let Err(task) = hand_to_idle(shared, task) else {
        return;
    };
    let to = select_cpu(&shared.domain, task.entity());
    if to != fiber.cpu_id() {
        let mut kicks = balance::Kicks::default();
        balance::send_later(shared, task, Place::Tail, to, &mut kicks);
        return kicks.perform(shared);
    }
    let cpu = fiber.cpu();
    fiber.file_guards();
    let mut core = cpu.lock_as_task();
    cpu.stats.wakes_local.add_own();
    let mut kicks = balance::Kicks::default();
    arrival::receive(shared, cpu, &mut core, task, Place::Tail, &mut kicks);
    let preempts = core.rq.must_switch();
    if preempts && kicks.is_empty() && !fiber.has_ended() {
        core = match direct::preempt(fiber, core) {
            Ok(()) => return,
            Err(core) => core,
        };
    }
    let _ = core.rq.publish(&shared.domain);
    if !preempts {
        balance::push(shared, &mut core, cpu, &mut kicks);
    }
    // The task may be stuck under the caller, which then makes room.
    let looks_again = preempts || leftover(&core.rq, &shared.domain) == Leftover::LookAgain;
    cpu.show(&core);
    drop(core);
    kicks.perform(shared);
    if looks_again && !fiber.has_ended() {
        // Not a point of cancellation: a wake in a destructor must not unwind.
        fiber.suspend(crate::current::Intent::Review(corelane_sched::Why::Asked));
    } else {
        fiber.heed();
    }
}

/// Leaves a runnable task for another CPU and makes that CPU look.
///
/// The CPU is not raised in cpupri: only a worker may do that ([`balance::send_later`]). An ordinary
/// thread could be stopped between raising and telling the CPU, which would then look busy while it is
/// idle, and tasks would wait elsewhere for as long as the thread is stopped.
pub(crate) fn send(shared: &Shared, task: Task, place: Place, to: CpuId) {
    if leave(shared, task, place, to) == Left::NeedsKick {
        shared.cpu(to).kick();
    }
}

/// Whether the CPU must be told.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// Its spinning worker polls the slot.
    Seen,
    /// [`crate::cpu::Cpu::kick`] it, once no lock is held.
    NeedsKick,
}

/// Leaves a runnable task in the slot or inbox of a CPU. No lock, no system call.
pub(crate) fn leave(shared: &Shared, task: Task, place: Place, to: CpuId) -> Left {
    let cpu = shared.cpu(to);
    let task = match cpu.slot.offer(task, place) {
        Offer::Taken => return Left::Seen,
        Offer::Refused(task) => task,
    };
    cpu.inbox.leave_arrival(task, place);
    Left::NeedsKick
}
