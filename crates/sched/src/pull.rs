//! Pull: when a CPU becomes less urgent, take over the best task that waits elsewhere.
//!
//! The kernel's direct pull locks every overloaded runqueue in turn and may drag over several tasks, of
//! which only the last was worth it; with a hundred CPUs dropping at once they all queue for one lock.
//! Here each CPU publishes its best candidate, so a puller knows which single runqueue to lock. It checks
//! again under that lock and takes one task; if the answer was stale it asks for the next best.
//!
//! The published candidate may not be allowed here, and what was taken instead may be less urgent than a
//! candidate elsewhere. So after a task was taken the puller publishes its new level and plans once more;
//! with free affinity there is nothing more to find.
//!
//! A candidate may be stuck: it holds a migrate-disable guard, or is bound to its CPU, under a more urgent
//! task. Then the more urgent one should leave ([`crate::push_away`]), and the puller asks it to.
//!
//! `plan` must follow the publication of the lower level; it fences, see there.
//! Cost: one search and one foreign lock for each answer that was not stale.

use crate::primitives::atomic::{Ordering::SeqCst, fence};

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
    /// Once it is queued and published, plan again.
    Moved(TaskRef<T>),
    /// The best candidate cannot move, but the current task there could leave: make that CPU reschedule,
    /// exclude it and plan again.
    AskToLeave,
    /// Nothing for the puller there any more; exclude it and plan again.
    Stale,
}

/// The CPU with the most urgent candidate above `my_level`, apart from `me` and those already `tried`.
///
/// `me` has published exactly `my_level` in cpupri before the call. Searching at a higher level leaves out
/// candidates in between, which nobody offers again if `me` then does not rise.
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
///
/// If a stuck task there is more urgent still and the current one can make room by coming here, nothing is
/// taken: what was taken would be displaced at once.
pub fn commit<T>(src: &mut Runqueue<T>, me: CpuId, my_level: Level) -> Outcome<T> {
    let found = src
        .pullable()
        .take_while(|task| task.entity().level() > my_level)
        .find(|task| task.entity().affinity().contains(me))
        .map(|task| task.reference());
    let level = found
        .as_ref()
        .map_or(my_level, |task| task.entity().level());
    let room = room_for_stuck(src, me, level);
    match found {
        Some(task) if room != Room::ByComingHere => {
            src.remove(&task).map_or(Outcome::Stale, Outcome::Moved)
        }
        _ if room == Room::None => Outcome::Stale,
        _ => Outcome::AskToLeave,
    }
}

/// How the current task of a runqueue could make room for a stuck one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// It cannot, or nothing is stuck.
    None,
    /// By leaving for the asker when it drops its last guard.
    WhenReleased,
    /// By leaving for the asker.
    ByComingHere,
}

fn room_for_stuck<T>(src: &Runqueue<T>, me: CpuId, above: Level) -> Room {
    let (Some(stuck), Some(current)) = (src.stuck(), src.current()) else {
        return Room::None;
    };
    let current = current.entity();
    if stuck.level() <= above || !current.affinity().contains(me) {
        return Room::None;
    }
    match current.movable() {
        Movable::Bound => Room::None,
        // The holder has been told already: it looks for a lower CPU when it drops its last guard.
        Movable::Held if current.is_asked() => Room::None,
        Movable::Held => Room::WhenReleased,
        Movable::Free => Room::ByComingHere,
    }
}
