//! Push away: a task that cannot move is stuck under a more urgent one, so the more urgent one moves.
//!
//! A queued task M that holds a migrate-disable guard (or is bound to one CPU) waits for H above it,
//! although another CPU runs less than M. Moving M is not allowed; moving H lets both run. The kernel
//! does this only in pull context and compares the target with H, so that H may displace a task more
//! urgent than M: two migrations and nothing gained. Here the target must run less than **M**.
//!
//! H pays one migration, at its next safe point: it takes no interrupt for a lower task. If H itself holds
//! a guard it goes when it drops the last one ([`Plan::WhenReleased`]).
//!
//! The displaced task lands on a strictly lower CPU each time, so a chain of these ends.

use crate::{CpuId, Movable, RootDomain, Runqueue, TaskRef};

/// What to do about a stuck task.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Nothing is stuck, or no CPU is low enough.
    Stay,
    /// The current task should go there.
    Move(CpuId),
    /// The current task should go when it drops its last guard.
    WhenReleased,
}

/// What became of the plan.
#[must_use]
pub enum Outcome<T> {
    /// The current task is off this runqueue: send it to that CPU as preempted.
    Moved(TaskRef<T>, CpuId),
    /// The target rose meanwhile.
    Stale,
}

/// Whether the current task of `rq` should make room for one that cannot leave.
///
/// Called when the current task would go on running here.
pub fn plan<T>(rq: &Runqueue<T>, domain: &RootDomain) -> Plan {
    let (Some(current), Some(stuck)) = (rq.current(), rq.stuck()) else {
        return Plan::Stay;
    };
    let (current, me) = (current.entity(), rq.cpu());
    match current.movable() {
        Movable::Bound => Plan::Stay,
        Movable::Held => Plan::WhenReleased,
        Movable::Free => domain
            .find_lowest(current, stuck.level(), me, Some(me))
            .map_or(Plan::Stay, |(to, _)| Plan::Move(to)),
    }
}

/// Takes the current task off `rq` if `to` is still below the stuck task.
pub fn commit<T>(rq: &mut Runqueue<T>, domain: &RootDomain, to: CpuId) -> Outcome<T> {
    let still_lower = rq
        .stuck()
        .is_some_and(|stuck| domain.cpupri.level(to) < stuck.level());
    let may_leave = rq
        .current()
        .is_some_and(|task| task.entity().movable() == Movable::Free);
    if !still_lower || !may_leave {
        return Outcome::Stale;
    }
    rq.take_current()
        .map_or(Outcome::Stale, |task| Outcome::Moved(task, to))
}
