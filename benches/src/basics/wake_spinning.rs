//! The wake of a task whose CPU polls for work, from another CPU, up to its first instruction.
//!
//! Such a wake should cost little more than a cache line on its way: the waker stores, the idle
//! worker sees the line change, takes the task out and switches to it. Peers: that line alone,
//! between two pinned threads, and what a program of threads does instead, a futex wake of a FIFO
//! thread on an idle CPU.
//!
//! A block is half in one direction and half in the other, and its result is the mean of the two
//! middles, where a constant difference of the CPUs' counters cancels.

use std::sync::Arc;

use corelane::{CpuId, CpuSet, Idle, Priority, Runtime, task};
use corelane_benches::{
    Block, Claim, Doorbell, Exchange, GapNs, Need, Random, Seat, Site, Stamp, involuntary_switches,
    middle_ns,
};
use corelane_os::clock;

use crate::Run;

const TARGET_LINE: f64 = 3.0;
const TARGET_FUTEX: f64 = 0.15;

/// Longer than any gap, shorter than the pause between blocks: polling is over before the next.
const SPIN_NS: u64 = 1_000_000;
/// The woken polls again within a fraction of a microsecond.
const GAP_POLLING: GapNs = GapNs {
    min: 3_000,
    max: 9_000,
};
/// The woken's CPU has to become idle in the kernel.
const GAP_ASLEEP: GapNs = GapNs {
    min: 30_000,
    max: 60_000,
};

pub(crate) fn compare(run: &mut Run) {
    let site = run.site.clone();
    let claim = |peer, target| Claim::latency("wake_spinning", peer, target);
    let line = claim("cache line, one way", TARGET_LINE);
    let futex = claim("futex wake of a FIFO thread, idle CPU", TARGET_FUTEX);
    if site.cpus() < 2 {
        return [line, futex]
            .into_iter()
            .for_each(|claim| run.leave_out(claim, Need::TwoCpus));
    }
    let spin = Idle::SpinThenPark { spin_ns: SPIN_NS };
    let runtime = site
        .runtime(&site.pair())
        .idle(spin)
        .build()
        .expect("a runtime on two CPUs");
    let mut ours = |wakes| {
        both_ways(wakes, |half, from| {
            corelane(&runtime, site.stamp, half, from)
        })
    };
    let mut polling = |wakes| both_ways(wakes, |half, from| threads(&site, half, from, &POLLING));
    run.compare(line, &[Need::TwoCpus], &mut ours, &mut polling);
    let mut asleep = |wakes| both_ways(wakes, |half, from| threads(&site, half, from, &ASLEEP));
    run.compare(futex, &[Need::TwoCpus, Need::Fifo], &mut ours, &mut asleep);
}

/// Runs `one_way` with so many wakes from either end of the pair.
fn both_ways(wakes: u64, mut one_way: impl FnMut(u64, usize) -> Block) -> Block {
    let half = wakes.div_ceil(2);
    let (there, back) = (one_way(half, 0), one_way(half, 1));
    Block {
        operation_ns: (there.operation_ns + back.operation_ns) / 2.0,
        length_ns: there.length_ns + back.length_ns,
        interruptions: there.interruptions + back.interruptions,
    }
}

fn corelane(runtime: &Runtime, stamp: Stamp, wakes: u64, from: usize) -> Block {
    let on = |slot| {
        let only: CpuSet = single(runtime.cpus(), slot);
        runtime.build_task().priority(Priority::MIN).affinity(only)
    };
    let exchange = Arc::new(Exchange::default());
    let woken = on(1 - from).spawn({
        let exchange = exchange.clone();
        move || serve(&exchange, stamp, task::park)
    });
    exchange.await_ready();
    let target = woken.task();
    let waker =
        on(from).spawn(move || sample(&exchange, stamp, (wakes, GAP_POLLING), || target.unpark()));
    let block = waker.join().expect("the waker returns");
    with(block, woken.join().expect("the woken returns"))
}

fn single(cpus: usize, slot: usize) -> CpuSet {
    let mut only = CpuSet::empty(cpus);
    only.insert(CpuId::new(slot));
    only
}

/// How two threads wake each other.
struct Way {
    gap: GapNs,
    ring: fn(&Doorbell),
    wait: fn(&Doorbell, u32) -> u32,
}

const POLLING: Way = Way {
    gap: GAP_POLLING,
    ring: Doorbell::ring,
    wait: Doorbell::poll,
};
const ASLEEP: Way = Way {
    gap: GAP_ASLEEP,
    ring: Doorbell::ring_asleep,
    wait: Doorbell::sleep,
};

fn threads(site: &Site, wakes: u64, from: usize, way: &'static Way) -> Block {
    let (stamp, exchange) = (site.stamp, Arc::new(Exchange::default()));
    let doorbell = Arc::new(Doorbell::default());
    let seat = |end: usize| -> Seat { site.seat(site.pair()[end], 0) };
    let woken = seat(1 - from).start({
        let (exchange, doorbell) = (exchange.clone(), doorbell.clone());
        move || {
            let mut seen = 0;
            serve(&exchange, stamp, || seen = (way.wait)(&doorbell, seen))
        }
    });
    exchange.await_ready();
    let waker = seat(from)
        .start(move || sample(&exchange, stamp, (wakes, way.gap), || (way.ring)(&doorbell)));
    let block = waker.join().expect("the waker returns");
    with(block, woken.join().expect("the woken returns"))
}

/// The waker's side.
fn sample(exchange: &Exchange, stamp: Stamp, plan: (u64, GapNs), wake: impl Fn()) -> Block {
    let interruptions = involuntary_switches();
    let start_ns = clock::now_ns();
    let mut samples_ns = exchange.sample(stamp, plan, &mut Random::new(plan.0), wake);
    Block {
        operation_ns: middle_ns(&mut samples_ns),
        length_ns: clock::now_ns() - start_ns,
        interruptions: involuntary_switches() - interruptions,
    }
}

/// The woken's side; returns how often it was interrupted.
fn serve(exchange: &Exchange, stamp: Stamp, wait: impl FnMut()) -> u64 {
    let interruptions = involuntary_switches();
    exchange.serve(stamp, wait);
    involuntary_switches() - interruptions
}

fn with(block: Block, interruptions: u64) -> Block {
    Block {
        interruptions: block.interruptions + interruptions,
        ..block
    }
}
