//! Time in the choice of who runs next: one of the checker's schedulers, asked about those who are awake.
//!
//! To the checker a thread that sleeps until a deadline can run at any time. Left to it, time would run as
//! fast as threads are drawn, and every patient wait would end before what it waits for. Here such a thread
//! is left out until its deadline has passed, or until nobody else can run: then the earliest deadline comes.
//! Once in a while it comes although others could run.
//!
//! What was chosen is all there is to a schedule: a sleeper that is chosen has reached its deadline. So a
//! schedule is replayed without this file.

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

use crate::machine::{self, Machine, Settings};

/// How long a step of a thread takes: a sleeper's deadline comes also while others compute.
const STEP_NS: u64 = 20;

/// How often something improbable happens: once in so many choices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rarely(pub(crate) u64);

pub(crate) struct Timed<S> {
    inner: S,
    settings: Settings,
    /// How rarely time jumps although somebody could run.
    jumps: Option<Rarely>,
    /// How rarely a futex wakes somebody for no reason.
    spurious: Rarely,
    random: u64,
}

impl<S> Timed<S> {
    pub(crate) fn new(inner: S, settings: Settings, jumps: Option<Rarely>) -> Timed<S> {
        Timed {
            inner,
            settings,
            jumps,
            spurious: Rarely(400),
            random: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// Marsaglia's xorshift, which suffices to be improbable.
    fn happens(&mut self, Rarely(one_in): Rarely) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.is_multiple_of(one_in)
    }
}

/// The earliest deadline of those that can be chosen.
fn earliest(machine: &Machine, runnable: &[&Task]) -> Option<TaskId> {
    let can_run = |task: &TaskId| runnable.iter().any(|it| it.id() == *task);
    let sleeping = machine.deadlines.iter().filter(|(task, _)| can_run(task));
    let next = sleeping.min_by_key(|(task, at_ns)| (*at_ns, usize::from(*task)));
    next.map(|(task, _)| *task)
}

fn is_awake(machine: &Machine, task: &Task) -> bool {
    let id = task.id();
    let deadline = machine.deadlines.iter().find(|(it, _)| *it == id);
    deadline.is_none_or(|(_, at_ns)| *at_ns <= machine.now_ns)
}

impl<S: Scheduler> Scheduler for Timed<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        machine::reset(self.settings.clone());
        self.inner.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        machine::with(|machine| machine.now_ns += STEP_NS);
        let wakes_anybody = self.happens(self.spurious);
        let jumps = self.jumps.is_some_and(|rarely| self.happens(rarely));
        let is_parked = |task: &Task| task.can_spuriously_wakeup();
        let chosen = machine::with(|machine| {
            let awake =
                |task: &&&Task| is_awake(machine, task) && (wakes_anybody || !is_parked(task));
            let awake: Vec<&Task> = runnable.iter().filter(awake).copied().collect();
            match earliest(machine, runnable) {
                Some(task) if jumps || awake.is_empty() => Err(task),
                _ => Ok(awake),
            }
        });
        // A thread that parks is not one that spins.
        let spins = |task: &&Task| Some(task.id()) == current && !is_parked(task);
        let is_yielding = is_yielding && runnable.iter().any(spins);
        match chosen {
            Err(task) => Some(task),
            Ok(awake) => self.inner.next_task(&awake, current, is_yielding),
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}

/// A schedule that is replayed on a new machine.
pub(crate) struct Replayed<S> {
    inner: S,
    settings: Settings,
}

impl<S> Replayed<S> {
    pub(crate) fn new(inner: S, settings: Settings) -> Replayed<S> {
        Replayed { inner, settings }
    }
}

impl<S: Scheduler> Scheduler for Replayed<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        machine::reset(self.settings.clone());
        self.inner.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        machine::with(|machine| machine.now_ns += STEP_NS);
        self.inner.next_task(runnable, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}
