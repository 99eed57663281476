//! What those who changed tasks wrote down: priorities, affinities, guards.
//!
//! The record of a scheduler cannot show that it ignored a change. So whoever makes one says so before and
//! after, with the time. A change is in force at the latest when the call has returned; while it is under
//! way the old value and the new one are both possible. Times of different CPUs are compared only beyond
//! the difference of their clocks, always in favour of the scheduler.

use std::collections::HashMap;

use corelane_sched::{CpuId, CpuMask};

use super::{Seen, What};
use crate::check::Standing;

/// What was written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The task came to be, with this priority and where it may run.
    Born {
        /// Its priority.
        prio: u8,
        /// Where it may run.
        allowed: CpuMask,
    },
    /// Somebody is about to give it this priority. One such change at a time.
    PrioBegins {
        /// The priority.
        prio: u8,
    },
    /// The change of priority has returned.
    PrioEnds,
    /// Somebody is about to bound it to these CPUs.
    BoundsBegin {
        /// Tells this change from others.
        key: u64,
        /// The CPUs.
        allowed: CpuMask,
    },
    /// That change has returned: the task is where it may be.
    BoundsEnd {
        /// Of which change.
        key: u64,
    },
    /// Whoever made that change was cancelled while it waited: the value is there, and nobody will say when
    /// it is in force.
    BoundsLeft {
        /// Of which change.
        key: u64,
    },
    /// That change was refused.
    BoundsRefused {
        /// Of which change.
        key: u64,
    },
    /// It has taken its outermost guard.
    Held {
        /// Where.
        cpu: usize,
    },
    /// It is about to drop that guard.
    Released,
}

/// An entry about a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The number of the task.
    pub task: u64,
    /// When it was written, by the clock of the CPU where that was.
    pub at_ns: u64,
    /// What.
    pub change: Change,
}

/// A time that has begun, and perhaps ended.
#[derive(Clone, Copy, Debug)]
struct Span {
    begin_ns: u64,
    end_ns: Option<u64>,
    /// When its maker was gone without having seen its end.
    left_ns: Option<u64>,
}

impl Span {
    /// Since when nobody is at it.
    fn over_ns(&self) -> Option<u64> {
        self.end_ns.or(self.left_ns)
    }
}

#[derive(Default)]
struct Book {
    prio: Option<u8>,
    prio_next: Option<u8>,
    prio_changes: Vec<Span>,
    bounds: Vec<(u64, CpuMask, Span)>,
    holds: Vec<(usize, Span)>,
}

pub(super) struct Books {
    books: HashMap<u64, Book>,
    skew_ns: u64,
}

/// The key of the affinity that a task was born with.
const BIRTH: u64 = u64::MAX;
/// How long what is over is kept. Events that are judged later than this after the fact are not compared.
const KEPT_NS: u64 = 2_000_000_000;

impl Books {
    pub(super) fn new(skew_ns: u64) -> Books {
        Books {
            books: HashMap::new(),
            skew_ns,
        }
    }

    pub(super) fn enter(&mut self, note: Note) {
        let at_ns = note.at_ns;
        let book = self.books.entry(note.task).or_default();
        let begun = Span {
            begin_ns: at_ns,
            end_ns: None,
            left_ns: None,
        };
        match note.change {
            Change::Born { prio, allowed } => {
                // A change may have been noted before the birth was.
                book.prio.get_or_insert(prio);
                let span = Span {
                    begin_ns: 0,
                    end_ns: Some(0),
                    left_ns: None,
                };
                book.bounds.push((BIRTH, allowed, span));
            }
            Change::PrioBegins { prio } => {
                book.prio_next = Some(prio);
                book.prio_changes.push(begun);
            }
            Change::PrioEnds => {
                book.prio = book.prio_next.take().or(book.prio);
                let open = book.prio_changes.iter_mut().rev();
                end(open.map(|span| (true, span)), at_ns);
            }
            Change::BoundsBegin { key, allowed } => book.bounds.push((key, allowed, begun)),
            Change::BoundsEnd { key } => {
                let bounds = book.bounds.iter_mut();
                end(bounds.map(|(own, _, span)| (*own == key, span)), at_ns);
            }
            Change::BoundsLeft { key } => {
                let own = book.bounds.iter_mut().find(|(own, ..)| *own == key);
                own.into_iter()
                    .for_each(|(.., span)| span.left_ns = Some(at_ns));
            }
            Change::BoundsRefused { key } => book.bounds.retain(|(own, ..)| *own != key),
            Change::Held { cpu } => book.holds.push((cpu, begun)),
            Change::Released => {
                end(book.holds.iter_mut().map(|(_, span)| (true, span)), at_ns);
            }
        }
        book.prune(at_ns.saturating_sub(KEPT_NS));
    }

    /// The task has ended.
    pub(super) fn close(&mut self, task: u64) {
        self.books.remove(&task);
    }

    /// Whether nobody was changing the priority of `task` at any time from `from_ns` to `to_ns`.
    pub(super) fn is_steady(&self, task: u64, from_ns: u64, to_ns: u64) -> bool {
        let Some(book) = self.books.get(&task) else {
            return true;
        };
        let skew_ns = self.skew_ns;
        book.prio_changes.iter().all(|span| {
            let was_over = span.end_ns.is_some_and(|end_ns| end_ns + skew_ns < from_ns);
            was_over || span.begin_ns > to_ns + skew_ns
        })
    }

