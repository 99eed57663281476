//! The state of a set of CPUs at quiescence: who runs where, who is queued where, and what each task may.
//!
//! The checkers do not ask where this comes from. The simulator puts it together from its ledger, the
//! soak from the event ring of a real runtime and its own books ([`crate::stream`]); neither asks the
//! scheduler.

use corelane_sched::{CpuId, CpuMask};

use crate::ledger::Spot;
use crate::machine::Machine;

/// The priority of an idle CPU, below every task's.
pub(super) const IDLE: i16 = -1;

/// What is true of a runnable task.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Its number.
    pub task: u64,
    /// Its priority, 1..=99.
    pub prio: u8,
    /// Where it may run, apart from guards.
    pub allowed: &'a CpuMask,
    /// Whether it holds a migrate-disable guard.
    pub held: bool,
}

impl Standing<'_> {
    pub(super) fn is_bound(&self) -> bool {
        self.allowed.count() == 1
    }

    pub(super) fn may_leave(&self) -> bool {
        !self.held && !self.is_bound()
    }

    pub(super) fn is_allowed(&self, cpu: usize) -> bool {
        self.allowed.contains(CpuId::new(cpu))
    }
}

/// Who runs and who is queued where.
pub struct Truth<'a> {
    running: Vec<Option<Standing<'a>>>,
    /// The priority that each CPU runs, or [`IDLE`].
    pub(super) running_prio: Vec<i16>,
    /// Every queued task with its CPU.
    pub(super) queued: Vec<(usize, Standing<'a>)>,
}

impl<'a> Truth<'a> {
    /// `cpus` idle CPUs.
    pub fn new(cpus: usize) -> Truth<'a> {
        Truth {
            running: vec![None; cpus],
            running_prio: vec![IDLE; cpus],
            queued: Vec::new(),
        }
    }

    /// CPU `cpu` runs `task`.
    ///
    /// # Panics
    /// If it runs one already.
    pub fn run(&mut self, cpu: usize, task: Standing<'a>) {
        assert!(self.running[cpu].is_none(), "a CPU runs one task");
        self.running_prio[cpu] = i16::from(task.prio);
        self.running[cpu] = Some(task);
    }

    /// `task` is queued on `cpu`.
    pub fn queue(&mut self, cpu: usize, task: Standing<'a>) {
        self.queued.push((cpu, task));
    }

    /// How many tasks are runnable.
    pub fn runnable(&self) -> usize {
        self.running.iter().flatten().count() + self.queued.len()
    }

    /// The number and the priority of the task that `cpu` runs.
    pub fn running(&self, cpu: usize) -> Option<(u64, u8)> {
        self.running[cpu].map(|task| (task.task, task.prio))
    }

    /// How many tasks are queued on `cpu`.
    pub fn queued(&self, cpu: usize) -> usize {
        self.queued.iter().filter(|(own, _)| *own == cpu).count()
    }

    /// Reads the ledger of `machine`.
    pub(crate) fn of(machine: &'a Machine) -> Truth<'a> {
        let mut truth = Truth::new(machine.cpus());
        for task in machine.ledger.live() {
            let record = machine.ledger.get(*task);
            let standing = Standing {
                task: u64::from(task.0),
                prio: record.prio,
                allowed: &record.allowed,
                held: record.held > 0,
            };
            match record.spot {
                Spot::Current(cpu) => truth.run(cpu, standing),
                Spot::Queued(cpu) => truth.queue(cpu, standing),
                _ => {}
            }
        }
        truth
    }

    pub(super) fn cpus(&self) -> usize {
        self.running.len()
    }

    /// The task that `cpu` runs.
    pub(super) fn running_on(&self, cpu: usize) -> Option<&Standing<'a>> {
        self.running[cpu].as_ref()
    }

    /// Every runnable task with its CPU.
    pub(super) fn everywhere(&self) -> impl Iterator<Item = (usize, &Standing<'a>)> {
        let running = self.running.iter().enumerate();
        let running = running.filter_map(|(cpu, task)| Some((cpu, task.as_ref()?)));
        running.chain(self.queued.iter().map(|(cpu, task)| (*cpu, task)))
    }

    /// A CPU where `task` may run and that runs less than `prio`.
    pub(super) fn lower_for(&self, task: &Standing<'_>, prio: u8) -> Option<usize> {
        let prio = i16::from(prio);
        let lowest = self.running_prio.iter().copied().min()?;
        if lowest >= prio {
            return None;
        }
        let mut allowed = task.allowed.iter().map(|cpu| cpu.index());
        allowed.find(|cpu| self.running_prio[*cpu] < prio)
    }
}
