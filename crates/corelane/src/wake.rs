//! The wake-up path: from "its condition is true" to "it is queued where it should run".
//!
//! ```text
//!   wake ── state word says Enqueue ──► select_cpu ──► own CPU?  ── yes ──► here (own lock)
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

use std::sync::Arc;

use corelane_sched::{CpuId, Leftover, Next, Offer, Place, Wake, arrive, leftover, select_cpu};

use crate::current::Fiber;
use crate::event::EventKind;
use crate::runtime::Shared;
use crate::task_body::{Class, Task};
use crate::{background, balance};

/// Wakes `task`, from a task or an ordinary thread. A safe point if the caller is a task.
pub(crate) fn wake(task: Task) {
    if task.entity().state().wake() == Wake::Enqueue {
        enqueue(task);
    }
}

/// The same for a caller that keeps its reference; clones it only if the task was asleep.
pub(crate) fn wake_ref(task: &Task) {
    if task.entity().state().wake() == Wake::Enqueue {
        enqueue(task.clone());
    }
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
    let to = select_cpu(&shared.domain, task.entity());
    send(&shared, task, Place::Tail, to);
}

fn enqueue_from_task(fiber: &Fiber, task: Task) {
    let shared = fiber.shared();
    let to = select_cpu(&shared.domain, task.entity());
    if to != fiber.cpu_id() {
        let mut kicks = balance::Kicks::default();
        balance::send_later(shared, task, Place::Tail, to, &mut kicks);
        return kicks.perform(shared);
    }
    let cpu = fiber.cpu();
    let mut core = cpu.core.lock();
    cpu.stats.wakes_local.add_own();
    let (id, priority) = (task.body.id, task.entity().prio().get());
    let mut kicks = balance::Kicks::default();
    match arrive(&mut core.rq, &shared.domain, task, Place::Tail) {
        Next::Send(task, place, to) => {
            let to_slot = to.index() as u16;
            cpu.events.push(|| EventKind::Migrate {
                task: id,
                to: to_slot,
            });
            balance::send_later(shared, task, place, to, &mut kicks);
        }
        _ => cpu.events.push(|| EventKind::Wake { task: id, priority }),
    }
    let _ = core.rq.publish(&shared.domain);
    let preempts = core.rq.must_switch();
    if !preempts {
        balance::push(shared, &mut core, cpu, &mut kicks);
    }
    // The task may be stuck under the caller, which then makes room.
    let looks_again = preempts || leftover(&core.rq, &shared.domain) == Leftover::LookAgain;
    cpu.show(&core);
    drop(core);
    kicks.perform(shared);
    if looks_again {
        // Not a point of cancellation: a wake in a destructor must not unwind.
        fiber.suspend(crate::current::Intent::Review(corelane_sched::Why::Asked));
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
