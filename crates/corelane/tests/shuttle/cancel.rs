//! Cancelling tasks that are woken, joined, finishing, or not yet started.

use corelane::{JoinError, task};
use corelane_os_model::Model;

use crate::kit::{Census, end, join, prio, runtime, thread};

/// A task waits once and ends; one thread wakes it, another cancels it, a third joins it.
fn against_wake_join_and_finish() {
    let (runtime, census) = (runtime(), Census::default());
    let citizen = census.citizen();
    let handle = runtime.spawn(prio(30), move || {
        let _lives = citizen;
        task::park();
        7
    });
    let (woken, cancelled) = (handle.task(), handle.task());
    let wake = thread(move || woken.unpark());
    let cancel = thread(move || cancelled.cancel());
    match handle.join() {
        Ok(value) => assert_eq!(value, 7),
        Err(error) => assert!(matches!(error, JoinError::Cancelled), "{error:?}"),
    }
    assert_eq!(census.count(), 0, "its destructors have run");
    join(wake);
    join(cancel);
    end(runtime);
}

#[test]
fn a_cancellation_races_with_wake_join_and_finish() {
    Model::new()
        .schedules(800)
        .check(against_wake_join_and_finish);
}

/// Nobody wakes these tasks: real-time, background, and one that waits for another.
pub(crate) fn of_waiting_tasks() {
    let (runtime, census) = (runtime(), Census::default());
    let waits = || {
        let citizen = census.citizen();
        move || {
            let _lives = citizen;
            loop {
                task::park();
            }
        }
    };
    let realtime = runtime.spawn(prio(30), waits());
    let background = runtime.spawn_background(waits());
    let inner = runtime.spawn(prio(20), waits());
    let joiner = {
        let citizen = census.citizen();
        runtime.spawn(prio(40), move || {
            let _lives = citizen;
            inner.join()
        })
    };
    let cancelled = background.task();
    let other = thread(move || cancelled.cancel());
    realtime.cancel();
    joiner.cancel();
    let ends = |answer: Result<(), JoinError>| matches!(answer, Err(JoinError::Cancelled));
    assert!(ends(realtime.join()));
    assert!(ends(background.join()));
    assert!(ends(joiner.join().map(|_| ())));
    join(other);
    end(runtime);
    assert_eq!(census.count(), 0, "their destructors have run");
}

#[test]
fn a_cancelled_task_that_waits_ends() {
    Model::new().schedules(500).check(of_waiting_tasks);
}

/// A cancelled task parks, sleeps and wakes others in its destructors.
fn with_a_destructor_that_waits() {
    struct Waits(corelane::Task);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.unpark();
            task::yield_now();
            task::sleep(std::time::Duration::from_micros(10));
        }
    }
    let runtime = runtime();
    let friend = runtime.spawn(prio(20), task::park);
    let to = friend.task();
    let waits = Waits(to);
    let handle = runtime.spawn(prio(30), move || {
        let _waits = waits;
        task::park();
    });
    let cancelled = handle.task();
    let other = thread(move || cancelled.cancel());
    // Whether it started or not, its destructor has woken the friend.
    let answer = handle.join();
    assert!(matches!(answer, Err(JoinError::Cancelled)), "{answer:?}");
    friend.join().unwrap();
    join(other);
    end(runtime);
}

#[test]
fn a_destructor_may_wait_while_its_task_unwinds() {
    Model::new()
        .schedules(300)
        .check(with_a_destructor_that_waits);
}
