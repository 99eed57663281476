//! The state of the modelled machine: what a kernel would keep.
//!
//! The checker runs all threads of an execution on one thread of the host and switches between them only
//! inside its own operations. So what is kept here, in a thread-local of the host, changes in single steps
//! that no modelled thread can come between; it is made anew for each execution.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Weak;

use shuttle::scheduler::TaskId;
use shuttle::thread::Thread;

use crate::cpuset::KernelCpuSet;
use crate::fiber::Lender;
use crate::sabotage::Sabotage;
use corelane_os::fiber::Backend;
use corelane_os::thread::{Policy, Tid};

/// What is fixed for all executions of a model.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) cpus: u32,
    /// How many fibers the host grants.
    pub(crate) fibers_max: usize,
    pub(crate) backend: Backend,
    pub(crate) sabotage: Option<Sabotage>,
}

/// A thread that sleeps on a futex word.
pub(crate) struct Sleeper {
    pub(crate) word: usize,
    pub(crate) task: TaskId,
    pub(crate) thread: Thread,
}

pub(crate) struct Machine {
    pub(crate) settings: Settings,
    pub(crate) now_ns: u64,
    /// Futex sleepers, the longest sleeping first.
    pub(crate) sleepers: Vec<Sleeper>,
    /// Threads that sleep until a deadline, on a futex or not.
    pub(crate) deadlines: Vec<(TaskId, u64)>,
    pub(crate) fibers: usize,
    /// Every fiber's thread that may still be there.
    pub(crate) lenders: Vec<Weak<Lender>>,
    /// The carriers of the bodies that are being carried, by the ids of the bodies' own threads.
    pub(crate) carriers: HashMap<Tid, Tid>,
    /// How many futex wakes were asked for.
    pub(crate) wakes: u64,
    pub(crate) policies: HashMap<TaskId, Policy>,
    pub(crate) affinities: HashMap<TaskId, KernelCpuSet>,
    /// How many unwinds each thread is in.
    pub(crate) unwinds: HashMap<TaskId, u32>,
}

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

impl Machine {
    fn new(settings: Settings) -> Machine {
        Machine {
            settings,
            now_ns: 1_000_000,
            sleepers: Vec::new(),
            deadlines: Vec::new(),
            fibers: 0,
            lenders: Vec::new(),
            carriers: HashMap::new(),
            wakes: 0,
            policies: HashMap::new(),
            affinities: HashMap::new(),
            unwinds: HashMap::new(),
        }
    }

    /// Takes a thread off the queue of its word; says whether it was there.
    pub(crate) fn leave_queue(&mut self, task: TaskId) -> bool {
        let before = self.sleepers.len();
        self.sleepers.retain(|sleeper| sleeper.task != task);
        self.sleepers.len() < before
    }

    /// Takes the longest sleeping thread off the queue of a word.
    pub(crate) fn first_sleeper(&mut self, word: usize) -> Option<Thread> {
        let first = self.sleepers.iter().position(|it| it.word == word)?;
        let sleeper = self.sleepers.remove(first);
        self.forget_deadline(sleeper.task);
        Some(sleeper.thread)
    }

    /// The thread runs, whatever it was waiting for; returns the deadline that it slept for.
    pub(crate) fn forget_deadline(&mut self, task: TaskId) -> Option<u64> {
        let index = self.deadlines.iter().position(|(it, _)| *it == task)?;
        Some(self.deadlines.swap_remove(index).1)
    }

    /// Moves the clock on to `at_ns`, never back.
    pub(crate) fn advance_to(&mut self, at_ns: u64) {
        self.now_ns = self.now_ns.max(at_ns);
    }
}

/// Starts an execution on a machine that has just been switched on.
pub(crate) fn reset(settings: Settings) {
    MACHINE.with_borrow_mut(|machine| *machine = Some(Machine::new(settings)));
}

/// One step of the machine. `f` does not call the checker.
///
/// # Panics
/// Outside of a model.
pub(crate) fn with<R>(f: impl FnOnce(&mut Machine) -> R) -> R {
    MACHINE.with_borrow_mut(|machine| f(machine.as_mut().expect("called inside a model")))
}

/// Lets the checker choose who runs next.
pub(crate) fn switch() {
    shuttle::thread::sleep(core::time::Duration::ZERO);
}

/// Sleeps until the deadline has passed or another thread has taken it back.
pub(crate) fn sleep_until(deadline_ns: u64) {
    let me = shuttle::current::me();
    with(|machine| machine.deadlines.push((me, deadline_ns)));
    switch(); // the scheduler leaves us out until then
    with(|machine| {
        if let Some(deadline_ns) = machine.forget_deadline(me) {
            machine.advance_to(deadline_ns);
        }
    });
}
