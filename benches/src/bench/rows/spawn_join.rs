//! Spawning a task and joining it, from inside a task.
//!
//! The new task does nothing, so what is timed is everything around it: allocation, queue, start on
//! a pooled stack, end, result, the joiner's wait. Peers: `std::thread` (a kernel thread, made and
//! ended, which inherits CPU and level from the thread that spawns it), `may` with one worker, tokio's
//! current-thread runtime, all on the same CPU and level as ours. Each arm joins before it spawns the
//! next.

use core::hint::black_box;

use corelane::{Priority, task};
use corelane_benches::{Block, Claim, Stopwatch};

use crate::may_worker;
use crate::one_cpu::OneCpu;
use crate::rows::Row;
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "spawn_join",
    about: "spawning and joining from inside: std::thread, may, tokio",
    compare,
};

const TARGET_THREADS: f64 = 0.01;
const TARGET_MAY: f64 = 0.2;
const TARGET_TOKIO: f64 = 0.5;

fn compare(run: &mut Run) {
    let cpu = OneCpu::new(&run.site);
    let mut ours = |spawns| corelane(&cpu, spawns);
    let claim = Claim::throughput("std::thread").at_most(TARGET_THREADS);
    run.compare(claim, &[], &mut ours, &mut |spawns| threads(&cpu, spawns));
    let claim = Claim::throughput("may").at_most(TARGET_MAY);
    run.compare(claim, &[], &mut ours, &mut |spawns| may(&cpu, spawns));
    let claim = Claim::throughput("tokio").at_most(TARGET_TOKIO);
    run.compare(claim, &[], &mut ours, &mut |spawns| tokio(&cpu, spawns));
}

fn corelane(cpu: &OneCpu, spawns: u64) -> Block {
    let spawn_join = |n| {
        let joined = task::spawn(Priority::MIN, move || n).join();
        black_box(joined.expect("a task that does nothing returns"));
    };
    cpu.in_task(move || timed(spawns, spawn_join))
}

fn threads(cpu: &OneCpu, spawns: u64) -> Block {
    let spawn_join = |n| {
        let joined = std::thread::spawn(move || n).join();
        black_box(joined.expect("a thread that does nothing returns"));
    };
    cpu.in_thread(move || timed(spawns, spawn_join))
}

fn may(cpu: &OneCpu, spawns: u64) -> Block {
    let spawn_join = |n| {
        let joined = may_worker::spawn(move || n).join();
        black_box(joined.expect("a coroutine that does nothing returns"));
    };
    cpu.in_coroutine(move || timed(spawns, spawn_join))
}

fn tokio(cpu: &OneCpu, spawns: u64) -> Block {
    cpu.in_tokio(move || async move {
        let watch = Stopwatch::start();
        for n in 0..spawns {
            let joined = tokio::spawn(async move { n }).await;
            black_box(joined.expect("a future that does nothing returns"));
        }
        watch.throughput(spawns)
    })
}

/// Calls `operation` so many times on the calling thread.
fn timed(operations: u64, operation: impl Fn(u64)) -> Block {
    let watch = Stopwatch::start();
    (0..operations).for_each(operation);
    watch.throughput(operations)
}
