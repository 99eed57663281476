//! Spawning a task and joining it, from inside a task.
//!
//! The new task does nothing, so what is timed is everything around it: allocation, queue, start on
//! a pooled stack, end, result, the joiner's wait. Peers: `std::thread` (a kernel thread, made and
//! ended, on the same CPU and level), `may` with one worker, tokio's current-thread runtime.

use core::hint::black_box;

use corelane::{Priority, Runtime, task};
use corelane_benches::{Block, Claim, Seat, involuntary_switches};
use corelane_os::clock;

use crate::Run;
use crate::may_worker::{self, MayWorker};

const TARGET_THREADS: f64 = 0.01;
const TARGET_MAY: f64 = 0.2;
const TARGET_TOKIO: f64 = 0.5;

pub(crate) fn compare(run: &mut Run) {
    let runtime = run
        .site
        .runtime(&[run.site.cpu()])
        .build()
        .expect("a runtime on one CPU");
    let seat = run.site.seat(run.site.cpu(), 0);
    let mut ours = |spawns| corelane(&runtime, spawns);
    let claim = |peer, target| Claim::throughput("spawn_join", peer, target);
    let threads = claim("std::thread", TARGET_THREADS);
    run.compare(threads, &[], &mut ours, &mut |spawns| {
        std_thread(seat, spawns)
    });
    let worker = MayWorker::seated(&run.site);
    run.compare(claim("may", TARGET_MAY), &[], &mut ours, &mut |spawns| {
        may(worker, spawns)
    });
    run.compare(
        claim("tokio", TARGET_TOKIO),
        &[],
        &mut ours,
        &mut |spawns| tokio(seat, spawns),
    );
}

fn corelane(runtime: &Runtime, spawns: u64) -> Block {
    let spawn_join = |n| {
        let joined = task::spawn(Priority::MIN, move || n).join();
        black_box(joined.expect("a task that does nothing returns"));
    };
    let measure = move || timed(spawns, spawn_join);
    runtime
        .spawn(Priority::MIN, measure)
        .join()
        .expect("a measuring task returns")
}

fn std_thread(seat: Seat, spawns: u64) -> Block {
    let spawn_join = |n| {
        let joined = std::thread::spawn(move || n).join();
        black_box(joined.expect("a thread that does nothing returns"));
    };
    seat.run(move || timed(spawns, spawn_join))
}

fn may(worker: MayWorker, spawns: u64) -> Block {
    let spawn_join = |n| {
        let joined = may_worker::spawn(move || n).join();
        black_box(joined.expect("a coroutine that does nothing returns"));
    };
    worker.run(move || timed(spawns, spawn_join))
}

fn tokio(seat: Seat, spawns: u64) -> Block {
    seat.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let interruptions = involuntary_switches();
        let length_ns = runtime.block_on(async {
            let start_ns = clock::now_ns();
            for n in 0..spawns {
                let joined = tokio::spawn(async move { n }).await;
                black_box(joined.expect("a future that does nothing returns"));
            }
            clock::now_ns() - start_ns
        });
        Block::of_throughput(spawns, length_ns, involuntary_switches() - interruptions)
    })
}

/// Calls `operation` so many times on the calling thread.
fn timed(operations: u64, operation: impl Fn(u64)) -> Block {
    let interruptions = involuntary_switches();
    let start_ns = clock::now_ns();
    (0..operations).for_each(operation);
    let length_ns = clock::now_ns() - start_ns;
    Block::of_throughput(
        operations,
        length_ns,
        involuntary_switches() - interruptions,
    )
}
