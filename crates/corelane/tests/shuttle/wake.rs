//! Waking against going idle: whoever is unparked runs, and no permit is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use corelane::{Idle, task};
use corelane_os_model::{Model, thread};

use crate::kit::{SPIN_THEN_PARK, builder, end, join, only, prio, runtime, thread};

const ROUNDS: u32 = 3;

/// An ordinary thread and a task wake each other in turn; a wake that is lost deadlocks.
fn ping_pong(idle: Idle) {
    let runtime = builder().idle(idle).build().unwrap();
    let turn = Arc::new(AtomicU32::new(0));
    let (turns, outside) = (turn.clone(), thread::current());
    let handle = runtime.spawn(prio(50), move || {
        for round in 0..ROUNDS {
            while turns.load(SeqCst) != 2 * round + 1 {
                task::park();
            }
            turns.store(2 * round + 2, SeqCst);
            outside.unpark();
        }
    });
    for round in 0..ROUNDS {
        turn.store(2 * round + 1, SeqCst);
        handle.task().unpark();
        while turn.load(SeqCst) != 2 * round + 2 {
            corelane_os_model::shuttle::thread::park();
        }
    }
    handle.join().unwrap();
    end(runtime);
}

pub(crate) fn from_a_thread_to_sleeping_cpus() {
    ping_pong(Idle::Park);
}

#[test]
fn a_task_unparked_from_a_thread_runs_on_cpus_that_sleep() {
    Model::new()
        .schedules(1_000)
        .check(from_a_thread_to_sleeping_cpus);
}

#[test]
fn a_task_unparked_from_a_thread_runs_on_cpus_that_spin_first() {
    Model::new()
        .schedules(300)
        .check(|| ping_pong(SPIN_THEN_PARK));
}

#[test]
fn a_task_unparked_from_a_thread_runs_on_cpus_that_only_spin() {
    Model::new().schedules(30).check(|| ping_pong(Idle::Spin));
}

/// Two tasks, each bound to a CPU of its own, wake each other in turn.
pub(crate) fn across_cpus() {
    let runtime = runtime();
    let turn = Arc::new(AtomicU32::new(0));
    let build = |cpu| runtime.build_task().affinity(only(cpu)).priority(prio(50));
    let turns = turn.clone();
    let pong = build(1).spawn(move || {
        let mut partner = None;
        for round in 0..ROUNDS {
            while turns.load(SeqCst) != 2 * round + 1 {
                task::park();
            }
            turns.store(2 * round + 2, SeqCst);
            let ping: &corelane::Task = partner.get_or_insert_with(take_partner);
            ping.unpark();
        }
    });
    let (turns, partner) = (turn, pong.task());
    let ping = build(0).spawn(move || {
        leave_partner(task::current().expect("called by a task"));
        for round in 0..ROUNDS {
            turns.store(2 * round + 1, SeqCst);
            partner.unpark();
            while turns.load(SeqCst) != 2 * round + 2 {
                task::park();
            }
        }
    });
    ping.join().unwrap();
    pong.join().unwrap();
    end(runtime);
}

std::thread_local! {
    /// All modelled threads are on one thread of the host.
    static PARTNER: std::cell::RefCell<Option<corelane::Task>> = const { std::cell::RefCell::new(None) };
}

fn leave_partner(task: corelane::Task) {
    PARTNER.set(Some(task));
}

fn take_partner() -> corelane::Task {
    PARTNER.take().expect("the first move was the partner's")
}

#[test]
fn tasks_on_different_cpus_wake_each_other() {
    Model::new().schedules(1_000).check(across_cpus);
}

/// A thread and a task each leave something and unpark; the consumer parks until it has all.
pub(crate) fn from_two_sides(idle: Idle) {
    const EACH: u32 = 3;
    let runtime = builder().idle(idle).build().unwrap();
    let left = Arc::new(AtomicU32::new(0));
    let seen = left.clone();
    let consumer = runtime.spawn(prio(40), move || {
        while seen.load(SeqCst) < 2 * EACH {
            task::park();
        }
    });
    let producer = |left: Arc<AtomicU32>, to: corelane::Task| {
        move || {
            for _ in 0..EACH {
                left.fetch_add(1, SeqCst);
                to.unpark();
            }
        }
    };
    let inside = runtime.spawn(prio(60), producer(left.clone(), consumer.task()));
    let outside = thread(producer(left, consumer.task()));
    consumer.join().unwrap();
    inside.join().unwrap();
    join(outside);
    end(runtime);
}

#[test]
fn no_permit_is_lost_when_two_sides_unpark() {
    Model::new()
        .schedules(500)
        .check(|| from_two_sides(Idle::Park));
}

#[test]
fn no_permit_is_lost_in_the_slot_of_a_spinning_cpu() {
    Model::new()
        .schedules(200)
        .check(|| from_two_sides(SPIN_THEN_PARK));
}

#[test]
fn no_permit_is_lost_on_three_cpus() {
    Model::new()
        .cpus(3)
        .schedules(300)
        .check(|| from_two_sides(Idle::Park));
}
