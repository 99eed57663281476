//! What is true of every task, kept apart from what the scheduler believes.
//!
//! A checker that asks the scheduler where a task is repeats the scheduler's mistake. So the machine
//! writes down, from the events it injects and the hands it sees tasks pass through, what each task is:
//! its priority, where it may run, whether it waits, and the one place it is in. Each hand-over names the
//! place it comes from; a task that is not there is a violation at that very step.

use corelane_sched::{CpuMask, TaskRef};

/// A task of a machine, by the order of its creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub u32);

impl TaskId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The one place in which a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spot {
    /// It waits for a wake.
    Waiting,
    /// Somebody is about to queue it.
    Hand,
    /// In the inbox of that CPU.
    Inbox(usize),
    /// In the idle slot of that CPU.
    Slot(usize),
    /// In the runqueue of that CPU.
    Queued(usize),
    /// The current task of that CPU.
    Current(usize),
    /// It has ended.
    Gone,
}

/// The truth about one task.
pub(crate) struct Record {
    pub(crate) node: TaskRef<TaskId>,
    pub(crate) prio: u8,
    pub(crate) allowed: CpuMask,
    pub(crate) allowed_count: usize,
    /// Nested migrate-disable guards.
    pub(crate) held: u32,
    /// Where it took the outermost guard that it still holds.
    pub(crate) held_on: Option<usize>,
    /// Where it ran last.
    pub(crate) ran_on: Option<usize>,
    pub(crate) spot: Spot,
    /// It has begun to wait and nobody has woken it since.
    pub(crate) waits: bool,
    /// It waits, and its CPU is still on its stack; wakes in this time count as one.
    pub(crate) leaves: bool,
    /// It was woken while it did not wait; the next wait ends at once.
    pub(crate) woken: bool,
}

/// All tasks of a machine.
#[derive(Default)]
pub(crate) struct Ledger {
    records: Vec<Record>,
    live: Vec<TaskId>,
    live_at: Vec<u32>,
}

impl Ledger {
    /// Adds a live task; its number is that of the next record.
    pub(crate) fn add(&mut self, record: Record) {
        let id = self.next_id();
        self.live_at.push(self.live.len() as u32);
        self.live.push(id);
        self.records.push(record);
    }

    /// The number that the next task gets.
    pub(crate) fn next_id(&self) -> TaskId {
        TaskId(self.records.len() as u32)
    }

    pub(crate) fn get(&self, task: TaskId) -> &Record {
        &self.records[task.index()]
    }

    pub(crate) fn get_mut(&mut self, task: TaskId) -> &mut Record {
        &mut self.records[task.index()]
    }

    /// The tasks that have not ended.
    pub(crate) fn live(&self) -> &[TaskId] {
        &self.live
    }

    /// Passes `task` on. Says what is wrong if it is not at `from`.
    #[must_use]
    pub(crate) fn hand_over(&mut self, task: TaskId, from: Spot, to: Spot) -> Option<String> {
        let record = &mut self.records[task.index()];
        if record.spot != from {
            return Some(format!(
                "conservation: {task:?} goes from {from:?} to {to:?}, but is at {:?}",
                record.spot
            ));
        }
        record.spot = to;
        if to == Spot::Gone {
            self.bury(task);
        }
        None
    }

    fn bury(&mut self, task: TaskId) {
        let at = self.live_at[task.index()] as usize;
        self.live.swap_remove(at);
        if let Some(moved) = self.live.get(at) {
            self.live_at[moved.index()] = at as u32;
        }
    }
}
