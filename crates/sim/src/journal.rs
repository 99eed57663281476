//! The worked example of the article that the algorithm comes from.
//!
//! *Real-Time Linux Kernel Scheduler* (Linux Journal) follows seven tasks on four CPUs: T3 wakes and
//! preempts T2, T2 is pushed to the lowest CPU, T7 blocks, and its CPU pulls. This replays the story on a
//! [`Machine`]; CPUs step one by one, so that each figure of the article is a step of the report.
//!
//! One thing differs. The article's pull scans runqueue after runqueue and drags T1 over before it finds T4,
//! two migrations of which the first is useless. Here the best candidate is known before a lock is taken,
//! so T4 alone moves and T1 stays where it is. The running set is the same.

use serde::Serialize;

use crate::ledger::TaskId;
use crate::machine::Machine;

/// The replay, step by step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalReport {
    /// The story.
    pub steps: Vec<JournalStep>,
    /// How it ends.
    #[serde(rename = "final")]
    pub last: JournalEnd,
    /// Whether the four highest priorities run and every invariant holds.
    pub ok: bool,
}

/// The machine after one event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalStep {
    /// The number of the step, from 0.
    pub step: usize,
    /// What happened.
    pub event: String,
    /// Each CPU.
    pub cpus: Vec<JournalCpu>,
    /// The set bits of the article's `pri_active`, ascending: priorities plus two, 0 for an idle CPU.
    pub pri_active: Vec<u8>,
    /// The CPUs that have a task to give, ascending.
    pub overloaded: Vec<usize>,
}

/// One CPU after one event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalCpu {
    /// Its current task; `None` when idle.
    pub running: Option<JournalTask>,
    /// Those that wait for it, most urgent first.
    pub queued: Vec<JournalTask>,
}

/// A task of the story.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalTask {
    /// Its name, `T1` to `T7`.
    pub task: String,
    /// Its priority.
    pub priority: u8,
}

/// Who runs at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalEnd {
    /// By CPU.
    pub running: Vec<JournalRunning>,
}

/// A CPU that runs a task at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalRunning {
    /// The CPU.
    pub cpu: usize,
    /// The task's name.
    pub task: String,
    /// Its priority.
    pub priority: u8,
}

const CPUS: usize = 4;
/// The priorities of T1 to T7.
const PRIORITIES: [u8; 7] = [85, 90, 97, 88, 94, 70, 92];
/// Where T1 to T7 were last.
const HOMES: [usize; 7] = [0, 0, 0, 1, 2, 3, 3];
/// The priorities that must run at the end.
const HIGHEST: [u8; CPUS] = [97, 94, 90, 88];
/// More micro-steps than any event of the story takes.
const STEPS_MAX: usize = 200;

/// Replays the example.
pub fn replay() -> JournalReport {
    let mut story = Story::begin();
    story.record("before: the four highest of six tasks run");
    story.t3_wakes();
    story.t2_is_pushed();
    story.t7_blocks();
    story.end()
}

struct Story {
    machine: Machine,
    tasks: [TaskId; 7],
    steps: Vec<JournalStep>,
}

impl Story {
    /// Everybody but T3 is where the article's first figure has it.
    fn begin() -> Story {
        let mut machine = Machine::new(CPUS, 0);
        let tasks = core::array::from_fn(|i| machine.task(PRIORITIES[i], HOMES[i]));
        for i in [1, 3, 4, 6, 0, 5] {
            let _ = machine.wake_on(tasks[i], HOMES[i]);
            machine.settle();
        }
        Story {
            machine,
            tasks,
            steps: Vec::new(),
        }
    }

    fn t(&self, number: usize) -> TaskId {
        self.tasks[number - 1]
    }

    fn t3_wakes(&mut self) {
        let (t3, cpu) = (self.t(3), 0);
        let _ = self.machine.wake(t3);
        while self.machine.step_errand() {}
        self.step_until(cpu, |machine| machine.running_on(t3) == Some(cpu));
        self.record("T3 wakes on CPU 0 and preempts T2");
    }

    fn t2_is_pushed(&mut self) {
        let (t2, from) = (self.t(2), 0);
        self.step_until(from, |machine| machine.queued_on(t2).is_none());
        while self.machine.step_cpu(from) {}
        self.step_until(1, |machine| machine.running_on(t2) == Some(1));
        self.record("CPU 0 pushes T2 to CPU 1, the lowest, where it preempts T4");
        self.machine.settle();
        self.record("CPU 0 would push T1, but no CPU runs less");
    }

    fn t7_blocks(&mut self) {
        let (t4, t7, cpu) = (self.t(4), self.t(7), 3);
        let _ = self.machine.block(t7);
        self.step_until(cpu, |machine| machine.running()[cpu].is_none());
        self.record("T7 blocks; CPU 3 publishes that it fell to T6 and looks for better");
        self.step_until(cpu, |machine| machine.queued_on(t4).is_none());
        self.step_until(cpu, |machine| machine.running_on(t4) == Some(cpu));
        self.record("CPU 3 pulls T4 from CPU 1 at once: one migration, where the article has two");
    }

    fn end(mut self) -> JournalReport {
        self.machine.settle();
        self.record("at rest: the four highest of six tasks run");
        let running: Vec<JournalRunning> = (self.machine.running().into_iter().enumerate())
            .filter_map(|(cpu, task)| {
                let JournalTask { task, priority } = self.told(task?);
                Some(JournalRunning {
                    cpu,
                    task,
                    priority,
                })
            })
            .collect();
        let ok = self.machine.violations() == 0 && self.machine.running_priorities() == HIGHEST;
        JournalReport {
            steps: self.steps,
            last: JournalEnd { running },
            ok,
        }
    }

    /// Lets `cpu` step until something is so; the number of steps is bounded.
    fn step_until(&mut self, cpu: usize, is_so: impl Fn(&Machine) -> bool) {
        let mut steps_left = STEPS_MAX;
        while !is_so(&self.machine) && steps_left > 0 && self.machine.step_cpu(cpu) {
            steps_left -= 1;
        }
    }

    fn record(&mut self, event: &str) {
        let running = self.machine.running();
        let cpus = (0..CPUS)
            .map(|cpu| JournalCpu {
                running: running[cpu].map(|task| self.told(task)),
                queued: self
                    .machine
                    .queued(cpu)
                    .into_iter()
                    .map(|task| self.told(task))
                    .collect(),
            })
            .collect();
        let mut pri_active = self.machine.published_levels();
        pri_active.sort_unstable();
        pri_active.dedup();
        let overloaded = self.machine.overloaded();
        let (step, event) = (self.steps.len(), event.to_owned());
        self.steps.push(JournalStep {
            step,
            event,
            cpus,
            pri_active,
            overloaded,
        });
    }

    fn told(&self, task: TaskId) -> JournalTask {
        JournalTask {
            task: format!("T{}", task.0 + 1),
            priority: self.machine.priority(task),
        }
    }
}
