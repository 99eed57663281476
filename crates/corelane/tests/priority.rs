//! Changing the priority of live tasks: the promise follows the priorities of the moment.

#[path = "common/churn.rs"]
mod churn;
mod common;
#[path = "common/kit.rs"]
mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use churn::{Churn, keep_promise};
use common::{prio, runtime, wait_until};
use corelane::{ChangeError, TaskState, task};
use kit::{Replay, Rng, occupy_until};

/// A busy host gets fewer rounds.
const SECONDS_MAX: u64 = 6;

#[test]
fn the_promise_holds_after_storms_of_changes_among_churning_tasks() {
    let cpus = runtime().cpus();
    let changes = keep_promise(
        3 * cpus,
        Churn::ChangingPriorities,
        600,
        300,
        21,
        SECONDS_MAX,
    );
    assert!(changes > 500, "{changes} changes are no storm");
}

#[test]
fn storms_from_several_threads_end_in_the_right_order() {
    let runtime = common::builder().events(1 << 17).build().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let spawn = |_| {
        let over = over.clone();
        runtime.spawn(prio(50), move || occupy_until(|| over.load(SeqCst)))
    };
    let handles: Vec<_> = (0..3 * runtime.cpus()).map(spawn).collect();
    let tasks: Vec<_> = handles.iter().map(|handle| handle.task()).collect();
    let mut replay = Replay::new();
    for round in 0..50_u64 {
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let tasks = &tasks;
                scope.spawn(move || {
                    let mut rng = Rng::new(round << 8 | thread);
                    for _ in 0..60 {
                        let task = &tasks[rng.below(tasks.len())];
                        task.set_priority(prio(1 + rng.below(99) as u8)).unwrap();
                    }
                });
            }
        });
        let mut wanted: Vec<u8> = tasks
            .iter()
            .map(|task| task.priority().unwrap().get())
            .collect();
        wanted.sort_unstable();
        let wanted = &wanted[wanted.len() - runtime.cpus()..];
        let start = std::time::Instant::now();
        loop {
            replay.follow(&runtime);
            let running = replay.running();
            let runs = tasks.iter().filter(|task| running.contains(&task.id()));
            let mut prios: Vec<u8> = runs.map(|task| task.priority().unwrap().get()).collect();
            prios.sort_unstable();
            if prios == wanted {
                break;
            }
            assert!(
                start.elapsed().as_secs() < 5,
                "round {round}: {prios:?} run instead of {wanted:?}"
            );
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }
    assert_eq!(runtime.stats().events_dropped, 0);
    over.store(true, SeqCst);
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
}

#[test]
fn raising_a_queued_task_preempts_and_lowering_a_running_one_gives_way() {
    let runtime = runtime();
    let over = Arc::new(AtomicBool::new(false));
    let busy = |value| {
        let over = over.clone();
        runtime.spawn(prio(value), move || occupy_until(|| over.load(SeqCst)))
    };
    let high: Vec<_> = (0..runtime.cpus()).map(|_| busy(50)).collect();
    wait_until("every CPU to be busy", || {
        high.iter().all(|h| h.task().state() == TaskState::Running)
    });
    let low = busy(30);
    wait_until("the low task to queue", || {
        runtime
            .snapshot()
            .cpus
            .iter()
            .map(|cpu| cpu.queued)
            .sum::<usize>()
            == 1
    });
    assert_eq!(low.task().state(), TaskState::Runnable);
    low.task().set_priority(prio(60)).unwrap();
    wait_until("the raised task to run", || {
        low.task().state() == TaskState::Running
    });
    low.task().set_priority(prio(20)).unwrap();
    wait_until("the lowered task to give way", || {
        low.task().state() == TaskState::Runnable
            && high.iter().all(|h| h.task().state() == TaskState::Running)
    });
    over.store(true, SeqCst);
    high.into_iter()
        .chain([low])
        .for_each(|handle| handle.join().unwrap());
}

#[test]
fn a_task_that_lowers_itself_gives_way_before_the_call_returns() {
    let runtime = common::builder()
        .map(|b| b.cpus(corelane::Cpus::Count(1)))
        .build()
        .unwrap();
    let steps = Arc::new(AtomicU64::new(0));
    let (first, second) = (steps.clone(), steps.clone());
    let handle = runtime.spawn(prio(80), move || {
        let other = task::spawn(prio(40), move || second.fetch_add(1, SeqCst));
        assert_eq!(first.load(SeqCst), 0);
        task::current().unwrap().set_priority(prio(30)).unwrap();
        assert_eq!(first.load(SeqCst), 1);
        other.join().unwrap();
    });
    handle.join().unwrap();
}

#[test]
fn a_task_that_has_ended_cannot_be_changed() {
    let runtime = runtime();
    let handle = runtime.spawn(prio(50), || ());
    let task = handle.task();
    handle.join().unwrap();
    wait_until("the task to end", || task.state() == TaskState::Done);
    assert_eq!(task.set_priority(prio(9)), Err(ChangeError::Done));
    let background = runtime.spawn_background(task::park);
    assert_eq!(
        background.task().set_priority(prio(9)),
        Err(ChangeError::Background)
    );
    background.task().unpark();
    background.join().unwrap();
}
