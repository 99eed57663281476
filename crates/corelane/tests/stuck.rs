//! Tasks that cannot leave their CPU, under tasks that can: scenarios of the reference on two CPUs.

mod common;
#[path = "common/kit.rs"]
mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::time::Duration;

use common::{Exclusive, prio, runtime, wait_until};
use corelane::{JoinHandle, Task, TaskState, migrate_disable, task};
use kit::{Replay, assert_home, breathe, every, has_two_cpus, kernel_cpus, occupy_until, only};

/// Where scenes are staged: tasks that occupy a CPU until they are told to park, and a record.
struct Stage<'a> {
    runtime: &'a Exclusive,
    steps: Arc<AtomicUsize>,
}

/// A task on stage: it runs until `leave` is set, and ends.
struct Actor {
    handle: JoinHandle<()>,
    leave: Arc<AtomicBool>,
    /// It holds a guard until this is set.
    release: Arc<AtomicBool>,
    /// The CPU it was on at once after it dropped the guard.
    landed: Arc<AtomicUsize>,
    looks: Arc<AtomicU64>,
}

const NOWHERE: usize = usize::MAX;

impl Actor {
    fn task(&self) -> Task {
        self.handle.task()
    }

    fn runs_on(&self, cpu: usize) -> bool {
        self.task().state() == TaskState::Running && self.task().cpu().index() == cpu
    }

    fn await_on(&self, cpu: usize) {
        wait_until("a task to run where it should", || self.runs_on(cpu));
    }

    /// Lets it make some safe points, so that a request would have been served.
    fn await_looks(&self) {
        let seen = self.looks.load(SeqCst);
        wait_until("a task to make safe points", || {
            self.looks.load(SeqCst) > seen + 20
        });
    }

    fn leave(self) {
        self.release.store(true, SeqCst);
        self.leave.store(true, SeqCst);
        self.handle.join().unwrap();
    }
}

impl<'a> Stage<'a> {
    fn new(runtime: &'a Exclusive) -> Stage<'a> {
        Stage {
            runtime,
            steps: Arc::new(AtomicUsize::new(0)),
        }
    }

    fn act(&self, value: u8, cpu: usize, holds: bool) -> Actor {
        let (leave, release) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(!holds)),
        );
        let (landed, looks) = (
            Arc::new(AtomicUsize::new(NOWHERE)),
            Arc::new(AtomicU64::new(0)),
        );
        let (l, r, at, n) = (
            leave.clone(),
            release.clone(),
            landed.clone(),
            looks.clone(),
        );
        let kernel = kernel_cpus(self.runtime);
        let build = self
            .runtime
            .build_task()
            .priority(prio(value))
            .affinity(only(self.runtime, cpu));
        let handle = build.spawn(move || {
            let guard = holds.then(migrate_disable);
            occupy_until(|| {
                n.fetch_add(1, SeqCst);
                guard.iter().for_each(|guard| assert_home(guard, &kernel));
                r.load(SeqCst) || l.load(SeqCst)
            });
            drop(guard);
            at.store(task::current().unwrap().cpu().index(), SeqCst);
            occupy_until(|| {
                n.fetch_add(1, SeqCst);
                l.load(SeqCst)
            });
        });
        let actor = Actor {
            handle,
            leave,
            release,
            landed,
            looks,
        };
        wait_until("an actor to enter", || actor.looks.load(SeqCst) > 0);
        actor
    }

    /// A task that is bound to a CPU and runs there at once.
    fn occupy(&self, value: u8, cpu: usize) -> Actor {
        self.act(value, cpu, false)
    }

    /// The same, but it may leave afterwards.
    fn enter(&self, value: u8, cpu: usize) -> Actor {
        self.widen(self.act(value, cpu, false))
    }

    /// The same, and it holds a guard.
    fn enter_held(&self, value: u8, cpu: usize) -> Actor {
        self.widen(self.act(value, cpu, true))
    }

    fn widen(&self, actor: Actor) -> Actor {
        actor.task().set_affinity(&every(self.runtime)).unwrap();
        actor
    }

    /// Waits until a CPU has published that it has nothing to run.
    fn await_idle(&self, cpu: usize) {
        wait_until("a CPU to be idle", || {
            self.runtime.snapshot().cpus[cpu].level == 0
        });
    }

    /// Waits until the first CPUs have published these priorities.
    fn await_levels(&self, prios: [u8; 2]) {
        let level = |cpu: usize| self.runtime.snapshot().cpus[cpu].level;
        wait_until("two CPUs to be at rest", || {
            (0..2).all(|cpu| level(cpu) == prios[cpu] + 2)
        });
    }

    fn end(&self, actors: Vec<Actor>) {
        actors.iter().for_each(|actor| {
            actor.release.store(true, SeqCst);
            actor.leave.store(true, SeqCst);
        });
        actors.into_iter().for_each(Actor::leave);
    }
}

