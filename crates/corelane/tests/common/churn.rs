//! Tasks that park, wake each other, end and are spawned anew at random, with a book of who is runnable.
//!
//! The book is exact whenever nothing is under way. A task writes *parked* into its entry and then parks
//! once; a waker wins the entry back to *runnable* and then unparks once. So each permit is taken by the
//! park it was meant for, and an entry never says *parked* while its task is preempted.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corelane::{Priority, Runtime, Task, TaskState, task};

use crate::common::{Exclusive, prio};
use crate::kit::{Replay, Rng, occupy_until};

const EMPTY: u32 = 0;
const RUNNABLE: u32 = 1;
const PARKED: u32 = 2;

struct Entry {
    state: AtomicU32,
    prio: AtomicU8,
    task: Mutex<Option<Task>>,
}

/// What may happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Churn {
    /// Each entry keeps its own priority, different from all others.
    FixedPriorities,
    /// Priorities change too, also of tasks that run and that are queued.
    ChangingPriorities,
}

pub struct Book {
    entries: Vec<Entry>,
    churn: Churn,
    /// Random steps that may still be made.
    steps: AtomicI64,
    seed: AtomicU64,
    pub changes: AtomicU64,
    over: AtomicU32,
}

impl Book {
    pub fn new(tasks: usize, churn: Churn) -> Arc<Book> {
        let entry = |index: usize| Entry {
            state: AtomicU32::new(EMPTY),
            // 37 and 97 have no common factor: the priorities differ and are not in order.
            prio: AtomicU8::new((1 + index * 37 % 97) as u8),
            task: Mutex::new(None),
        };
        Arc::new(Book {
            entries: (0..tasks).map(entry).collect(),
            churn,
            steps: AtomicI64::new(0),
            seed: AtomicU64::new(1),
            changes: AtomicU64::new(0),
            over: AtomicU32::new(0),
        })
    }

    fn may_step(&self) -> bool {
        self.steps.fetch_sub(1, SeqCst) > 0
    }

    fn is_still(&self) -> bool {
        self.steps.load(SeqCst) <= 0 && self.over.load(SeqCst) == 0
    }

    /// Wakes a task or spawns one, as its entry says. `spawn` is how the caller spawns.
    fn stir(self: &Arc<Self>, rng: &mut Rng, spawn: impl Fn(Priority, Arc<Book>, usize)) {
        let index = rng.below(self.entries.len());
        let entry = &self.entries[index];
        if entry
            .state
            .compare_exchange(PARKED, RUNNABLE, SeqCst, SeqCst)
            .is_ok()
        {
            let task = entry.task.lock().unwrap().clone();
            task.expect("a parked entry has a task").unpark();
        } else if entry
            .state
            .compare_exchange(EMPTY, RUNNABLE, SeqCst, SeqCst)
            .is_ok()
        {
            // It enters its own handle when it starts: the spawner may be preempted by it at once.
            spawn(prio(entry.prio.load(SeqCst)), self.clone(), index);
        }
    }

    fn reprioritise(&self, rng: &mut Rng) {
        if self.churn == Churn::FixedPriorities {
            return;
        }
        let entry = &self.entries[rng.below(self.entries.len())];
        let task = entry.task.lock().unwrap().clone();
        if let Some(task) = task {
            // It may have ended meanwhile, which is as good.
            let _ = task.set_priority(prio(1 + rng.below(99) as u8));
            self.changes.fetch_add(1, Relaxed);
        }
    }

    fn live(self: &Arc<Self>, index: usize) {
        let entry = &self.entries[index];
        *entry.task.lock().unwrap() = task::current();
        let mut rng = Rng::new(self.seed.fetch_add(1, SeqCst));
        loop {
            if self.over.load(SeqCst) == 1 {
                break;
            }
            if !self.may_step() {
                occupy_until(|| !self.is_still());
                continue;
            }
            match rng.below(32) {
                0 => break,
                1..6 => {
                    entry.state.store(PARKED, SeqCst);
                    task::park();
                }
                6..18 => self.stir(&mut rng, |prio, book, index| {
                    drop(task::spawn(prio, move || book.live(index)));
                }),
                18..22 => task::yield_now(),
                22..28 => self.reprioritise(&mut rng),
                _ => task::checkpoint(),
            }
        }
        *entry.task.lock().unwrap() = None;
        entry.state.store(EMPTY, SeqCst);
    }

    /// Lets `steps` random steps happen, some made by this ordinary thread.
    pub fn stir_up(self: &Arc<Self>, runtime: &Runtime, rng: &mut Rng, steps: i64) {
        self.steps.store(steps, SeqCst);
        for _ in 0..8 {
            self.stir(rng, |prio, book, index| {
                drop(runtime.spawn(prio, move || book.live(index)));
            });
            self.reprioritise(rng);
        }
        let start = Instant::now();
        while self.steps.load(SeqCst) > 0 && start.elapsed() < Duration::from_millis(3) {
            std::thread::sleep(Duration::from_micros(50));
        }
        self.steps.store(0, SeqCst);
        // Wakes that find tasks at rest; in every other round the churn itself comes last.
        for _ in 0..rng.below(2) * rng.below(3 * self.entries.len()) {
            self.stir(rng, |prio, book, index| {
                drop(runtime.spawn(prio, move || book.live(index)));
            });
            self.reprioritise(rng);
        }
    }

