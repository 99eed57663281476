//! A waker and a woken: as tasks, and as kernel threads.
//!
//! The rows about waking differ in where the two are and in what the woken's CPU does meanwhile; the
//! timestamps, the gaps and the answer are the same in every arm (see [`Exchange`]).

use std::sync::Arc;

use corelane::{TaskBuilder, task};
use corelane_benches::{
    Block, Doorbell, Exchange, GapNs, Random, Seat, Stamp, Stopwatch, involuntary_switches,
    middle_ns, run_both,
};

/// How two threads wake each other.
pub(crate) struct Way {
    pub(crate) gap: GapNs,
    ring: fn(&Doorbell),
    wait: fn(&Doorbell, u32) -> u32,
}

impl Way {
    /// One stores, the other polls.
    pub(crate) const fn polling(gap: GapNs) -> Way {
        Way {
            gap,
            ring: Doorbell::ring,
            wait: Doorbell::poll,
        }
    }

    /// One claims the sleeper and stores, the other says that it sleeps and polls.
    pub(crate) const fn claimed(gap: GapNs) -> Way {
        Way {
            gap,
            ring: Doorbell::ring_claimed,
            wait: Doorbell::poll_claimed,
        }
    }

    /// One calls a futex wake, the other sleeps in a futex wait.
    pub(crate) const fn asleep(gap: GapNs) -> Way {
        Way {
            gap,
            ring: Doorbell::ring_asleep,
            wait: Doorbell::sleep,
        }
    }
}

/// The woken polls again within a fraction of a microsecond.
pub(crate) const POLLING: Way = Way::polling(GapNs {
    min: 3_000,
    max: 9_000,
});

/// The same, and any waker could have come.
pub(crate) const CLAIMED: Way = Way::claimed(POLLING.gap);

/// The woken's CPU has to become idle in the kernel.
pub(crate) const ASLEEP: Way = Way::asleep(GapNs {
    min: 30_000,
    max: 60_000,
});

/// So many wakes of one task by another; the builders say where they are.
pub(crate) fn tasks(
    stamp: Stamp,
    [waker, woken]: [TaskBuilder; 2],
    gap: GapNs,
    wakes: u64,
) -> Block {
    let exchange = Arc::new(Exchange::default());
    let woken = woken.spawn({
        let exchange = exchange.clone();
        move || serve(&exchange, stamp, task::park)
    });
    exchange.await_ready();
    let target = woken.task();
    let waker = waker.spawn(move || sample(&exchange, stamp, (wakes, gap), || target.unpark()));
    let block = waker.join().expect("the waker returns");
    with(block, woken.join().expect("the woken returns"))
}

/// So many wakes of one kernel thread by another.
pub(crate) fn threads(
    stamp: Stamp,
    [waker, woken]: [Seat; 2],
    way: &'static Way,
    wakes: u64,
) -> Block {
    let (exchange, doorbell) = (Exchange::default(), Doorbell::default());
    let [waker, woken] = run_both([waker, woken], move |one| match one {
        0 => {
            exchange.await_ready();
            let plan = (wakes, way.gap);
            sample(&exchange, stamp, plan, || (way.ring)(&doorbell))
        }
        _ => {
            let mut seen = 0;
            let wait = || seen = (way.wait)(&doorbell, seen);
            let interruptions = serve(&exchange, stamp, wait);
            Block::of_throughput(wakes, 0, interruptions)
        }
    });
    with(waker, woken.interruptions)
}

/// Runs `one_way` with half of the wakes from either end, 0 and 1. The cost is the mean of the two
/// middles, where a constant difference of the CPUs' counters cancels; at least 1.
pub(crate) fn both_ways(wakes: u64, mut one_way: impl FnMut(u64, usize) -> Block) -> Block {
    let half = wakes.div_ceil(2);
    let (there, back) = (one_way(half, 0), one_way(half, 1));
    Block {
        costs: [((there.costs[0] + back.costs[0]) / 2.0).max(1.0)],
        length_ns: there.length_ns + back.length_ns,
        interruptions: there.interruptions + back.interruptions,
    }
}

/// The waker's side.
fn sample(exchange: &Exchange, stamp: Stamp, plan: (u64, GapNs), wake: impl Fn()) -> Block {
    let watch = Stopwatch::start();
    let mut samples_ns = exchange.sample(stamp, plan, &mut Random::new(plan.0), wake);
    let block = watch.block([0.0]);
    Block {
        costs: [middle_ns(&mut samples_ns)],
        ..block
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_the_counters_cancels_even_if_it_is_longer_than_the_way() {
        let (way_ns, ahead_ns) = (100, 400);
        let block = both_ways(10, |half, from| {
            assert_eq!(half, 5);
            let sent = 1_000_000;
            let received = match from {
                0 => sent + way_ns - ahead_ns,
                _ => sent + way_ns + ahead_ns,
            };
            let mut samples_ns = [Stamp::Clock.between_ns(sent, received); 5];
            Block {
                costs: [middle_ns(&mut samples_ns)],
                ..Block::of_throughput(half, 1, 0)
            }
        });
        assert_eq!(block.costs, [100.0]);
    }
}
