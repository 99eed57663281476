//! Shutting down against everything else: it ends, no body is left, no handle hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use corelane::{JoinError, JoinHandle, task};
use corelane_os_model::Model;
use corelane_os_model::fiber::exit_process;
use corelane_os_model::sync::mpsc::channel;

use crate::kit::{Census, Citizen, builder, end, eventually, join, prio, runtime, thread};

/// Whether a task of a runtime that ended has ended in one of the ways it may.
fn has_ended(handle: JoinHandle<()>) {
    let answer = handle.join();
    assert!(
        matches!(answer, Ok(()) | Err(JoinError::Cancelled)),
        "{answer:?}"
    );
}

fn parks(citizen: Citizen) -> impl FnOnce() + Send {
    move || {
        let _lives = citizen;
        task::park();
    }
}

/// Another thread spawns tasks all the while.
pub(crate) fn against_spawns() {
    let (runtime, census) = (runtime(), Census::default());
    let early = runtime.spawn(prio(20), parks(census.citizen()));
    let (builder, inside) = (runtime.build_task().priority(prio(30)), census.clone());
    let spawner = thread(move || {
        let spawn = |_| {
            let (citizen, census) = (inside.citizen(), inside.clone());
            builder.clone().spawn(move || {
                let _lives = citizen;
                let child = task::spawn(prio(40), parks(census.citizen()));
                task::yield_now();
                drop(child);
            })
        };
        (0..2).map(spawn).collect::<Vec<JoinHandle<()>>>()
    });
    end(runtime);
    has_ended(early);
    join(spawner).into_iter().for_each(has_ended);
    assert_eq!(census.count(), 0, "no body is left");
}

#[test]
fn shutdown_races_with_spawns() {
    Model::new().schedules(500).check(against_spawns);
}

/// Tasks of both classes wait, sleep, join and starve, and one is woken.
pub(crate) fn against_waiting_tasks() {
    let census = Census::default();
    let runtime = builder().fibers(2).build().unwrap();
    let sleeps = {
        let citizen = census.citizen();
        move || {
            let _lives = citizen;
            task::sleep(Duration::from_secs(3600));
        }
    };
    let first = runtime.spawn(prio(30), parks(census.citizen()));
    let woken = first.task();
    let handles = vec![
        first,
        runtime.spawn(prio(40), sleeps),
        runtime.spawn_background(parks(census.citizen())),
        runtime.spawn(prio(10), parks(census.citizen())),
    ];
    let waker = thread(move || woken.unpark());
    end(runtime);
    handles.into_iter().for_each(has_ended);
    join(waker);
    assert_eq!(census.count(), 0, "no body is left");
}

#[test]
fn shutdown_ends_tasks_that_wait() {
    Model::new().schedules(300).check(against_waiting_tasks);
}

/// Tasks in native parts, outside, and on their way back.
fn against_excursions() {
    let (runtime, census) = (runtime(), Census::default());
    let excursion = || {
        let citizen = census.citizen();
        move || {
            let _lives = citizen;
            task::native(task::yield_now);
            task::outside(|| ());
            task::park();
        }
    };
    let handles = vec![
        runtime.spawn(prio(30), excursion()),
        runtime.spawn_background(excursion()),
    ];
    end(runtime);
    handles.into_iter().for_each(has_ended);
    assert_eq!(census.count(), 0, "no body is left");
}

#[test]
fn shutdown_ends_tasks_on_excursions() {
    Model::new().schedules(300).check(against_excursions);
}

/// A runtime that is dropped with handles outstanding, and one joined by a thread meanwhile.
fn by_dropping() {
    let (runtime, census) = (runtime(), Census::default());
    let joined = runtime.spawn(prio(30), parks(census.citizen()));
    let joiner = thread(move || has_ended(joined));
    let left = runtime.spawn_background(parks(census.citizen()));
    drop(runtime);
    join(joiner);
    has_ended(left);
    assert_eq!(census.count(), 0, "no body is left");
}

#[test]
fn dropping_a_runtime_lets_no_joiner_hang() {
    Model::new().schedules(300).check(by_dropping);
}

/// One task never comes to a safe point: it is named, and those behind it that have not started never will.
pub(crate) fn around_a_stuck_task() {
    let (runtime, census) = (runtime(), Census::default());
    let (release, released) = channel();
    let has_started = Arc::new(AtomicBool::new(false));
    let started = has_started.clone();
    let stuck = runtime.spawn(prio(40), move || {
        started.store(true, SeqCst);
        released.recv().expect("it is released");
    });
    eventually("it has started", || has_started.load(SeqCst));
    let behind = runtime.spawn(prio(30), parks(census.citizen()));
    let below = runtime.spawn_background(parks(census.citizen()));
    let report = runtime.shutdown(Duration::from_millis(1));
    let abandoned: Vec<u64> = report.abandoned.iter().map(|task| task.id).collect();
    assert_eq!(abandoned, [stuck.task().id()]);
    has_ended(behind);
    has_ended(below);
    assert_eq!(census.count(), 0, "no other body is left");
    release.send(()).expect("somebody waits for it");
    stuck
        .join()
        .expect("it goes on after its runtime has ended");
    exit_process();
}

#[test]
fn shutdown_ends_what_waits_behind_a_stuck_task() {
    Model::new()
        .cpus(1)
        .schedules(15)
        .check(around_a_stuck_task);
}
