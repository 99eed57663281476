//! A yield between two equals on one CPU: each yields to the other, over and over.
//!
//! A kernel thread that yields to its equal enters the kernel, whose scheduler leaves on another
//! stack; a task does the same by a function call. Peers: two SCHED_FIFO threads of one level, `may`
//! with one worker, tokio's current-thread runtime, all on the same CPU and level as ours. In each arm
//! one unit of execution starts two yielders and joins them; starts and joins are a handful among
//! thousands of yields.

use corelane::{Priority, task};
use corelane_benches::{Block, Claim, Need, Seat, Stopwatch, time_both};

use crate::may_worker;
use crate::one_cpu::OneCpu;
use crate::rows::Row;
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "yield_now",
    about: "a yield between two equals: FIFO threads with sched_yield, may, tokio",
    compare,
};

/// `may` and tokio switch in user space as well, the kernel does not.
const TARGET_THREADS: f64 = 0.08;
const TARGET_MAY: f64 = 0.8;
const TARGET_TOKIO: f64 = 0.5;

fn compare(run: &mut Run) {
    let cpu = OneCpu::new(&run.site);
    let mut ours = |yields| corelane(&cpu, yields);
    let threads = Claim::throughput("FIFO threads, sched_yield").at_most(TARGET_THREADS);
    run.compare(threads, &[Need::Fifo], &mut ours, &mut |yields| {
        sched_yield(cpu.seat(), yields)
    });
    let claim = Claim::throughput("may").at_most(TARGET_MAY);
    run.compare(claim, &[], &mut ours, &mut |yields| may(&cpu, yields));
    let claim = Claim::throughput("tokio").at_most(TARGET_TOKIO);
    run.compare(claim, &[], &mut ours, &mut |yields| tokio(&cpu, yields));
}

/// So many yields, half by each of two tasks.
pub(crate) fn corelane(cpu: &OneCpu, yields: u64) -> Block {
    cpu.in_task(move || {
        let each = yields / 2;
        let yielder = move || (0..each).for_each(|_| task::yield_now());
        let start = || task::spawn(Priority::MIN, yielder);
        let (one, other) = (start(), start());
        let watch = Stopwatch::start();
        one.join().expect("it yields and returns");
        other.join().expect("it yields and returns");
        watch.throughput(2 * each)
    })
}

/// So many yields, half by each of two kernel threads on one seat.
pub(crate) fn sched_yield(seat: Seat, yields: u64) -> Block {
    let each = yields / 2;
    let block = time_both([seat; 2], each, move |_| {
        (0..each).for_each(|_| kernel_yield());
    });
    Block {
        // The kernel counts a yield that reaches the other thread as involuntary.
        interruptions: block.interruptions.saturating_sub(2 * each),
        ..block
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the peer is the kernel's own yield"
)]
fn kernel_yield() {
    std::thread::yield_now();
}

fn may(cpu: &OneCpu, yields: u64) -> Block {
    cpu.in_coroutine(move || {
        let each = yields / 2;
        let yielder = move || (0..each).for_each(|_| may::coroutine::yield_now());
        let (one, other) = (may_worker::spawn(yielder), may_worker::spawn(yielder));
        let watch = Stopwatch::start();
        one.join().expect("it yields and returns");
        other.join().expect("it yields and returns");
        watch.throughput(2 * each)
    })
}

fn tokio(cpu: &OneCpu, yields: u64) -> Block {
    let each = yields / 2;
    let yielder = move || async move {
        for _ in 0..each {
            tokio::task::yield_now().await;
        }
    };
    cpu.in_tokio(move || async move {
        let (one, other) = (tokio::spawn(yielder()), tokio::spawn(yielder()));
        let watch = Stopwatch::start();
        one.await.expect("it yields and returns");
        other.await.expect("it yields and returns");
        watch.throughput(2 * each)
    })
}
