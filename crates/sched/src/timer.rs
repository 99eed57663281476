//! Deadlines of one CPU, in order of deadline, then of arming.
//!
//! A binary heap of deadlines must grow, and growing allocates; a wheel is constant but coarse. A
//! red-black tree threaded through the tasks themselves needs no memory of its own: arming, disarming and
//! taking the earliest are logarithmic in the number of armed tasks, always. The tree is that of
//! `intrusive-collections`.
//!
//! A task has one timer link, so it is armed on at most one CPU at a time: the caller's task does not
//! sleep twice at once.

use crate::primitives::atomic::Ordering::Relaxed;

use intrusive_collections::{KeyAdapter, RBTree, RBTreeAtomicLink, intrusive_adapter};

use crate::{Node, TaskRef};

intrusive_adapter!(ByDeadline<T> = TaskRef<T>: Node<T> { timer => RBTreeAtomicLink });

impl<'a, T> KeyAdapter<'a> for ByDeadline<T> {
    type Key = (u64, u64);

    fn get_key(&self, node: &'a Node<T>) -> (u64, u64) {
        // Relaxed: both are written before the node is linked, under the lock that guards the queue.
        (node.deadline_ns.load(Relaxed), node.armed.load(Relaxed))
    }
}

/// The armed tasks of one CPU.
pub struct TimerQueue<T> {
    tree: RBTree<ByDeadline<T>>,
    armed: u64,
}

impl<T> TimerQueue<T> {
    /// Nothing armed.
    pub fn new() -> TimerQueue<T> {
        TimerQueue {
            tree: RBTree::new(ByDeadline::new()),
            armed: 0,
        }
    }

    /// Arms `task` for `deadline_ns`, a time of the caller's clock.
    ///
    /// # Panics
    /// If the task is armed already.
    pub fn arm(&mut self, task: TaskRef<T>, deadline_ns: u64) {
        assert!(!task.timer.is_linked(), "a task is armed once at a time");
        self.armed += 1;
        task.deadline_ns.store(deadline_ns, Relaxed); // Relaxed: see `get_key`.
        task.armed.store(self.armed, Relaxed); // Relaxed: see `get_key`.
        self.tree.insert(task);
    }

    /// Disarms `task` if it is armed here; says whether it was.
    ///
    /// The caller knows that the task is armed on this CPU or not at all.
    pub fn disarm(&mut self, task: &TaskRef<T>) -> bool {
        if !task.timer.is_linked() {
            return false;
        }
        let key = (task.deadline_ns.load(Relaxed), task.armed.load(Relaxed)); // Relaxed: see `get_key`.
        self.tree.find_mut(&key).remove().is_some()
    }

    /// The earliest deadline.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.tree
            .front()
            .get()
            .map(|task| task.deadline_ns.load(Relaxed)) // Relaxed: see `get_key`.
    }

    /// Takes the earliest task if its deadline is not after `now_ns`. Never early.
    pub fn expire(&mut self, now_ns: u64) -> Option<TaskRef<T>> {
        if self.next_deadline_ns()? > now_ns {
            return None;
        }
        self.tree.front_mut().remove()
    }

    /// The number of armed tasks; walks all of them.
    pub fn count(&self) -> usize {
        self.tree.iter().count()
    }
}

impl<T> Default for TimerQueue<T> {
    fn default() -> TimerQueue<T> {
        TimerQueue::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CpuId, CpuMask, Policy, Prio};
    use alloc::vec::Vec;

    fn task(name: u32) -> TaskRef<u32> {
        Node::new(
            Prio::MIN,
            Policy::Fifo,
            &CpuMask::full(1),
            CpuId::new(0),
            name,
        )
    }

    #[test]
    fn tasks_expire_by_deadline_then_by_arming_and_never_early() {
        let mut timers = TimerQueue::new();
        let gone = task(9);
        for (name, deadline) in [(1, 30), (2, 10), (3, 30), (4, 20)] {
            timers.arm(task(name), deadline);
        }
        timers.arm(gone.clone(), 10);
        assert!(timers.disarm(&gone) && !timers.disarm(&gone));
        assert_eq!((timers.next_deadline_ns(), timers.count()), (Some(10), 4));
        assert!(timers.expire(9).is_none());
        let mut order = Vec::new();
        while let Some(task) = timers.expire(30) {
            order.push(task.body);
        }
        assert_eq!(order, [2, 4, 1, 3]);
    }
}
