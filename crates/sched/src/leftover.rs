//! What a pass leaves undone, asked after its last publication.
//!
//! A pass reviews the current task, pulls, picks and pushes, each once. Three things can slip in between.
//! The CPU published a lower level after it had pulled, or somebody else published for it. A task that was
//! not current at the review stands over a stuck one while a CPU that runs less has looked already, and
//! found no candidate published. A task was picked that must leave when it drops its last guard, and
//! nobody told it so. In each case no later event repairs it: the CPU that fell has pulled, and the letter
//! has been read. So the last act of a pass is to ask again, and to request another look if needed.
//!
//! The question comes after the candidate is published and behind a fence, which is what makes it safe: a
//! CPU that falls later sees the candidate and asks this one to look ([`crate::pull`]), and one that fell
//! earlier is seen here. Cost: nothing but the fence, unless a task is stuck; then one search of cpupri.

use crate::primitives::atomic::{Ordering::SeqCst, fence};

use crate::{Movable, RootDomain, Runqueue, push_away};

/// Whether another look is needed.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leftover {
    /// No.
    Nothing,
    /// Request a pass of this CPU: it happens at the current task's next safe point, or at once if idle.
    LookAgain,
}

/// Called with the lock of `rq` after the last [`Runqueue::publish`] of a pass.
pub fn leftover<T>(rq: &Runqueue<T>, domain: &RootDomain) -> Leftover {
    if rq.owes_pull() {
        return Leftover::LookAgain;
    }
    let Some(current) = rq.current().map(|task| task.entity()) else {
        return Leftover::Nothing;
    };
    if current.held() > 0 && !current.affinity().contains(rq.cpu()) {
        current.ask_attention();
    }
    if current.movable() == Movable::Bound || rq.stuck().is_none() {
        return Leftover::Nothing;
    }
    // Pairs with the fence in `pull::plan`: we published the stuck task, the other CPU its lower level.
    fence(SeqCst);
    match push_away::plan(rq, domain) {
        push_away::Plan::Move(_) => Leftover::LookAgain,
        push_away::Plan::WhenReleased => {
            current.ask_attention();
            Leftover::Nothing
        }
        push_away::Plan::Stay => Leftover::Nothing,
    }
}
