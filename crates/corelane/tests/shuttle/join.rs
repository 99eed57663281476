//! Spawning and joining from both sides: every task runs exactly once, and its result arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use corelane::{Idle, task};
use corelane_os_model::Model;

use crate::kit::{SPIN_THEN_PARK, builder, end, join, prio, runtime, thread};

/// Two trees of tasks, one spawned here and one by another thread; each parent joins its children.
fn trees(idle: Idle) {
    let runtime = builder().idle(idle).build().unwrap();
    let runs: Arc<[AtomicU32; 6]> = Arc::default();
    let tree = |first: usize, priority: u8| {
        let runs = runs.clone();
        move || {
            runs[first].fetch_add(1, SeqCst);
            let child = |index: usize, priority: u8| {
                let runs = runs.clone();
                task::spawn(prio(priority), move || {
                    runs[index].fetch_add(1, SeqCst);
                    index
                })
            };
            let children = [
                child(first + 1, priority + 1),
                child(first + 2, priority - 1),
            ];
            children
                .map(|child| child.join().unwrap())
                .iter()
                .sum::<usize>()
        }
    };
    let builder = runtime.build_task().priority(prio(50));
    let other = tree(3, 50);
    let from_another = thread(move || builder.spawn(other).join().unwrap());
    let own = runtime.spawn(prio(30), tree(0, 30));
    assert_eq!(own.join().unwrap(), 1 + 2);
    assert_eq!(join(from_another), 4 + 5);
    assert!(runs.iter().all(|runs| runs.load(SeqCst) == 1));
    end(runtime);
}

pub(crate) fn trees_on_sleeping_cpus() {
    trees(Idle::Park);
}

#[test]
fn every_task_runs_once_and_gives_its_result() {
    Model::new().schedules(500).check(trees_on_sleeping_cpus);
}

#[test]
fn every_task_runs_once_on_cpus_that_spin_first() {
    Model::new().schedules(150).check(|| trees(SPIN_THEN_PARK));
}

/// Background tasks spawned from both sides and joined from both sides.
fn background() {
    let runtime = runtime();
    let inner = runtime.spawn(prio(20), || {
        let child = task::spawn_background(|| {
            task::yield_now();
            3
        });
        child.join().unwrap()
    });
    let parent = runtime.spawn_background(|| task::spawn(prio(10), || 4).join().unwrap());
    let plain = runtime.spawn_background(|| 5);
    assert_eq!(plain.join().unwrap(), 5);
    assert_eq!(inner.join().unwrap(), 3);
    assert_eq!(parent.join().unwrap(), 4);
    end(runtime);
}

#[test]
fn background_tasks_are_joined_from_both_sides() {
    Model::new().schedules(500).check(background);
}