    /// What is true of `task` if it is at rest; `None` while somebody changes it.
    pub(super) fn standing(&self, task: u64) -> Option<Standing<'_>> {
        let book = self.books.get(&task)?;
        let is_changing = |span: &Span| span.end_ns.is_none();
        if book.prio_changes.iter().any(is_changing) {
            return None;
        }
        let last = book.bounds.iter().max_by_key(|(.., span)| span.begin_ns)?;
        // At rest what was left behind is in force, too.
        if book
            .bounds
            .iter()
            .any(|(.., span)| span.over_ns().is_none())
        {
            return None;
        }
        Some(Standing {
            task,
            prio: book.prio?,
            allowed: &last.1,
            held: book.holds.last().is_some_and(|(_, span)| is_changing(span)),
        })
    }

    /// What is wrong with where `seen` shows its task running.
    pub(super) fn check(&self, seen: &Seen) -> Option<String> {
        let runs_there = matches!(
            seen.what,
            What::Switch { .. }
                | What::Preempt { .. }
                | What::Yield { .. }
                | What::Block
                | What::Depart
                | What::Exit
        );
        let book = self.books.get(&seen.task).filter(|_| runs_there)?;
        book.off_its_guard(seen, self.skew_ns)
            .map(|cpu| format!("guard: {seen:?}: it holds a guard of CPU {cpu}"))
            .or_else(|| {
                let is_allowed = book.may_run(seen, self.skew_ns);
                let bounds = &book.bounds;
                (!is_allowed).then(|| format!("bounds: {seen:?}: it may not run there, {bounds:?}"))
            })
    }
}

/// Ends the first open span of those that are meant.
fn end<'a>(spans: impl Iterator<Item = (bool, &'a mut Span)>, at_ns: u64) {
    let mut open = spans.filter(|(is_meant, span)| *is_meant && span.end_ns.is_none());
    if let Some((_, span)) = open.next() {
        span.end_ns = Some(at_ns);
    }
}

impl Book {
    /// The CPU of a guard that the task certainly held, if it is another one than that of `seen`.
    fn off_its_guard(&self, seen: &Seen, skew_ns: u64) -> Option<usize> {
        let is_held = |span: &Span| {
            let is_over = span
                .end_ns
                .is_some_and(|end_ns| seen.at_ns + skew_ns >= end_ns);
            span.begin_ns + skew_ns < seen.at_ns && !is_over
        };
        let mut holds = self.holds.iter();
        let (cpu, _) = holds.find(|(cpu, span)| *cpu != seen.cpu && is_held(span))?;
        Some(*cpu)
    }

    /// Whether some affinity that may have been in force, or a guard, lets the task be where it is.
    fn may_run(&self, seen: &Seen, skew_ns: u64) -> bool {
        let is_over = |span: &Span| {
            span.end_ns
                .is_some_and(|end_ns| end_ns + skew_ns < seen.at_ns)
        };
        let mut holds = self.holds.iter();
        let is_held = holds.any(|(cpu, span)| {
            let has_begun = span.begin_ns <= seen.at_ns + skew_ns;
            *cpu == seen.cpu && has_begun && !is_over(span)
        });
        // Before the first change that is known to be over anything may be in force: whoever made the task
        // may not have come to note its birth.
        let is_unknown = !self.bounds.iter().any(|(.., span)| is_over(span));
        let here = CpuId::new(seen.cpu);
        let mut possible = self.possible(seen.at_ns, skew_ns);
        is_held || is_unknown || possible.any(|allowed| allowed.contains(here))
    }

    /// The affinities that may have been in force: those that had begun, without those that a later change
    /// had replaced for certain.
    fn possible(&self, at_ns: u64, skew_ns: u64) -> impl Iterator<Item = &CpuMask> {
        let has_returned =
            move |span: &Span| span.end_ns.is_some_and(|end_ns| end_ns + skew_ns < at_ns);
        let is_replaced = move |old: &Span| {
            let mut later = self.bounds.iter();
            old.over_ns().is_some_and(|old_end_ns| {
                later.any(|(_, _, new)| new.begin_ns > old_end_ns + skew_ns && has_returned(new))
            })
        };
        let begun = self
            .bounds
            .iter()
            .filter(move |(.., span)| span.begin_ns <= at_ns + skew_ns);
        begun
            .filter(move |(.., span)| !is_replaced(span))
            .map(|(_, allowed, _)| allowed)
    }

    /// Forgets what was over before `until_ns`; of affinities those that were replaced before.
    fn prune(&mut self, until_ns: u64) {
        let is_old = |span: &Span| span.end_ns.is_some_and(|end_ns| end_ns < until_ns);
        self.prio_changes.retain(|span| !is_old(span));
        self.holds.retain(|(_, span)| !is_old(span));
        let old = self.bounds.iter().map(|(.., span)| span);
        let last_ns = old
            .filter(|span| is_old(span))
            .map(|span| span.begin_ns)
            .max();
        let is_replaced = |span: &Span| {
            span.end_ns
                .is_some_and(|end_ns| last_ns.is_some_and(|last_ns| end_ns < last_ns))
        };
        self.bounds.retain(|(.., span)| !is_replaced(span));
    }
}
