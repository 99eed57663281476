//! The steps of steady state, for whoever watches them: an allocator, a tracer, the kernel's own counts.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::Duration;

use corelane::{Idle, PerCpu, Task, TaskBuilder, migrate_disable, task};

use crate::common::{self, Exclusive, prio};
use crate::kit::{breathe, only};

/// A worker with nothing to run polls for longer than any of these tests takes.
pub fn patient() -> Exclusive {
    let idle = Idle::SpinThenPark {
        spin_ns: 2_000_000_000,
    };
    common::builder()
        .map(|builder| builder.idle(idle))
        .build()
        .unwrap()
}

/// Lets the watched steps begin once the thread that spawned the tasks only waits for them.
#[derive(Clone, Default)]
pub struct Start(Arc<AtomicBool>);

/// How often the tasks below have slept in the kernel, outside the watched steps.
pub static SLEEPS: AtomicU64 = AtomicU64::new(0);

impl Start {
    pub fn give(&self) {
        self.0.store(true, SeqCst);
    }

    pub fn wait(&self) {
        while !self.0.load(SeqCst) {
            task::yield_now();
            breathe();
            SLEEPS.fetch_add(1, Relaxed);
        }
        // The thread that gave it has gone to sleep by then, or is about to.
        std::thread::sleep(Duration::from_millis(2));
        SLEEPS.fetch_add(1, Relaxed);
    }
}

/// What happens before and after the steps that are watched.
pub trait Watch: Send + 'static {
    /// Called by each task whose worker is watched.
    fn begin(&self);
    fn end(&self);
}

pub const STEPS: u64 = 40_000;

