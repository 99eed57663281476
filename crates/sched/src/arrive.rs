//! What a CPU does with what it finds in its inbox.
//!
//! Whoever sent a task decided from published values, and the task travelled since. So the CPU decides
//! again on arrival, now under its own lock: the task may be forbidden here by now, or its arrival would
//! preempt a current task that cannot make room by moving. A change of priority or affinity finds its
//! task queued here, running here, waiting (then the next enqueue reads the new value), or gone to another
//! CPU (then the letter follows it).

use crate::primitives::atomic::Ordering::Relaxed;

use crate::{
    Arrival, CpuId, Place, Prio, Residence, RootDomain, Runqueue, TaskRef, beside_a_held_task,
    select_cpu,
};

/// What the caller must do after a letter was handled.
#[must_use]
pub enum Next<T> {
    /// Nothing: the task stays, or needs nothing.
    Done,
    /// Send the task to that CPU, to be put in its level as said. It may be the same CPU: then the task
    /// comes back through its inbox.
    Send(TaskRef<T>, Place, CpuId),
    /// Post the change letter again, to that CPU.
    Forward(TaskRef<T>, CpuId),
}

/// Handles a task that became runnable and was sent here.
pub fn arrive<T>(
    rq: &mut Runqueue<T>,
    domain: &RootDomain,
    task: TaskRef<T>,
    place: Place,
) -> Next<T> {
    if let Some(to) = beside_a_held_task(rq, domain, task.entity()) {
        return Next::Send(task, place, to);
    }
    match rq.enqueue(task, place) {
        Arrival::Queued { .. } => Next::Done,
        Arrival::Elsewhere(task) => send_on(domain, task, place),
    }
}

/// Handles word that `task` has a new priority or affinity.
pub fn change<T>(rq: &mut Runqueue<T>, domain: &RootDomain, task: TaskRef<T>) -> Next<T> {
    let home = task.entity().home();
    if home != rq.cpu() {
        return Next::Forward(task, home);
    }
    if task.entity().residence() != Residence::Queued {
        // Current: `review` looks at it. Away: whoever enqueues it reads the new values.
        return Next::Done;
    }
    let filed = Prio::from_raw(task.entity().level.load(Relaxed)); // Relaxed: under the lock.
    let place = match task.entity().prio().cmp(&filed) {
        core::cmp::Ordering::Less => Place::Head,
        core::cmp::Ordering::Equal => Place::Keep,
        core::cmp::Ordering::Greater => Place::Tail,
    };
    let Some(task) = rq.remove(&task) else {
        return Next::Done;
    };
    match rq.enqueue(task, place) {
        Arrival::Queued { .. } => Next::Done,
        Arrival::Elsewhere(task) => send_on(domain, task, place),
    }
}

/// A task that may not run here goes to where it may: here after all, if its affinity has just changed back.
fn send_on<T>(domain: &RootDomain, task: TaskRef<T>, place: Place) -> Next<T> {
    let to = select_cpu(domain, task.entity());
    Next::Send(task, place, to)
}