/// A runtime with an event ring, if there are two CPUs.
fn two_cpus() -> Option<Exclusive> {
    let builder = common::builder()
        .events(1 << 14)
        .map(|b| b.cpus(corelane::Cpus::All));
    let runtime = builder.build().unwrap();
    has_two_cpus(&runtime).then_some(runtime)
}

/// Scenario 12 of the reference.
#[test]
fn a_task_stuck_under_a_higher_one_makes_the_higher_one_move() {
    let Some(runtime) = two_cpus() else { return };
    let stage = Stage::new(&runtime);
    let other = stage.occupy(70, 1);
    let stuck = stage.enter_held(50, 0);
    let high = stage.enter(80, 0);
    high.await_on(0);
    other.leave();
    high.await_on(1);
    stuck.await_on(0);
    let mut replay = Replay::new();
    replay.follow(&runtime);
    assert_eq!(replay.running_on(0), Some(stuck.task().id()));
    assert_eq!(replay.running_on(1), Some(high.task().id()));
    assert!(
        replay
            .migrations
            .iter()
            .all(|(task, _)| *task != stuck.task().id())
    );
    stage.end(vec![stuck, high]);
}

/// The same with a task that cannot leave because its affinity says so.
#[test]
fn a_bound_task_under_a_higher_one_makes_the_higher_one_move() {
    let Some(runtime) = two_cpus() else { return };
    let stage = Stage::new(&runtime);
    let other = stage.occupy(70, 1);
    let bound = stage.occupy(50, 0);
    let high = stage.enter(80, 0);
    high.await_on(0);
    other.leave();
    high.await_on(1);
    bound.await_on(0);
    stage.end(vec![bound, high]);
}

/// Scenario 13.
#[test]
fn a_higher_task_that_is_held_too_leaves_when_it_drops_its_guard() {
    let Some(runtime) = two_cpus() else { return };
    let stage = Stage::new(&runtime);
    let other = stage.occupy(70, 1);
    let stuck = stage.enter_held(50, 0);
    let high = stage.enter_held(80, 0);
    high.await_on(0);
    other.leave();
    stage.await_idle(1);
    high.await_looks();
    assert!(high.runs_on(0) && stuck.task().state() == TaskState::Runnable);
    high.release.store(true, SeqCst);
    wait_until("the guard to be dropped", || {
        high.landed.load(SeqCst) != NOWHERE
    });
    assert_eq!(
        high.landed.load(SeqCst),
        1,
        "it leaves at once, not at a later safe point"
    );
    stuck.await_on(0);
    stage.end(vec![stuck, high]);
}

/// The same, but the higher one wakes on its CPU when the other CPU is idle already.
#[test]
fn a_held_task_that_wakes_over_a_held_one_leaves_when_it_drops_its_guard() {
    let Some(runtime) = two_cpus() else { return };
    let stage = Stage::new(&runtime);
    let (landed, release) = (
        Arc::new(AtomicUsize::new(NOWHERE)),
        Arc::new(AtomicBool::new(false)),
    );
    let (at, may_drop) = (landed.clone(), release.clone());
    let build = runtime
        .build_task()
        .priority(prio(80))
        .affinity(only(&runtime, 0));
    let high = build.spawn(move || {
        let guard = migrate_disable();
        task::park();
        while !may_drop.load(SeqCst) {
            breathe(); // no safe point
        }
        drop(guard);
        at.store(task::current().unwrap().cpu().index(), SeqCst);
    });
    wait_until("the higher task to park", || {
        high.task().state() == TaskState::Waiting
    });
    high.task().set_affinity(&every(&runtime)).unwrap();
    let stuck = stage.enter_held(50, 0);
    high.task().unpark();
    wait_until("the lower task to be stuck", || {
        stuck.task().state() == TaskState::Runnable
    });
    release.store(true, SeqCst);
    high.join().unwrap();
    assert_eq!(landed.load(SeqCst), 1);
    stage.end(vec![stuck]);
}

/// The same, but the higher one itself wakes the task that is held below it.
#[test]
fn a_task_that_wakes_a_held_one_below_it_makes_room() {
    let Some(runtime) = two_cpus() else { return };
    let build = runtime
        .build_task()
        .priority(prio(50))
        .affinity(only(&runtime, 0));
    let woken = Arc::new(AtomicUsize::new(0));
    let seen = woken.clone();
    let low = build.spawn(move || {
        let guard = migrate_disable();
        task::park();
        seen.store(1 + guard.cpu().index(), SeqCst);
    });
    wait_until("the lower task to park", || {
        low.task().state() == TaskState::Waiting
    });
    let (task, cpus) = (low.task(), every(&runtime));
    low.task().set_affinity(&cpus).unwrap();
    let high = runtime
        .build_task()
        .priority(prio(80))
        .affinity(only(&runtime, 0))
        .spawn(move || {
            task::current().unwrap().set_affinity(&cpus).unwrap();
            // What the spawner still asked of this CPU is served first: no request helps later.
            (0..100).for_each(|_| {
                breathe();
                task::checkpoint();
            });
            assert_eq!(task::current().unwrap().cpu().index(), 0);
            task.unpark();
            occupy_until(|| woken.load(SeqCst) == 1);
            task::current().unwrap().cpu().index()
        });
    assert_eq!(high.join().unwrap(), 1);
    low.join().unwrap();
}

