//! The smallest honest machine: N virtual CPUs over one root domain, and an adversary.
//!
//! A real machine shows a race once in a million runs, and not the same way twice. Here every CPU's
//! program is cut into micro-steps (`cpu.rs`), the deliveries of wakers outside are cut as well
//! (`errand.rs`), and the oracle decides who takes the next step. Everything in between two micro-steps of
//! one CPU may be the work of all others. The decisions are those of `corelane-sched`, called in the same
//! order as the runtime calls them; only the locks are missing, because a micro-step that would hold one
//! is not interrupted.
//!
//! A machine stops at its first violation: what follows would be about a state that must not exist.
//!
//! Cost: a micro-step is constant apart from the decision it takes; a check at quiescence is linear in
//! CPUs and live tasks.

use corelane_sched::{CpuId, RootDomain};

use crate::check;
use crate::cpu::{Cpu, Phase, Task};
use crate::errand::Errand;
use crate::index_set::IndexSet;
use crate::ledger::{Ledger, Spot, TaskId};
use crate::recording::Recording;
use crate::trace::Trace;
use crate::{Oracle, Sabotage};

/// How many deliveries from outside may be under way at once.
pub(crate) const ERRANDS_MAX: usize = 64;

/// A number of micro-steps after which a machine that is still busy counts as livelocked. It grows with
/// the CPUs because one event may displace one task on each of them.
const STEPS_MAX_PER_CPU: u64 = 400;
const STEPS_MAX_BASE: u64 = 40_000;

/// What a machine has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Runnable tasks that left a CPU for another.
    pub migrations: u64,
    /// Of these: queued tasks given away by the CPU they were queued on.
    pub pushes: u64,
    /// Of these: queued tasks taken over by another CPU.
    pub pulls: u64,
    /// Of these: current tasks that made room for one that could not move.
    pub pushed_away: u64,
    /// Exchanges of equals without a pass.
    pub turns: u64,
    /// Requests to reschedule that reached another CPU whose flag was down.
    pub requests: u64,
    /// Micro-steps.
    pub steps: u64,
}

/// Virtual CPUs, the tasks on them, and the oracle that lets one after the other step.
pub struct Machine {
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) domain: RootDomain,
    pub(crate) ledger: Ledger,
    pub(crate) errands: Vec<Option<Errand>>,
    pub(crate) errands_free: Vec<usize>,
    /// CPUs, then errands, that can take a step.
    pub(crate) ready: IndexSet,
    /// CPUs that are in a task.
    pub(crate) executing: IndexSet,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    pub(crate) sabotage: Sabotage,
    pub(crate) recording: Option<Recording>,
    violations: u64,
    first_violation: Option<String>,
}

impl Machine {
    /// A machine of `cpus` idle CPUs that are all equally far from each other.
    ///
    /// # Panics
    /// If `cpus` is 0 or above [`CpuId::CPUS_MAX`].
    pub fn new(cpus: usize, seed: u64) -> Machine {
        Machine::with_sabotage(cpus, seed, Sabotage::None)
    }

    /// A machine that commits a fault.
    ///
    /// # Panics
    /// As [`Machine::new`].
    pub fn with_sabotage(cpus: usize, seed: u64, sabotage: Sabotage) -> Machine {
        assert!(
            cpus > 0 && cpus <= CpuId::CPUS_MAX,
            "a machine has 1..=CPUS_MAX CPUs"
        );
        let mut machine = Machine {
            cpus: (0..cpus).map(Cpu::new).collect(),
            domain: RootDomain::flat(cpus),
            ledger: Ledger::default(),
            errands: (0..ERRANDS_MAX).map(|_| None).collect(),
            errands_free: (0..ERRANDS_MAX).rev().collect(),
            ready: IndexSet::new(cpus + ERRANDS_MAX),
            executing: IndexSet::new(cpus),
            oracle: Oracle::new(seed),
            trace: Trace::default(),
            tally: Tally::default(),
            sabotage,
            recording: None,
            violations: 0,
            first_violation: None,
        };
        for cpu in 0..cpus {
            let _ = machine.cpus[cpu].rq.publish(&machine.domain);
            machine.refresh(cpu);
        }
        machine.settle();
        machine
    }

    /// The number of CPUs.
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// What was done so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How many violations were found; a machine stops at the first step or check that finds any.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// The first violation, in words.
    pub fn first_violation(&self) -> Option<&str> {
        self.first_violation.as_deref()
    }

    /// A hash over every step so far.
    pub fn trace_hash(&self) -> String {
        self.trace.hash()
    }

    /// Lets somebody who can step take one micro-step; says whether anybody could.
    pub fn step(&mut self) -> bool {
        if self.violations > 0 {
            return false;
        }
        let Some(who) = self.ready.choose(&mut self.oracle) else {
            return false;
        };
        self.step_of(who);
        true
    }

    /// Lets CPU `cpu` take one micro-step if it can.
    pub fn step_cpu(&mut self, cpu: usize) -> bool {
        let can_step = self.violations == 0 && self.cpus[cpu].can_step();
        if can_step {
            self.step_of(cpu);
        }
        can_step
    }

    /// Lets somebody outside the scheduler who has something to deliver take one micro-step.
    pub(crate) fn step_errand(&mut self) -> bool {
        let Some(index) = self.errands.iter().position(Option::is_some) else {
            return false;
        };
        self.step_of(self.cpus.len() + index);
        true
    }

    fn step_of(&mut self, who: usize) {
        self.tally.steps += 1;
        match who.checked_sub(self.cpus.len()) {
            None => self.advance(who),
            Some(errand) => self.run_errand(errand),
        }
    }

    /// Steps until nobody can, then checks every invariant. Too many steps are a violation, too.
    pub fn settle(&mut self) {
        let limit = STEPS_MAX_BASE + STEPS_MAX_PER_CPU * self.cpus.len() as u64;
        let end = self.tally.steps + limit;
        while self.step() {
            if self.tally.steps >= end {
                return self.object(format!("livelock: {limit} steps did not reach quiescence"));
            }
        }
        if self.violations == 0 {
            self.check();
        }
    }

    fn check(&mut self) {
        for objection in check::all(self) {
            self.object(objection);
        }
    }

    /// Records a violation.
    pub(crate) fn object(&mut self, objection: String) {
        self.violations += 1;
        self.first_violation.get_or_insert(objection);
    }

    /// Passes a task from one place to another.
    pub(crate) fn hand_over(&mut self, task: TaskId, from: Spot, to: Spot) {
        if let Some(objection) = self.ledger.hand_over(task, from, to) {
            self.object(objection);
        }
    }

    /// Writes a micro-step into the trace.
    pub(crate) fn note(&mut self, who: usize, what: u8, detail: u64) {
        self.trace.note(who, what, detail);
    }

    /// Brings along who can step after `cpu` was touched.
    pub(crate) fn refresh(&mut self, cpu: usize) {
        self.ready.set(cpu, self.cpus[cpu].can_step());
        self.executing.set(cpu, self.cpus[cpu].is_executing());
    }

    /// The task that `cpu` is in, if it is outside the scheduler.
    pub(crate) fn executed_by(&self, cpu: usize) -> Option<Task> {
        let core = &self.cpus[cpu];
        core.rq.current().filter(|_| core.is_executing()).cloned()
    }

    /// Sends `cpu` into its scheduler.
    pub(crate) fn enter(&mut self, cpu: usize, phase: Phase) {
        self.cpus[cpu].phase = phase;
        self.refresh(cpu);
    }
}
