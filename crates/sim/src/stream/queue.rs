//! Whether a CPU switched to the right one of those that are queued there.
//!
//! A switch is recorded under the lock under which the queue was looked at, and so is everything that
//! enters or leaves that queue. So at each switch the record determines who was queued. The task that is
//! switched to must be the most urgent; among equals, one that was queued behind everybody (`Tail`) must
//! not overtake one that was there before it, nor one that was preempted on this CPU. Tasks that brought
//! a place from another runqueue may stand anywhere among those that come after them.
//!
//! A task whose priority somebody was changing since it was queued is left out: the record does not say
//! when the queue took notice.

use super::books::Books;
use super::life::{Filing, Life, Lives, Rank};
use super::{Seen, What};

#[derive(PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Nothing to compare with.
    Open,
    /// It had equals, and the order among them is known and was kept.
    Right,
    Wrong(String),
}

pub(super) fn check(lives: &Lives, books: &Books, seen: &Seen) -> Order {
    let What::Switch { prio } = seen.what else {
        return Order::Open;
    };
    let steady = |task: u64, life: &Life| {
        let filing = life.filing?;
        books
            .is_steady(task, filing.from_ns, seen.at_ns)
            .then_some(filing)
    };
    let chosen = lives.get(seen.task);
    let Some(chosen) = chosen.and_then(|life| steady(seen.task, life)) else {
        return Order::Open;
    };
    if chosen.prio != prio {
        return Order::Wrong(format!(
            "it was queued by priority {}, which nobody has changed",
            chosen.prio
        ));
    }
    let mut order = Order::Open;
    let others = lives.queued_on(seen.cpu).iter();
    for other in others.filter(|other| **other != seen.task) {
        let filing = lives.get(*other).and_then(|life| steady(*other, life));
        match filing.map_or(Order::Open, |filing| compare(&chosen, &filing)) {
            Order::Open => {}
            Order::Right => order = Order::Right,
            Order::Wrong(why) => return Order::Wrong(format!("{why}: task {other} {filing:?}")),
        }
    }
    order
}

fn compare(chosen: &Filing, other: &Filing) -> Order {
    if other.prio > chosen.prio {
        return Order::Wrong("a more urgent one is queued there".into());
    }
    if other.prio < chosen.prio || chosen.rank != Rank::Tail {
        return Order::Open;
    }
    if other.rank == Rank::Front {
        return Order::Wrong("an equal that was preempted there waits".into());
    }
    if other.number < chosen.number {
        return Order::Wrong("an equal was queued there before it".into());
    }
    match other.rank {
        Rank::Tail => Order::Right,
        Rank::Front | Rank::Carried => Order::Open,
    }
}
