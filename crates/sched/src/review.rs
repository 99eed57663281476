//! What becomes of the current task when its CPU looks again.
//!
//! A safe point with a pending request, a yield and the end of a slice all ask the same question. The
//! answer is one value, so that the runtime and the simulator cannot differ in the order of the tests:
//! a task that may not be here leaves; one that is no longer the most urgent goes back to the queue in
//! front of its equals; one that gives way goes behind them, if there are any; one that stands over a
//! stuck task makes room if that helps.

use crate::{CpuId, Place, RootDomain, Runqueue, push_away, select_cpu};

/// Why the scheduler looks at the current task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Somebody asked for it.
    Asked,
    /// The task gives way to its equals.
    Yield,
    /// Its slice is used up.
    SliceEnd,
}

/// What to do with the current task.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It runs on.
    Continue,
    /// It goes back to this queue ([`Runqueue::put_prev`]).
    PutBack(Place),
    /// It leaves for that CPU as preempted: its affinity excludes this one.
    Leave(CpuId),
    /// It leaves for that CPU if [`push_away::commit`] agrees, so that a stuck task can run here.
    MakeRoom(CpuId),
}

/// Decides about the current task of `rq`.
///
/// # Panics
/// If there is none.
pub fn review<T>(rq: &Runqueue<T>, domain: &RootDomain, why: Why) -> Verdict {
    let entity = rq
        .current()
        .expect("there is a current task to review")
        .entity();
    if !entity.affinity().contains(rq.cpu()) {
        if entity.held() == 0 {
            return Verdict::Leave(select_cpu(domain, entity));
        }
        entity.ask_attention();
    }
    // First: a task that gives way while a more urgent one waits goes behind its equals all the same.
    if why != Why::Asked && rq.has_peer() {
        return Verdict::PutBack(Place::Tail);
    }
    if rq.must_switch() {
        return Verdict::PutBack(Place::Preempted);
    }
    match push_away::plan(rq, domain) {
        push_away::Plan::Move(to) => Verdict::MakeRoom(to),
        push_away::Plan::WhenReleased => {
            entity.ask_attention();
            Verdict::Continue
        }
        push_away::Plan::Stay => Verdict::Continue,
    }
}
