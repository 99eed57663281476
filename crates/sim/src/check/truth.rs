//! The state of a machine at quiescence, put together from the ledger alone.

use crate::ledger::{Record, Spot, TaskId};
use crate::machine::Machine;

/// The priority of an idle CPU, below every task's.
pub(super) const IDLE: i16 = -1;

/// Who runs and who is queued where.
#[derive(Default)]
pub(crate) struct Truth {
    /// The task that each CPU runs.
    pub(super) running: Vec<Option<TaskId>>,
    /// Its priority, or [`IDLE`].
    pub(super) running_prio: Vec<i16>,
    /// Every queued task with its CPU.
    pub(super) queued: Vec<(usize, TaskId)>,
    /// How many tasks are runnable, wherever they are.
    pub(super) runnable: usize,
}

impl Truth {
    /// Room for `cpus` CPUs.
    pub(crate) fn new(cpus: usize) -> Truth {
        Truth {
            running: vec![None; cpus],
            running_prio: vec![IDLE; cpus],
            queued: Vec::new(),
            runnable: 0,
        }
    }

    /// Reads the ledger.
    pub(crate) fn collect(&mut self, machine: &Machine) {
        self.running.fill(None);
        self.running_prio.fill(IDLE);
        self.queued.clear();
        self.runnable = 0;
        for task in machine.ledger.live() {
            let record = machine.ledger.get(*task);
            self.runnable += usize::from(!record.waits);
            match record.spot {
                Spot::Current(cpu) => {
                    self.running[cpu] = Some(*task);
                    self.running_prio[cpu] = i16::from(record.prio);
                }
                Spot::Queued(cpu) => self.queued.push((cpu, *task)),
                _ => {}
            }
        }
    }

    /// The queued tasks with their CPUs and records.
    pub(super) fn queued<'a>(
        &'a self,
        machine: &'a Machine,
    ) -> impl Iterator<Item = (usize, TaskId, &'a Record)> {
        self.queued
            .iter()
            .map(|(cpu, task)| (*cpu, *task, machine.ledger.get(*task)))
    }

    /// A CPU within the affinity of `record` that runs less than `prio`.
    pub(super) fn lower_for(&self, record: &Record, prio: u8) -> Option<usize> {
        let prio = i16::from(prio);
        let lowest = self.running_prio.iter().copied().min()?;
        if lowest >= prio {
            return None;
        }
        let mut allowed = record.allowed.iter().map(|cpu| cpu.index());
        allowed.find(|cpu| self.running_prio[*cpu] < prio)
    }
}
