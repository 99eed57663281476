//! Pull: when a CPU becomes less urgent, take over the best task that waits elsewhere.
//!
//! The kernel's direct pull locks every overloaded runqueue in turn and may drag over several tasks, of
//! which only the last was worth it; with a hundred CPUs dropping at once they all queue for one lock.
//! Here each CPU publishes its best candidate, so a puller knows which single runqueue to lock. It checks
//! again under that lock, takes one task and is done; if the answer was stale it asks for the next best.
//!
//! A candidate may be stuck: it holds a migrate-disable guard, or is bound to its CPU, under a more urgent
//! task. Then the more urgent one should leave ([`crate::push_away`]), and the puller asks it to.
//!
//! `plan` must follow the publication of the lower level; it fences, see there.
//! Cost: one search and one foreign lock for each answer that was not stale.

use core::sync::atomic::{Ordering::SeqCst, fence};

use crate::{CpuId, CpuMask, Level, Movable, RootDomain, Runqueue, TaskRef};

/// Where the best candidate for a CPU waits.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The runqueue to lock.
    pub from: CpuId,
    /// What that CPU published.
    pub level: Level,
}

/// What was found under the lock.
#[must_use]
pub enum Outcome<T> {
    /// This task is off its runqueue and belongs to the puller; it keeps its place ([`crate::Place::Keep`]).
    Moved(TaskRef<T>),
    /// The candidate cannot move, but the current task there could leave: make that CPU reschedule.
    AskToLeave,
    /// Nothing for the puller there any more; exclude it and plan again.
    Stale,
}

/// The CPU with the most urgent candidate above `my_level`, apart from `me` and those already `tried`.
///
/// `me` has published `my_level` (or less) in cpupri before the call.
pub fn plan(domain: &RootDomain, me: CpuId, my_level: Level, tried: &CpuMask) -> Option<Plan> {
    // Pairs with the fence of a pusher (`push::plan`): we lowered our level before we look at overload,
    // it published overload before it looked at levels. One of the two sees the other.
    fence(SeqCst);
    let others = |group: usize| {
        let mask = domain.span().word(group) & !tried.word(group);
        if me.index() / 64 == group {
            mask & !(1 << (me.index() % 64))
        } else {
            mask
        }
    };
    let (from, level) = domain.overload.most_urgent(my_level, me, others)?;
    Some(Plan { from, level })
}

/// Takes the most urgent task above `my_level` that `me` may run off `src`, under the lock of `src`.
pub fn commit<T>(src: &mut Runqueue<T>, me: CpuId, my_level: Level) -> Outcome<T> {
    let found = src
        .pushable()
        .take_while(|task| task.entity().level() > my_level)
        .find(|task| task.entity().affinity().contains(me))
        .map(|task| task.reference());
    if let Some(task) = found {
        return src.remove(&task).map_or(Outcome::Stale, Outcome::Moved);
    }
    match (src.stuck(), src.current()) {
        (Some(stuck), Some(current)) if stuck.level() > my_level => ask(current, me),
        _ => Outcome::Stale,
    }
}

fn ask<T>(current: &TaskRef<T>, me: CpuId) -> Outcome<T> {
    let entity = current.entity();
    if !entity.affinity().contains(me) {
        return Outcome::Stale;
    }
    match entity.movable() {
        Movable::Bound => Outcome::Stale,
        // It leaves when it drops its last guard.
        Movable::Held | Movable::Free => Outcome::AskToLeave,
    }
}
