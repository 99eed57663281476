//! The oracles of a recorded run: what each CPU's scheduler says it did, judged without asking it.
//!
//! A machine of the simulator can be opened at every step. A real runtime can only be recorded: each CPU
//! writes what it does into a ring of its own, under its runqueue lock, and a reader collects the rings at
//! different moments. So the record has an exact order on each CPU and none between them. This module
//! finds one that causality allows (`merge.rs`), follows every task and every CPU through it (`life.rs`,
//! `queue.rs`), and compares with what those who changed tasks wrote down themselves (`books.rs`). The
//! simulator records itself in the same form, which is how these oracles are tested: on hundreds of
//! virtual CPUs whose clocks disagree.
//!
//! | file | what it concludes |
//! |---|---|
//! | `merge.rs` | an order of all events that agrees with each CPU's own and with each task's |
//! | `life.rs` | a task is in one place and runs on one CPU at a time; each event follows from the one before; a CPU runs one task |
//! | `queue.rs` | whoever is switched to is the first of the most urgent that are queued there |
//! | `books.rs` | a task never runs where its affinity forbids once the change has returned, nor off the CPU of its guard |
//! | [`crate::check`] | at rest: everything that the simulator's machines are held to |
//!
//! An oracle here never raises a false alarm. Where the record leaves it open what happened (two events of
//! one task on different CPUs, closer than the clocks agree; a change of priority under way; a hole in the
//! record), it concludes nothing, and counts that.

mod books;
mod life;
mod merge;
mod queue;
mod seen;

pub use books::{Change, Note};
pub use seen::{Seen, What};

use crate::check::{self, Truth};
use books::Books;
use life::{Lives, Verdict};
use merge::Merge;

/// How much was judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamTally {
    /// Events that were judged.
    pub events: u64,
    /// Tasks whose end was seen.
    pub ended: u64,
    /// Switches at which the order among queued equals was determined, and right; none while a guess was open.
    pub orders: u64,
    /// Events whose place among those of other CPUs the clocks left open.
    pub doubts: u64,
    /// Events that were followed while such a guess was open: a contradiction among them proves nothing.
    pub guessed: u64,
    /// Times the oracles had to forget what they knew: a hole, an order that stayed open, a violation.
    pub restarts: u64,
    /// Objections, also those that are not kept in words.
    pub violations: u64,
}

/// The oracles of one runtime's record, from its first event on.
pub struct Stream {
    merge: Merge,
    lives: Lives,
    books: Books,
    /// Tasks for which an order was a guess.
    doubted: Vec<u64>,
    /// Something is missing before what is being judged.
    was_cut: bool,
    /// A guess did not work out.
    was_misled: bool,
    tally: StreamTally,
    objections: Vec<String>,
}

/// Objections that are kept in words.
const OBJECTIONS_MAX: usize = 20;

impl Stream {
    /// For a runtime of `cpus` CPUs whose clocks differ by at most `skew_ns`.
    pub fn new(cpus: usize, skew_ns: u64) -> Stream {
        Stream {
            merge: Merge::new(cpus, skew_ns),
            lives: Lives::new(cpus, skew_ns),
            books: Books::new(skew_ns),
            doubted: Vec::new(),
            was_cut: false,
            was_misled: false,
            tally: StreamTally::default(),
            objections: Vec::new(),
        }
    }

    /// Something that was written down about a task; at the latest before the first [`Stream::feed`]
    /// after it.
    pub fn note(&mut self, note: Note) {
        if !self.lives.has_ended(note.task) {
            self.books.enter(note);
        }
    }

    /// All that the CPUs recorded since the last call, each CPU's events in their order.
    ///
    /// What is fed now is judged with the next call: only then everything that led to it is here.
    pub fn feed(&mut self, events: impl IntoIterator<Item = Seen>) {
        self.feed_read_at(0, events);
    }

    /// The same, if the reading of the first ring began at `begun_ns`, by any CPU's clock: what was recorded
    /// before is here, so that less is open.
    pub fn feed_read_at(&mut self, begun_ns: u64, events: impl IntoIterator<Item = Seen>) {
        self.merge.add(begun_ns, events);
        self.judge();
    }

    /// Nothing more will be recorded: judges what is left.
    pub fn finish(&mut self) {
        self.feed([]);
        self.feed([]);
    }

    /// Events may be missing before the next ones: forgets what was known.
    pub fn hole(&mut self) {
        self.merge.clear();
        self.lives.cut();
        self.was_cut = true;
        self.restart();
    }

    /// How much was judged so far.
    pub fn tally(&self) -> StreamTally {
        self.tally
    }

    /// What was wrong, in words.
    pub fn objections(&self) -> &[String] {
        &self.objections
    }

    /// Whether everything since the beginning is known: there was no restart.
    pub fn is_complete(&self) -> bool {
        self.lives.is_complete()
    }