/// Scenario 14.
#[test]
fn a_pile_of_held_tasks_is_drained_one_by_one() {
    let Some(runtime) = two_cpus() else { return };
    let stage = Stage::new(&runtime);
    let other = stage.occupy(99, 1);
    let mut pile: Vec<Actor> = (1..=5).map(|k| stage.enter_held(10 * k, 0)).collect();
    wait_until("the pile to stand", || {
        runtime.snapshot().cpus[0].queued == 4
    });
    other.leave();
    while pile.len() > 1 {
        let (top, below) = (pile.pop().unwrap(), pile.last().unwrap());
        top.await_on(0);
        stage.await_idle(1);
        top.release.store(true, SeqCst);
        wait_until("the guard to be dropped", || {
            top.landed.load(SeqCst) != NOWHERE
        });
        // A hint that the other CPU is about to be taken may still be out: then it asks once it has looked.
        top.await_on(1);
        below.await_on(0);
        top.leave();
    }
    stage.end(pile);
}

/// Scenario 15: the kernel moves two tasks here and gains nothing.
#[test]
fn nobody_moves_if_the_stuck_task_would_not_gain() {
    let Some(runtime) = two_cpus() else { return };
    let stage = Stage::new(&runtime);
    let other = stage.enter(50, 1);
    other.await_on(1);
    let stuck = stage.enter_held(20, 0);
    let high = stage.enter(90, 0);
    high.await_on(0);
    high.await_looks();
    let mut replay = Replay::new();
    replay.follow(&runtime);
    replay.migrations.clear();
    for _ in 0..50 {
        // Each of these makes the CPUs look again.
        high.task().set_affinity(&every(&runtime)).unwrap();
        other.task().set_affinity(&every(&runtime)).unwrap();
        stuck.task().set_priority(prio(20)).unwrap();
        high.await_looks();
    }
    replay.follow(&runtime);
    assert_eq!(replay.migrations, []);
    assert!(high.runs_on(0) && other.runs_on(1));
    assert_eq!(runtime.stats().pushed_away, 0);
    stage.end(vec![stuck, high, other]);
}

/// Scenario 16.
#[test]
fn a_held_head_does_not_hide_a_movable_task_below_it() {
    let Some(runtime) = two_cpus() else { return };
    let stage = Stage::new(&runtime);
    let other = stage.occupy(99, 1);
    // Entered before those above it, bound so that it waits here.
    let movable = stage.occupy(40, 0);
    let stuck = stage.enter_held(60, 0);
    let high = stage.enter_held(90, 0);
    movable.task().set_affinity(&every(&runtime)).unwrap();
    high.await_on(0);
    assert_eq!(movable.task().state(), TaskState::Runnable);
    other.leave();
    movable.await_on(1);
    assert!(high.runs_on(0) && stuck.task().state() == TaskState::Runnable);
    stage.end(vec![high, stuck, movable]);
}

/// Scenario 32: a task that could go elsewhere does not wake on top of a held one.
#[test]
fn a_wake_goes_beside_a_held_task_rather_than_on_top_of_it() {
    let Some(runtime) = two_cpus() else { return };
    let stage = Stage::new(&runtime);
    let low = stage.occupy(20, 1);
    let held = stage.enter_held(50, 0);
    for _ in 0..50 {
        // Both CPUs have finished the pass of the last round before their levels are read.
        held.await_looks();
        low.await_looks();
        stage.await_levels([50, 20]);
        let free = runtime.spawn(prio(80), || task::current().unwrap().cpu().index());
        assert_eq!(free.join().unwrap(), 1);
    }
    assert!(held.runs_on(0));
    stage.end(vec![held, low]);
}

#[test]
fn inner_guards_do_not_unpin() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let stage = Stage::new(&runtime);
    let high = stage.occupy(90, 0);
    let steps = stage.steps.clone();
    let nested = runtime.spawn(prio(50), move || {
        let outer = migrate_disable();
        let (middle, inner) = (migrate_disable(), migrate_disable());
        drop(middle);
        task::sleep(Duration::from_micros(100)); // suspended two deep
        drop(inner);
        steps.fetch_add(1, SeqCst);
        occupy_until(|| steps.load(SeqCst) >= 2);
        assert_eq!(task::current().unwrap().cpu(), outer.cpu());
        drop(outer);
    });
    wait_until("the nested task to be one deep", || {
        stage.steps.load(SeqCst) == 1
    });
    stage.steps.store(2, SeqCst);
    nested.join().unwrap();
    stage.end(vec![high]);
}
