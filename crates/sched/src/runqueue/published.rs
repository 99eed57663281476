//! What other CPUs may know of a runqueue: its level, and its best task that could run elsewhere.
//!
//! Both are published under the lock and read without it. Who reads them decides from advice; who wrote them
//! owes a pull whenever the level fell.

use crate::{Change, Entity, Level, Node, Prio, RootDomain, Runqueue};

use super::{queued_prio, rank};

impl<T> Runqueue<T> {
    /// Publishes the level and the best candidate of this CPU, under its lock.
    ///
    /// Whoever lowers a CPU owes a pull, but not everybody who publishes can pull: another CPU that took a
    /// task from here, or a waker in the middle of a task, cannot. So the debt stays with the runqueue, and
    /// every publication says [`Change::Lowered`] until [`Runqueue::pull_begins`].
    pub fn publish(&mut self, domain: &RootDomain) -> Change {
        let candidate = self.candidate();
        if domain.overload.level(self.cpu) != candidate {
            domain.overload.set(self.cpu, candidate);
        }
        let top = self.top();
        if domain.cpupri.level(self.cpu) != top && domain.cpupri.set(self.cpu, top) > top {
            self.owes_pull = true;
        }
        if self.owes_pull {
            Change::Lowered
        } else {
            Change::NotLowered
        }
    }

    /// The CPU is about to look for work to pull, at the level that it has published.
    ///
    /// Called under the lock, before the first [`crate::pull::plan`]: what is published from now on is a
    /// new debt.
    pub fn pull_begins(&mut self) {
        self.owes_pull = false;
    }

    /// Whether the CPU was lowered and has not looked for work to pull since.
    pub fn owes_pull(&self) -> bool {
        self.owes_pull
    }

    /// The most urgent queued task that another CPU could help: one that may move, or one that is stuck
    /// here under a current task that could leave.
    pub fn candidate(&self) -> Option<Level> {
        if self.all_are_free() {
            // The short way to the same answer: nothing is stuck, and the first in line is the best.
            let top = Level::of(self.free.top()?);
            let is_upcoming = self.current.is_none() || top > self.running();
            if !is_upcoming || self.free.len() == 1 {
                return (!is_upcoming).then_some(top);
            }
        }
        // Without a current task the CPU is about to pick, and nothing is stuck.
        let current = self
            .current
            .as_ref()
            .filter(|task| task.entity().affinity().count() > 1);
        let stuck = current.and_then(|_| self.stuck()).map(queued_prio);
        if !self.has_pushable() {
            return stuck.map(Level::of);
        }
        let pullable = self
            .pullable()
            .next()
            .map(|task| queued_prio(task.entity()));
        pullable.max(stuck).map(Level::of)
    }

    /// Whether any queued task may move.
    pub fn has_pushable(&self) -> bool {
        self.free.top().is_some()
    }

    /// The queued tasks that others may take, most urgent first: those that may move, without the one that
    /// this CPU is about to run itself.
    ///
    /// A task is on its way to running from its arrival until the CPU picks it. A puller that takes it in
    /// between undoes what a pusher has just done.
    pub fn pullable(&self) -> impl Iterator<Item = &Node<T>> {
        let best = self.free.first().map(rank);
        let others = self
            .held
            .first()
            .map(rank)
            .max(self.bound.first().map(rank));
        let is_upcoming = best.is_some_and(|best| {
            let level = Level::of(Prio::from_raw(best.0));
            Some(best) > others && (self.current.is_none() || level > self.running())
        });
        self.pushable().skip(usize::from(is_upcoming))
    }

    /// The queued tasks that may move, most urgent first.
    pub fn pushable(&self) -> impl Iterator<Item = &Node<T>> {
        self.free.iter()
    }

    /// The most urgent queued task that may not leave this CPU.
    pub fn stuck(&self) -> Option<&Entity> {
        self.held
            .first()
            .into_iter()
            .chain(self.bound.first())
            .max_by_key(|entity| rank(entity))
    }
}
