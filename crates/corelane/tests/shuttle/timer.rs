//! Deadlines: they pass, and they race with wakes.

use std::time::Duration;

use corelane::{Idle, task};
use corelane_os_model::Model;
use corelane_os_model::time::Instant;

use crate::kit::{SPIN_THEN_PARK, builder, end, join, prio, thread};

const SHORT: Duration = Duration::from_micros(200);

/// Tasks of both classes sleep, on CPUs that have nothing else to do.
fn sleepers(idle: Idle) {
    let runtime = builder().idle(idle).build().unwrap();
    let sleeps = || {
        let start = Instant::now();
        task::sleep(SHORT);
        assert!(start.elapsed() >= SHORT, "a sleep does not end early");
    };
    let handles = [10, 20].map(|p| runtime.spawn(prio(p), sleeps));
    let background = runtime.spawn_background(sleeps);
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    background.join().unwrap();
    end(runtime);
}

pub(crate) fn on_sleeping_cpus() {
    sleepers(Idle::Park);
}

#[test]
fn a_sleeping_task_wakes_and_not_early() {
    Model::new().schedules(300).check(on_sleeping_cpus);
}

#[test]
fn a_sleeping_task_wakes_on_cpus_that_spin_first() {
    Model::new()
        .hasty()
        .schedules(100)
        .check(|| sleepers(SPIN_THEN_PARK));
}

/// A permit and a deadline come at about the same time: the permit is taken once, by the wait or after it.
fn against_a_permit() {
    let runtime = builder().build().unwrap();
    let waits = || {
        let had_permit = task::park_timeout(SHORT);
        if !had_permit {
            task::park();
        }
    };
    let realtime = runtime.spawn(prio(30), waits);
    let background = runtime.spawn_background(waits);
    let (first, second) = (realtime.task(), background.task());
    let other = thread(move || first.unpark());
    second.unpark();
    realtime.join().unwrap();
    background.join().unwrap();
    join(other);
    end(runtime);
}

#[test]
fn a_permit_that_comes_with_the_deadline_is_not_lost() {
    Model::new().hasty().schedules(500).check(against_a_permit);
}