/// Two tasks of one CPU that give way to each other and hold guards.
pub fn yield_and_hold(runtime: &Exclusive, watch: impl Watch) {
    let hits = Arc::new(PerCpu::new(runtime.cpus(), |_| AtomicU64::new(0)));
    let (turns, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let build = || {
        runtime
            .build_task()
            .priority(prio(50))
            .affinity(only(runtime, 0))
    };
    let (turn, until) = (turns.clone(), over.clone());
    let peer = build().spawn(move || {
        while !until.load(SeqCst) {
            turn.fetch_add(1, Relaxed);
            task::yield_now();
        }
    });
    let start = Start::default();
    let go = start.clone();
    let main = build().spawn(move || {
        go.wait();
        (0..100).for_each(|_| task::yield_now());
        watch.begin();
        for _ in 0..STEPS {
            let guard = migrate_disable();
            let inner = migrate_disable();
            hits.get(&guard).fetch_add(1, Relaxed);
            task::yield_now();
            drop(inner);
            task::checkpoint();
            drop(guard);
        }
        watch.end();
        over.store(true, SeqCst);
    });
    start.give();
    main.join().unwrap();
    peer.join().unwrap();
    assert!(turns.load(Relaxed) >= STEPS, "each yield gave way");
}

pub const VOLLEYS: u64 = 4_000;

/// Two tasks on two CPUs that wake each other, each CPU polling while the other runs.
pub fn wake_across(runtime: &Exclusive, watch: impl Watch + Clone) {
    let mark_ends = |watch: &_, round: u64| match round {
        100 => Watch::begin(watch),
        round if round == VOLLEYS + 100 => Watch::end(watch),
        _ => {}
    };
    let other_watch = watch.clone();
    let turn = Arc::new(AtomicU64::new(0));
    let build = |cpu| {
        runtime
            .build_task()
            .priority(prio(50))
            .affinity(only(runtime, cpu))
    };
    let (send, receive) = std::sync::mpsc::channel::<Task>();
    let turns = turn.clone();
    let pong = build(1).spawn(move || {
        let ping = receive.recv().unwrap();
        for round in 0..VOLLEYS + 200 {
            mark_ends(&other_watch, round);
            while turns.load(SeqCst) != 2 * round + 1 {
                task::park();
            }
            turns.store(2 * round + 2, SeqCst);
            ping.unpark();
        }
    });
    let (turns, partner) = (turn.clone(), pong.task());
    let start = Start::default();
    let go = start.clone();
    let ping = build(0).spawn(move || {
        go.wait();
        for round in 0..VOLLEYS + 200 {
            mark_ends(&watch, round);
            while turns.load(SeqCst) != 2 * round {
                task::park();
            }
            turns.store(2 * round + 1, SeqCst);
            partner.unpark();
        }
    });
    send.send(ping.task()).unwrap();
    start.give();
    ping.join().unwrap();
    pong.join().unwrap();
    let slots = runtime.stats().wakes_slot;
    assert!(slots > VOLLEYS, "{slots} wakes went to a polling CPU");
}

/// A task that is woken by one above it on the same CPU, which preempts.
pub fn wake_on_one_cpu(runtime: &Exclusive, watch: impl Watch) {
    let build = |value| {
        runtime
            .build_task()
            .priority(prio(value))
            .affinity(only(runtime, 0))
    };
    let woken = Arc::new(AtomicU64::new(0));
    let (seen, total) = (woken.clone(), VOLLEYS + 101);
    let high = build(60).spawn(move || {
        while seen.fetch_add(1, SeqCst) < total {
            task::park();
        }
    });
    let partner = high.task();
    let start = Start::default();
    let go = start.clone();
    let low = build(50).spawn(move || {
        go.wait();
        (0..100).for_each(|_| partner.unpark());
        watch.begin();
        (0..VOLLEYS).for_each(|_| partner.unpark());
        watch.end();
        partner.unpark(); // this one lets it end
    });
    start.give();
    low.join().unwrap();
    high.join().unwrap();
    assert_eq!(woken.load(SeqCst), total + 1, "each wake preempted");
}

/// Runs one task on the first CPU: `prepare`, then `steps` under watch.
fn watched<W: Watch>(
    runtime: &Exclusive,
    watch: W,
    prepare: impl FnOnce() + Send + 'static,
    steps: impl FnOnce() + Send + 'static,
) {
    let start = Start::default();
    let go = start.clone();
    let first_cpu = on_first_cpu(runtime, 50);
    let task = first_cpu.spawn(move || {
        go.wait();
        prepare();
        watch.begin();
        steps();
        watch.end();
    });
    start.give();
    task.join().unwrap();
}

fn on_first_cpu(runtime: &Exclusive, priority: u8) -> TaskBuilder {
    let builder = runtime.build_task().priority(prio(priority));
    builder.affinity(only(runtime, 0))
}

/// How many rounds of [`spawn_and_join`] are watched; each spawns two tasks.
pub const SPAWNS: u64 = 500;

/// A task that spawns and joins one above it, which preempts, and one below, for which it waits.
pub fn spawn_and_join(runtime: &Exclusive, watch: impl Watch) {
    let (above, below) = (on_first_cpu(runtime, 60), on_first_cpu(runtime, 40));
    let rounds = move |rounds: u64| {
        for round in 0..rounds {
            let high = above.clone().spawn(move || round);
            assert_eq!(high.join().unwrap(), round);
            let low = below.clone().spawn(move || round);
            assert_eq!(low.join().unwrap(), round);
        }
    };
    let warm_up = rounds.clone();
    watched(runtime, watch, move || warm_up(100), move || rounds(SPAWNS));
}

/// A task that sleeps, again and again, while its CPU polls for the deadline.
pub fn timers(runtime: &Exclusive, watch: impl Watch) {
    let rounds = |rounds| move || (0..rounds).for_each(|_| task::sleep(Duration::from_micros(50)));
    watched(runtime, watch, rounds(10), rounds(200));
}

/// Yields with something that does not belong there in the middle: whoever watches must see it.
pub fn with_a_slip(runtime: &Exclusive, watch: impl Watch, slip: impl FnOnce() + Send + 'static) {
    let yields = || (0..100).for_each(|_| task::yield_now());
    watched(runtime, watch, yields, move || {
        yields();
        slip();
        yields();
    });
}