    /// The tasks that have not ended, as far as is known.
    pub fn live(&self) -> usize {
        self.lives.live()
    }

    /// What is known of a task.
    pub fn place(&self, task: u64) -> String {
        self.lives.place(task)
    }

    /// Who runs on each CPU.
    pub fn running(&self) -> Vec<Option<u64>> {
        self.lives.running()
    }

    /// Judges the state as one at rest. `None` while it is not: somebody is on the way, something is not
    /// known, or events wait to be judged.
    pub fn at_rest(&self) -> Option<Rest<'_>> {
        let truth = self.truth()?;
        let (objections, levels) = (check::at_rest(&truth), check::levels(&truth));
        Some(Rest {
            objections,
            levels,
            truth,
        })
    }

    /// Somebody who is neither running, queued nor waiting, in words. For a moment that is so, and the state
    /// is not at rest; where nothing happens any more, it was lost.
    pub fn on_its_way(&self) -> Option<String> {
        use life::Place::{Away, Flying, Starved};
        if !self.lives.knows_all() || !self.merge.is_empty() {
            return None;
        }
        let mut lives = self.lives.iter();
        let is_moving = |place| matches!(place, Flying(_) | Away | Starved);
        let (task, life) = lives.find(|(_, life)| is_moving(life.place()))?;
        Some(format!("task {task} is {:?}", life.place()))
    }

    fn truth(&self) -> Option<Truth<'_>> {
        if !self.lives.knows_all() || !self.merge.is_empty() {
            return None;
        }
        let mut truth = Truth::new(self.lives.cpus());
        for (task, life) in self.lives.iter() {
            match life.place() {
                life::Place::Running(cpu) => truth.run(cpu, self.books.standing(task)?),
                life::Place::Queued(cpu) => truth.queue(cpu, self.books.standing(task)?),
                life::Place::Blocked => {}
                _ => return None,
            }
        }
        Some(truth)
    }

    /// Judges as far as the order is certain.
    fn judge(&mut self) {
        while self.merge.must_go_on() {
            let lives = &self.lives;
            match self.merge.next(|seen| lives.readiness(seen)) {
                Some(taken) => {
                    if taken.is_open {
                        self.tally.doubts += 1;
                        self.doubted.push(taken.seen.task);
                    }
                    self.follow(&taken.seen);
                }
                None => self.stuck(),
            }
        }
        if self.merge.ends_doubt() {
            self.end_doubt();
        }
    }

    /// What was guessed counts as not known; if a guess did not work out, nothing does.
    fn end_doubt(&mut self) {
        let lives = &mut self.lives;
        self.doubted.drain(..).for_each(|task| lives.doubt(task));
        if core::mem::take(&mut self.was_cut) {
            lives.keep_what_is_sure();
        }
        if core::mem::take(&mut self.was_misled) {
            lives.forget();
        }
    }

    /// No event that must have happened can have happened.
    fn stuck(&mut self) {
        let heads = self.merge.heads();
        let told = heads
            .iter()
            .map(|seen| format!("{seen:?} ({})", self.lives.place(seen.task)));
        let told = told.collect::<Vec<_>>().join("; ");
        self.misled(format!(
            "life cycle: nothing led to any of the next events: {told}"
        ));
    }

    fn follow(&mut self, seen: &Seen) {
        if let Verdict::Breaks(why) = self.lives.verdict(seen) {
            self.misled(format!("life cycle: {seen:?}: {why}"));
            return self.lives.miss(seen.task);
        }
        let is_guess = self.merge.is_in_doubt();
        self.tally.guessed += u64::from(is_guess);
        match queue::check(&self.lives, &self.books, seen) {
            queue::Order::Open => {}
            _ if is_guess => {}
            queue::Order::Right => self.tally.orders += 1,
            queue::Order::Wrong(why) => self.object(format!("order: {seen:?}: {why}")),
        }
        if let Some(why) = self.books.check(seen) {
            self.object(why);
        }
        self.lives.apply(seen);
        self.tally.events += 1;
        if seen.what == What::Exit {
            self.tally.ended += 1;
            self.books.close(seen.task);
        }
    }

    fn object(&mut self, objection: String) {
        self.tally.violations += 1;
        if self.objections.len() < OBJECTIONS_MAX {
            self.objections.push(objection);
        }
    }

    /// What is known of places does not agree with the record: one of them is wrong.
    fn misled(&mut self, objection: String) {
        if self.merge.is_in_doubt() {
            self.was_misled = true;
        } else {
            self.object(objection);
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.tally.restarts += 1;
        self.lives.forget();
    }
}

/// A state at rest, judged.
pub struct Rest<'a> {
    /// What is wrong with it.
    pub objections: Vec<String>,
    /// What each CPU should publish.
    pub levels: Vec<check::Levels>,
    /// The state.
    pub truth: Truth<'a>,
}
