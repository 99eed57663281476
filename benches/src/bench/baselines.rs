//! What the kernel's own primitives cost on this machine, in this minute.
//!
//! They are the denominators of most ratios, and they show when the machine is not the one that a
//! reader has in mind: a hypervisor that makes a wake of another CPU ten times as dear, a clock that is
//! a system call. They are absolute and of a few milliseconds each, so they are no claim of anything.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use corelane_benches::{Block, Need, Seat, Site, Stopwatch};
use corelane_os::clock;

use crate::rows::{sched_yield, wake_higher_kernel};
use crate::waking::{ASLEEP, POLLING, both_ways, threads};

/// One primitive.
pub(crate) struct Baseline {
    pub(crate) name: &'static str,
    /// Nanoseconds, or what the host lacks for it.
    pub(crate) cost_ns: Result<f64, Need>,
}

const CALLS: u64 = 20_000;
const WAKES: u64 = 100;
const TRIES: usize = 5;

type Primitive = (&'static str, &'static [Need], fn(&Site) -> Block);

const PRIMITIVES: &[Primitive] = &[
    ("cycle counter, fenced", &[], |site| {
        let stamp = site.stamp;
        repeated(site, move || stamp.now())
    }),
    ("clock_gettime", &[], |site| repeated(site, clock::now_ns)),
    ("locked add", &[], |site| {
        static SUM: AtomicU64 = AtomicU64::new(0);
        // SeqCst: the instruction is what is timed; nobody else looks.
        repeated(site, || SUM.fetch_add(1, SeqCst))
    }),
    ("system call (getppid)", &[], |site| {
        repeated(site, nix::unistd::getppid)
    }),
    ("sched_yield to another thread", &[Need::Fifo], |site| {
        sched_yield(seat(site), CALLS / 4)
    }),
    (
        "futex wake, higher thread, same CPU",
        &[Need::Fifo],
        |site| wake_higher_kernel(site, WAKES),
    ),
    (
        "futex wake, idle CPU",
        &[Need::Fifo, Need::TwoCpus],
        |site| {
            let seats = site.pair().map(|cpu| site.seat(cpu, 0));
            both_ways(WAKES, |half, from| {
                threads(site.stamp, [seats[from], seats[1 - from]], &ASLEEP, half)
            })
        },
    ),
    ("cache line, one way", &[Need::TwoCpus], |site| {
        let seats = site.pair().map(|cpu| site.seat(cpu, 0));
        both_ways(WAKES, |half, from| {
            threads(site.stamp, [seats[from], seats[1 - from]], &POLLING, half)
        })
    }),
];

/// Measures every primitive that the host has what it takes for.
pub(crate) fn measure(site: &Site) -> Vec<Baseline> {
    let baseline = |&(name, needs, primitive): &Primitive| Baseline {
        name,
        cost_ns: match site.lacks(needs) {
            Some(need) => Err(need),
            None => Ok(least(|| primitive(site).costs[0])),
        },
    };
    PRIMITIVES.iter().map(baseline).collect()
}

/// The least of a few tries: whatever disturbs one makes it dearer.
fn least(cost_ns: impl Fn() -> f64) -> f64 {
    let tries = (0..TRIES).map(|_| cost_ns());
    tries.fold(f64::INFINITY, f64::min)
}

fn repeated<T>(site: &Site, call: impl Fn() -> T + Send + 'static) -> Block {
    seat(site).run(move || {
        let watch = Stopwatch::start();
        (0..CALLS).for_each(|_| drop(black_box(call())));
        watch.throughput(CALLS)
    })
}

fn seat(site: &Site) -> Seat {
    site.seat(site.cpu(), 0)
}
