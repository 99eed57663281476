//! The wake of a more urgent task on the same CPU, up to its first instruction.
//!
//! The waker calls, the woken preempts it at once. In the executor that is a queue operation and a
//! switch of stacks; in the kernel a system call, a wake and a context switch. The peer is a futex
//! wake by a FIFO thread of a FIFO thread one level above, pinned to the same CPU.

use std::sync::Arc;

use corelane::{Priority, Runtime, task};
use corelane_benches::{
    Block, Claim, Doorbell, Exchange, GapNs, Need, Random, Site, Stamp, involuntary_switches,
    middle_ns,
};
use corelane_os::clock;

use crate::Run;

const TARGET: f64 = 0.1;
const LOW: Priority = Priority::MIN;
const HIGH: Priority = Priority::MAX;
/// The woken is asleep again before the waker runs; the gap only avoids a fixed phase.
const GAP: GapNs = GapNs {
    min: 500,
    max: 2_000,
};

pub(crate) fn compare(run: &mut Run) {
    let site = run.site.clone();
    let runtime = site
        .runtime(&[site.cpu()])
        .build()
        .expect("a runtime on one CPU");
    let claim = Claim::latency(
        "wake_higher",
        "futex wake of a FIFO thread, same CPU",
        TARGET,
    );
    let mut ours = |wakes| corelane(&runtime, site.stamp, wakes);
    let mut peer = |wakes| kernel(&site, wakes);
    run.compare(claim, &[Need::Fifo], &mut ours, &mut peer);
}

fn corelane(runtime: &Runtime, stamp: Stamp, wakes: u64) -> Block {
    let exchange = Arc::new(Exchange::default());
    let woken = runtime.spawn(HIGH, {
        let exchange = exchange.clone();
        move || exchange.serve(stamp, task::park)
    });
    exchange.await_ready();
    let target = woken.task();
    let waker = runtime.spawn(LOW, move || {
        let interruptions = involuntary_switches();
        let start_ns = clock::now_ns();
        let mut samples_ns = exchange.sample(stamp, (wakes, GAP), &mut Random::new(wakes), || {
            target.unpark()
        });
        let length_ns = clock::now_ns() - start_ns;
        let interruptions = involuntary_switches() - interruptions;
        Block {
            operation_ns: middle_ns(&mut samples_ns),
            length_ns,
            interruptions,
        }
    });
    let block = waker.join().expect("the waker returns");
    woken.join().expect("the woken returns");
    block
}

fn kernel(site: &Site, wakes: u64) -> Block {
    let (stamp, exchange) = (site.stamp, Arc::new(Exchange::default()));
    let doorbell = Arc::new(Doorbell::default());
    let woken = site.seat(site.cpu(), 1).start({
        let (exchange, doorbell) = (exchange.clone(), doorbell.clone());
        move || {
            let mut seen = 0;
            exchange.serve(stamp, || seen = doorbell.sleep(seen));
        }
    });
    exchange.await_ready();
    let waker = site.seat(site.cpu(), 0).start(move || {
        let interruptions = involuntary_switches();
        let start_ns = clock::now_ns();
        let mut samples_ns = exchange.sample(stamp, (wakes, GAP), &mut Random::new(wakes), || {
            doorbell.ring_asleep();
        });
        let length_ns = clock::now_ns() - start_ns;
        // Each wake, the last one included, preempts the waker: that is the operation itself.
        let interruptions = (involuntary_switches() - interruptions).saturating_sub(wakes + 1);
        Block {
            operation_ns: middle_ns(&mut samples_ns),
            length_ns,
            interruptions,
        }
    });
    let block = waker.join().expect("the waker returns");
    woken.join().expect("the woken returns");
    block
}
