//! What wakers and changers outside the scheduler do, cut into micro-steps.
//!
//! A thread that wakes a task may be stopped between any two of its steps: after it won the wake, after it
//! chose a CPU, after it left the letter, before it kicks. An errand is such a thread.

use corelane_sched::{Level, Place, Wake, select_cpu};

use crate::cpu::{KickStage, Task};
use crate::delivery::Left;
use crate::ledger::Spot;
use crate::machine::Machine;

/// The next step of an errand.
pub(crate) enum Errand {
    /// Wake the task; then it goes where it should, or to the CPU that was named.
    Wake(Task, Option<usize>),
    /// Choose a CPU for a task in hand.
    Select(Task),
    /// Leave the task in hand for a CPU.
    Leave(Task, usize),
    /// Raise a CPU that got a letter.
    Raise(usize, Level),
    /// Find out where a changed task is.
    Locate(Task),
    /// Leave word of the change there.
    Post(Task, usize),
    /// Kick a CPU that got a letter.
    Kick(usize, KickStage),
}

impl Machine {
    /// Sends an errand; says whether there was room for it.
    pub(crate) fn send_out(&mut self, errand: Errand) -> bool {
        let Some(index) = self.errands_free.pop() else {
            return false;
        };
        self.errands[index] = Some(errand);
        self.ready.set(self.cpus.len() + index, true);
        true
    }

    /// Takes one step of an errand.
    pub(crate) fn run_errand(&mut self, index: usize) {
        let who = self.cpus.len() + index;
        let errand = self.errands[index].take().expect("a ready errand exists");
        let (what, detail, next) = match errand {
            Errand::Wake(task, to) => (20, u64::from(task.body.0), self.wake_step(task, to)),
            Errand::Select(task) => {
                let to = select_cpu(&self.domain, task.entity()).index();
                (21, to as u64, Some(Errand::Leave(task, to)))
            }
            Errand::Leave(task, to) => (22, to as u64, self.leave_step(task, to)),
            Errand::Raise(to, level) => {
                self.raise(to, level);
                (23, to as u64, Some(Errand::Kick(to, KickStage::Flag)))
            }
            Errand::Locate(task) => {
                let home = task.entity().home().index();
                (24, home as u64, Some(Errand::Post(task, home)))
            }
            Errand::Post(task, to) => (25, to as u64, self.post_step(&task, to)),
            Errand::Kick(to, stage) => {
                let next = self.kick(None, to, stage);
                (26, to as u64, next.map(|stage| Errand::Kick(to, stage)))
            }
        };
        self.note(who, what, detail);
        if next.is_none() {
            self.ready.set(who, false);
            self.errands_free.push(index);
        }
        self.errands[index] = next;
    }

    fn wake_step(&mut self, task: Task, to: Option<usize>) -> Option<Errand> {
        let answer = task.entity().state().wake();
        let record = self.ledger.get_mut(task.body);
        if record.spot == Spot::Gone {
            return None;
        }
        record.woken |= !record.waits && !record.leaves;
        record.waits = false;
        if answer != Wake::Enqueue {
            return None;
        }
        self.hand_over(task.body, Spot::Waiting, Spot::Hand);
        Some(match to {
            Some(to) => Errand::Leave(task, to),
            None => Errand::Select(task),
        })
    }

    fn leave_step(&mut self, task: Task, to: usize) -> Option<Errand> {
        let level = task.entity().level();
        match self.leave(task, Place::Tail, to) {
            Left::InSlot => None,
            Left::InInbox => Some(Errand::Raise(to, level)),
        }
    }

    fn post_step(&mut self, task: &Task, to: usize) -> Option<Errand> {
        let left = self.cpus[to].inbox.leave_change(task);
        self.refresh(to);
        left.then_some(Errand::Kick(to, KickStage::Flag))
    }
}