    /// The tasks that are runnable by the book, with their priorities; `None` while a task's state does
    /// not agree with its entry, which means that something is under way. One that has not started yet
    /// has the number 0.
    fn runnable(&self) -> Option<Vec<(u8, u64)>> {
        let mut runnable = Vec::new();
        for entry in &self.entries {
            let state = entry.state.load(SeqCst);
            if state == EMPTY {
                continue;
            }
            let Some(task) = entry.task.lock().unwrap().clone() else {
                runnable.push((entry.prio.load(SeqCst), 0));
                continue;
            };
            // An unparker that gave its permit to a task on its way into `park` wakes it once more later. The
            // task then is runnable, although the book has it parked, until it gets to look again.
            let is_runnable = match (task.state(), state) {
                (TaskState::Waiting, PARKED) => false,
                (TaskState::Runnable, PARKED | RUNNABLE) => true,
                (TaskState::Running, RUNNABLE) => true,
                _ => return None,
            };
            if is_runnable {
                runnable.push((task.priority().unwrap().get(), task.id()));
            }
        }
        runnable.sort_unstable();
        runnable.reverse();
        Some(runnable)
    }

    /// What the book and the runtime say of each entry.
    fn states(&self) -> Vec<String> {
        let state = |entry: &Entry| {
            let task = entry.task.lock().unwrap().clone();
            let (state, prio) = (entry.state.load(SeqCst), entry.prio.load(SeqCst));
            format!(
                "{prio} {state} {:?}",
                task.map(|task| (task.id(), task.state()))
            )
        };
        self.entries.iter().map(state).collect()
    }

    /// Whether book, event ring and snapshot agree that the most urgent runnable tasks run.
    fn is_kept(&self, runtime: &Runtime, replay: &Replay) -> Option<usize> {
        let runnable = self.runnable()?;
        let (seen, running) = (replay.runnable(), replay.running());
        let all_seen = runnable.iter().all(|(_, id)| *id == 0 || seen.contains(id));
        let is_complete = all_seen && runnable.len() == seen.len();
        let urgent = |id: &u64| {
            runnable
                .iter()
                .find(|(_, other)| other == id)
                .map(|(prio, _)| *prio)
        };
        let mut prios: Vec<u8> = running.iter().map(urgent).collect::<Option<_>>()?;
        prios.sort_unstable();
        prios.reverse();
        let best: Vec<u8> = runnable
            .iter()
            .take(runtime.cpus())
            .map(|(prio, _)| *prio)
            .collect();
        let snapshot = runtime.snapshot();
        let shown = snapshot
            .cpus
            .iter()
            .filter_map(|cpu| cpu.running.map(|(id, _)| id))
            .collect();
        (is_complete && prios == best && running == shown).then_some(runnable.len())
    }

    /// Waits for the promise to hold at rest; returns how many tasks are runnable. A promise that is
    /// broken at rest stays broken: nothing happens any more that could mend it.
    pub fn expect_promise(&self, runtime: &Runtime, replay: &mut Replay, round: usize) -> usize {
        let start = Instant::now();
        loop {
            replay.follow(runtime);
            if let Some(runnable) = self.is_kept(runtime, replay) {
                std::thread::sleep(Duration::from_micros(100));
                if !replay.follow(runtime) {
                    return runnable;
                }
                continue;
            }
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "round {round}: the promise is broken at rest: runnable by the book {:?} of {:?}, by the \
                 events {:?}, running {:?}, {:?}",
                self.runnable(),
                self.states(),
                replay.runnable(),
                replay.running(),
                runtime.snapshot()
            );
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Ends all tasks.
    pub fn end(&self, runtime: Exclusive) {
        self.over.store(1, SeqCst);
        let report = runtime.shutdown(Duration::from_secs(5));
        assert!(
            report.abandoned.is_empty(),
            "every task reaches a safe point: {report:?}"
        );
    }
}

/// Churns `tasks` tasks for `rounds` rounds, or fewer if that takes longer than `seconds_max`, and checks the
/// promise after each; returns the changes of priority.
pub fn keep_promise(
    tasks: usize,
    churn: Churn,
    rounds: usize,
    steps: i64,
    seed: u64,
    seconds_max: u64,
) -> u64 {
    let runtime = crate::common::builder().events(1 << 16).build().unwrap();
    let (book, mut replay, mut rng) = (Book::new(tasks, churn), Replay::new(), Rng::new(seed));
    let (mut contended, mut round, start) = (0, 0, Instant::now());
    while round < rounds && start.elapsed().as_secs() < seconds_max {
        book.stir_up(&runtime, &mut rng, steps);
        let runnable = book.expect_promise(&runtime, &mut replay, round);
        contended += usize::from(runnable > runtime.cpus());
        round += 1;
    }
    assert_eq!(runtime.stats().events_dropped, 0, "the record has no hole");
    assert!(
        contended > round / 20,
        "only {contended} of {round} rounds had more tasks than CPUs"
    );
    println!(
        "{tasks} tasks, {round} of {rounds} rounds, {contended} contended, {:?}",
        runtime.stats()
    );
    let changes = book.changes.load(Relaxed);
    book.end(runtime);
    changes
}
