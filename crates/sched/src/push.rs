//! Push: give a queued task to a CPU that runs less.
//!
//! After every pick, a CPU with queued tasks that may move looks for CPUs below them. The kernel tries
//! only the first such task, so one that nobody can take hides all behind it. Here the search goes on to
//! the next until even the lowest CPU of the domain is not below it.
//!
//! `plan` reads what others publish; `commit` runs under the lock of this runqueue, checks again, and
//! takes the task off. The target's lock is never taken: the task travels through the target's inbox,
//! and the target decides on arrival what to do with it. A target that rose meanwhile pushes it on; each
//! such hop needs that some CPU made progress.
//!
//! Cost of `plan`: one search of cpupri for each candidate above the lowest CPU; with free affinity that
//! is one.

use crate::primitives::atomic::{Ordering::SeqCst, fence};

use crate::{CpuId, Level, RootDomain, Runqueue, TaskRef};

/// A task that should leave, and where to.
#[must_use]
pub struct Plan<T> {
    task: TaskRef<T>,
    /// The CPU that was lower.
    pub to: CpuId,
}

/// What became of a plan.
#[must_use]
pub enum Outcome<T> {
    /// The task is off this runqueue: send it to `to`, where it keeps its place ([`crate::Place::Keep`]).
    Moved {
        /// The task.
        task: TaskRef<T>,
        /// Where it goes.
        to: CpuId,
    },
    /// Somebody made progress in between; plan again.
    Stale,
}

impl<T> Plan<T> {
    /// The level of the task that is to be pushed.
    pub fn level(&self) -> Level {
        self.task.entity().level()
    }
}

/// The most urgent queued task of `rq` for which some CPU runs less, and that CPU.
pub fn plan<T>(rq: &Runqueue<T>, domain: &RootDomain) -> Option<Plan<T>> {
    let me = rq.cpu();
    if !rq.has_pushable() || domain.cpus() == 1 {
        return None;
    }
    // Pairs with the fence of a puller (`pull::plan`): we published our overload before, it published
    // its lower level before. One of the two sees the other; without, a task could be left behind.
    fence(SeqCst);
    let floor = domain.floor(me)?;
    let mut candidates = rq
        .pushable()
        .take_while(|task| task.entity().level() > floor);
    candidates.find_map(|task| {
        let level = task.entity().level();
        let (to, _) = domain.find_lowest(task.entity(), level, me, Some(me))?;
        Some(Plan {
            task: task.reference(),
            to,
        })
    })
}

/// Takes the planned task off `rq` if the plan still holds.
pub fn commit<T>(rq: &mut Runqueue<T>, domain: &RootDomain, plan: Plan<T>) -> Outcome<T> {
    let entity = plan.task.entity();
    let still_lower = domain.cpupri.level(plan.to) < entity.level();
    if !still_lower || entity.held() > 0 || !entity.affinity().contains(plan.to) {
        return Outcome::Stale;
    }
    match rq.remove(&plan.task) {
        Some(task) => Outcome::Moved { task, to: plan.to },
        None => Outcome::Stale,
    }
}
