//! Parking against unparking: no permit is lost, whoever races with whom.
//!
//! Each shape counts: a wake-up that got lost leaves its counter short for ever, and the watchdog ends the
//! process. The full numbers, a million races in all, need an optimised build; a debug build does a tenth.

mod common;
#[path = "common/kit.rs"]
mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;

use common::{Exclusive, prio, runtime};
use corelane::{CpuSet, JoinHandle, Task, task};
use kit::{Rng, every, has_two_cpus, only};

/// `full` races, or a tenth of them without optimisation.
fn races(full: u64) -> u64 {
    if cfg!(debug_assertions) {
        println!("a debug build does a tenth of {full} races");
        return full / 10;
    }
    full
}

/// Waits for its turn, takes it, passes it on; `rounds` times. The turn is a number: even is ours.
fn volley(turn: &AtomicU64, parity: u64, rounds: u64, wait: impl Fn(), wake: impl Fn()) {
    for round in 0..rounds {
        while turn.load(SeqCst) != 2 * round + parity {
            wait();
        }
        turn.store(2 * round + parity + 1, SeqCst);
        wake();
    }
}

/// Two tasks that wake each other in turn.
fn ping_pong(runtime: &Exclusive, first: CpuSet, second: CpuSet, prios: [u8; 2], rounds: u64) {
    let turn = Arc::new(AtomicU64::new(0));
    let build = |affinity, value| {
        runtime
            .build_task()
            .priority(prio(value))
            .affinity(affinity)
    };
    let (send, receive) = std::sync::mpsc::channel::<Task>();
    let turns = turn.clone();
    let pong: JoinHandle<()> = build(second, prios[1]).spawn(move || {
        task::park(); // until the other handle has been sent
        let ping = receive.recv().unwrap();
        volley(&turns, 1, rounds, task::park, || ping.unpark());
    });
    let (turns, partner) = (turn.clone(), pong.task());
    let ping = build(first, prios[0])
        .spawn(move || volley(&turns, 0, rounds, task::park, || partner.unpark()));
    send.send(ping.task()).unwrap();
    pong.task().unpark();
    ping.join().unwrap();
    pong.join().unwrap();
    assert_eq!(turn.load(SeqCst), 2 * rounds);
}

#[test]
fn a_thread_and_a_task_wake_each_other() {
    let (runtime, turn, rounds) = (runtime(), Arc::new(AtomicU64::new(0)), races(150_000) / 2);
    let (turns, thread) = (turn.clone(), std::thread::current());
    let handle = runtime.spawn(prio(50), move || {
        volley(&turns, 1, rounds, task::park, || thread.unpark())
    });
    let task = handle.task();
    volley(&turn, 0, rounds, std::thread::park, || task.unpark());
    handle.join().unwrap();
    assert_eq!(turn.load(SeqCst), 2 * rounds);
}

#[test]
fn two_tasks_on_one_cpu_wake_each_other() {
    let runtime = runtime();
    let (here, rounds) = (only(&runtime, 0), races(250_000) / 2);
    ping_pong(&runtime, here.clone(), here.clone(), [50, 50], rounds / 2);
    ping_pong(&runtime, here.clone(), here, [50, 60], rounds / 2);
}

#[test]
fn two_tasks_on_two_cpus_wake_each_other() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let rounds = races(200_000) / 2;
    ping_pong(
        &runtime,
        only(&runtime, 0),
        only(&runtime, 1),
        [50, 50],
        rounds,
    );
}

#[test]
fn two_tasks_that_may_be_anywhere_wake_each_other() {
    let runtime = runtime();
    let rounds = races(100_000) / 2;
    ping_pong(&runtime, every(&runtime), every(&runtime), [50, 40], rounds);
}

/// A consumer that parks until it has seen `total`, waiting by `wait`.
fn consumer(
    runtime: &Exclusive,
    produced: &Arc<AtomicU64>,
    total: u64,
    wait: impl Fn(&mut Rng) + Send + 'static,
) -> JoinHandle<u64> {
    let produced = produced.clone();
    runtime.spawn(prio(60), move || {
        let (mut rng, mut looks) = (Rng::new(5), 0);
        while produced.load(SeqCst) < total {
            looks += 1;
            wait(&mut rng);
        }
        looks
    })
}

/// Two threads and two tasks that each add `each` and unpark after every step.
fn produce(runtime: &Exclusive, produced: &Arc<AtomicU64>, each: u64, sleeper: &Task) {
    let step = |produced: &AtomicU64, sleeper: &Task| {
        produced.fetch_add(1, SeqCst);
        sleeper.unpark();
    };
    let task = |_| {
        let (produced, sleeper) = (produced.clone(), sleeper.clone());
        runtime.spawn(prio(50), move || {
            (0..each).for_each(|_| step(&produced, &sleeper))
        })
    };
    let tasks: Vec<_> = (0..2).map(task).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..each).for_each(|_| step(produced, sleeper)));
        }
    });
    tasks.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn four_unparkers_of_one_task_lose_nothing() {
    let (runtime, produced) = (runtime(), Arc::new(AtomicU64::new(0)));
    let each = races(150_000) / 4;
    let consumer = consumer(&runtime, &produced, 4 * each, |_| task::park());
    produce(&runtime, &produced, each, &consumer.task());
    let looks = consumer.join().unwrap();
    assert!(
        looks <= 4 * each,
        "{looks} returns from park for {} permits",
        4 * each
    );
}

#[test]
fn a_timeout_that_races_with_an_unpark_loses_nothing() {
    let (runtime, produced) = (runtime(), Arc::new(AtomicU64::new(0)));
    let each = races(100_000) / 4;
    // Timeouts from nothing to about what a wake takes, so that both ends meet in the middle; and now and
    // then a wait without a limit, which a lost permit would make endless.
    let consumer = consumer(&runtime, &produced, 4 * each, |rng| match rng.below(8) {
        0 => task::park(),
        _ => _ = task::park_timeout(Duration::from_nanos(rng.below(20_000) as u64)),
    });
    produce(&runtime, &produced, each, &consumer.task());
    consumer.join().unwrap();
}

#[test]
fn a_timeout_says_exactly_whether_there_was_a_permit() {
    let runtime = runtime();
    let (given, rounds) = (Arc::new(AtomicU64::new(0)), races(50_000));
    let turn = given.clone();
    // One permit per round. Whatever the timeout says, the permit is taken once: by the timed wait if it
    // says so, else by the wait that follows.
    let handle = runtime.spawn(prio(60), move || {
        let (mut rng, mut timed) = (Rng::new(6), 0_u64);
        for round in 1..=rounds {
            turn.store(round, SeqCst);
            if task::park_timeout(Duration::from_nanos(rng.below(6_000) as u64)) {
                timed += 1;
            } else {
                task::park();
            }
        }
        assert!(
            !task::park_timeout(Duration::ZERO),
            "no permit is left over"
        );
        timed
    });
    let task = handle.task();
    for round in 1..=rounds {
        let mut looks = 0_u32;
        while given.load(SeqCst) < round {
            looks += 1;
            // On one CPU the task needs this one.
            if looks.is_multiple_of(64) {
                std::thread::sleep(Duration::ZERO)
            } else {
                std::hint::spin_loop()
            }
        }
        task.unpark();
    }
    let timed = handle.join().unwrap();
    println!("{timed} of {rounds} permits came in time");
}
