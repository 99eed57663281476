//! What an observer sees of a machine.

use crate::ledger::{Spot, TaskId};
use crate::machine::Machine;

impl Machine {
    /// The task that each CPU runs.
    pub fn running(&self) -> Vec<Option<TaskId>> {
        let current = |cpu: &crate::cpu::Cpu| cpu.rq.current().map(|task| task.body);
        self.cpus.iter().map(current).collect()
    }

    /// The priorities of the running tasks, most urgent first.
    pub fn running_priorities(&self) -> Vec<u8> {
        let running = self.running().into_iter().flatten();
        let mut priorities: Vec<u8> = running.map(|task| self.priority(task)).collect();
        priorities.sort_unstable_by(|a, b| b.cmp(a));
        priorities
    }

    /// The tasks queued on `cpu`, most urgent first; equals in the order of their creation.
    pub fn queued(&self, cpu: usize) -> Vec<TaskId> {
        let mut queued: Vec<TaskId> = self.cpus[cpu]
            .rq
            .iter_queued()
            .map(|task| task.body)
            .collect();
        queued.sort_by_key(|task| (core::cmp::Reverse(self.priority(*task)), *task));
        queued
    }

    /// The priority of `task`.
    pub fn priority(&self, task: TaskId) -> u8 {
        self.ledger.get(task).prio
    }

    /// The CPU that runs `task`.
    pub fn running_on(&self, task: TaskId) -> Option<usize> {
        match self.ledger.get(task).spot {
            Spot::Current(cpu) => Some(cpu),
            _ => None,
        }
    }

    /// The CPU on which `task` is queued.
    pub fn queued_on(&self, task: TaskId) -> Option<usize> {
        match self.ledger.get(task).spot {
            Spot::Queued(cpu) => Some(cpu),
            _ => None,
        }
    }

    /// The level that each CPU publishes: the bits of the classic article's `pri_active`.
    pub fn published_levels(&self) -> Vec<u8> {
        let level = |cpu: &crate::cpu::Cpu| self.domain.cpupri.level(cpu.id).get();
        self.cpus.iter().map(level).collect()
    }

    /// The CPUs that publish a candidate.
    pub fn overloaded(&self) -> Vec<usize> {
        let is_overloaded = |cpu: &usize| self.domain.overload.level(self.cpus[*cpu].id).is_some();
        (0..self.cpus.len()).filter(is_overloaded).collect()
    }
}
