//! Where a task wakes up.
//!
//! The kernel looks at the current task of the CPU where the waker found the sleeper and mostly stays
//! there; errors are left to push and pull. In user space a wake that preempts costs an interrupt and a
//! wake of a spinning idle CPU costs one store, so an idle CPU, or one that runs background work, is
//! preferred to preempting anybody: first the task's last CPU, then the nearest.
//!
//! Otherwise the task goes to its last CPU if it is more urgent than all there (a high task should not be
//! bounced because it slept; the lower one moves), else to a CPU at the lowest level below it, else it
//! queues on its last CPU and becomes a candidate for pulls.
//!
//! One exception is decided on arrival, where it can be seen: a current task that holds a migrate-disable
//! guard cannot make room by moving, so the arriving task goes beside it if some CPU runs less than the
//! current one ([`beside_a_held_task`]). The kernel preempts it and creates a stuck task.
//!
//! Wait-free. Every answer is advice.

use crate::{CpuId, Entity, Level, Movable, RootDomain, Runqueue};

/// The CPU where a task that just became runnable should go.
pub fn select_cpu(domain: &RootDomain, task: &Entity) -> CpuId {
    let last = task.last_cpu();
    if task.held() > 0 {
        return last;
    }
    let last_is_allowed = task.affinity().contains(last);
    let last_level = domain.cpupri.level(last);
    if last_is_allowed && last_level <= Level::BACKGROUND {
        return last;
    }
    let lowest = domain.find_lowest(task, task.level(), last, None);
    match lowest {
        Some((cpu, level)) if level <= Level::BACKGROUND => cpu,
        _ if last_is_allowed && task.level() > last_level => last,
        Some((cpu, _)) => cpu,
        None if last_is_allowed && last_level != Level::INVALID => last,
        None => anywhere(domain, task, last),
    }
}

/// Where to send a task that arrives at `rq` and would preempt a current task that cannot move away:
/// a CPU that runs less than that current task, if there is one.
pub fn beside_a_held_task<T>(
    rq: &Runqueue<T>,
    domain: &RootDomain,
    arriving: &Entity,
) -> Option<CpuId> {
    let current = rq.current()?.entity();
    if current.movable() == Movable::Free || arriving.level() <= current.level() {
        return None;
    }
    if arriving.movable() != Movable::Free {
        return None;
    }
    let below = current.level();
    Some(
        domain
            .find_lowest(arriving, below, rq.cpu(), Some(rq.cpu()))?
            .0,
    )
}

/// A CPU of the task's affinity that takes work at all; the lowest one.
fn anywhere(domain: &RootDomain, task: &Entity, last: CpuId) -> CpuId {
    match domain.find_lowest(task, Level::ABOVE_ALL, last, None) {
        Some((cpu, _)) => cpu,
        // Every allowed CPU is offline: the task waits where it was.
        None => last,
    }
}
