//! A yield between two equals on one CPU: each yields to the other, over and over.
//!
//! A kernel thread that yields to its equal enters the kernel, whose scheduler leaves on another
//! stack; a task does the same by a function call. Peers: two SCHED_FIFO threads of one level, `may`
//! with one worker, tokio's current-thread runtime.

use std::sync::{Arc, Barrier};

use corelane::{Priority, Runtime, task};
use corelane_benches::{Block, Claim, Need, Seat, involuntary_switches};
use corelane_os::clock;

use crate::Run;
use crate::may_worker::{self, MayWorker};

/// `may` and tokio switch in user space as well, the kernel does not.
const TARGET_THREADS: f64 = 0.08;
const TARGET_MAY: f64 = 0.8;
const TARGET_TOKIO: f64 = 0.5;

pub(crate) fn compare(run: &mut Run) {
    let runtime = run
        .site
        .runtime(&[run.site.cpu()])
        .build()
        .expect("a runtime on one CPU");
    let seat = run.site.seat(run.site.cpu(), 0);
    let mut ours = |yields| corelane(&runtime, yields);
    let claim = |peer, target| Claim::throughput("yield_now", peer, target);
    let threads = claim("FIFO threads, sched_yield", TARGET_THREADS);
    run.compare(threads, &[Need::Fifo], &mut ours, &mut |yields| {
        sched_yield(seat, yields)
    });
    let worker = MayWorker::seated(&run.site);
    run.compare(claim("may", TARGET_MAY), &[], &mut ours, &mut |yields| {
        may(worker, yields)
    });
    run.compare(
        claim("tokio", TARGET_TOKIO),
        &[],
        &mut ours,
        &mut |yields| tokio(seat, yields),
    );
}

fn corelane(runtime: &Runtime, yields: u64) -> Block {
    let measure = move || {
        let each = yields / 2;
        let interruptions = involuntary_switches();
        let yielder = move || (0..each).for_each(|_| task::yield_now());
        let priority = Priority::MIN;
        let (one, other) = (
            task::spawn(priority, yielder),
            task::spawn(priority, yielder),
        );
        let start_ns = clock::now_ns();
        one.join().expect("it yields and returns");
        other.join().expect("it yields and returns");
        let length_ns = clock::now_ns() - start_ns;
        Block::of_throughput(2 * each, length_ns, involuntary_switches() - interruptions)
    };
    runtime
        .spawn(Priority::MIN, measure)
        .join()
        .expect("a measuring task returns")
}

fn sched_yield(seat: Seat, yields: u64) -> Block {
    let each = yields / 2;
    let both_seated = Arc::new(Barrier::new(2));
    let start = || {
        let both_seated = both_seated.clone();
        seat.start(move || {
            both_seated.wait();
            let (start_ns, interruptions) = (clock::now_ns(), involuntary_switches());
            (0..each).for_each(|_| kernel_yield());
            (
                start_ns,
                clock::now_ns(),
                involuntary_switches() - interruptions,
            )
        })
    };
    let ends = [start(), start()].map(|thread| thread.join().expect("a yielder returns"));
    let start_ns = ends.iter().map(|end| end.0).min().expect("two ends");
    let end_ns = ends.iter().map(|end| end.1).max().expect("two ends");
    // The kernel counts a yield that reaches the other thread as involuntary.
    let switches: u64 = ends.iter().map(|end| end.2).sum();
    Block::of_throughput(
        2 * each,
        end_ns - start_ns,
        switches.saturating_sub(2 * each),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the peer is the kernel's own yield"
)]
fn kernel_yield() {
    std::thread::yield_now();
}

fn may(worker: MayWorker, yields: u64) -> Block {
    worker.run(move || {
        let each = yields / 2;
        let yielder = move || (0..each).for_each(|_| may::coroutine::yield_now());
        let interruptions = involuntary_switches();
        let start_ns = clock::now_ns();
        let (one, other) = (may_worker::spawn(yielder), may_worker::spawn(yielder));
        one.join().expect("it yields and returns");
        other.join().expect("it yields and returns");
        let length_ns = clock::now_ns() - start_ns;
        Block::of_throughput(2 * each, length_ns, involuntary_switches() - interruptions)
    })
}

fn tokio(seat: Seat, yields: u64) -> Block {
    seat.run(move || {
        let each = yields / 2;
        let yielder = move || async move {
            for _ in 0..each {
                tokio::task::yield_now().await;
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let interruptions = involuntary_switches();
        let length_ns = runtime.block_on(async {
            let start_ns = clock::now_ns();
            let (one, other) = (tokio::spawn(yielder()), tokio::spawn(yielder()));
            one.await.expect("it yields and returns");
            other.await.expect("it yields and returns");
            clock::now_ns() - start_ns
        });
        Block::of_throughput(2 * each, length_ns, involuntary_switches() - interruptions)
    })
}
