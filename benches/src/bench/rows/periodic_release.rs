//! How late a loop wakes up that sleeps until absolute times, 1 ms apart.
//!
//! The kernel wakes a sleeper some microseconds late: a timer interrupt, an idle CPU to leave, a context
//! switch. The executor sleeps short of the deadline and spins the rest. Spinning is cheap to win with,
//! so the CPU time of all threads of the runtime is a line of its own, as a share of one CPU. The peer is
//! `clock_nanosleep` to the same kind of deadline in a FIFO thread on the same CPU and level.
//!
//! The tail is that of one block, 200 releases; what is judged is the median of the rounds' ratios, not
//! the worst of the run.

use std::time::{Duration, Instant};

use corelane::task;
use corelane_benches::{Block, Claim, Load, Need, Plan, Stopwatch, Unit, middle_ns, tail_ns};
use corelane_os::clock;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

use crate::cpu_time::Threads;
use crate::one_cpu::OneCpu;
use crate::rows::Row;
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "periodic_release",
    about: "how late a 1 ms period is released, and the CPU time it takes: clock_nanosleep",
    compare,
};

const TARGET_MIDDLE: f64 = 0.05;
const TARGET_TAIL: f64 = 0.25;
const TARGET_CPU: f64 = 0.1;

const PERIOD: Duration = Duration::from_millis(1);
const RELEASES: u64 = 200;

/// The first releases of a block do not count: the runtime learns how late its host is.
const WARM_UP: u64 = 3;

fn compare(run: &mut Run) {
    let before = Threads::all();
    let cpu = OneCpu::new(&run.site);
    let threads = before.started_since();
    let peer = "clock_nanosleep, FIFO thread";
    let claims = [
        Claim::latency(peer).case("p50").at_most(TARGET_MIDDLE),
        Claim::tail(peer).case("p99").at_most(TARGET_TAIL),
        Claim::count("one whole CPU", Unit::Cpu)
            .case("CPU time")
            .at_most(TARGET_CPU),
    ];
    let plan = Plan {
        rounds: run.plan.share(2),
        load: Load::Operations(RELEASES),
        ..run.plan
    };
    let mut ours = |releases| corelane(&cpu, &threads, releases);
    let mut peer = |releases| kernel(&cpu, releases);
    run.compare_each(claims, &[Need::Fifo], &plan, &mut ours, &mut peer);
}

fn corelane(cpu: &OneCpu, threads: &Threads, releases: u64) -> Block<3> {
    let before_ns = threads.spent_ns();
    let block = cpu.in_task(move || {
        let (watch, start) = (Stopwatch::start(), Instant::now());
        let release = |n: u32| {
            let due = start + PERIOD * n;
            task::sleep_until(due);
            Instant::now().duration_since(due).as_nanos() as u64
        };
        lateness(watch, releases, release)
    });
    let spent_ns = threads.spent_ns() - before_ns;
    assert!(spent_ns > 0, "the runtime's threads are not those counted");
    let share = spent_ns as f64 / block.length_ns as f64;
    Block {
        costs: [block.costs[0], block.costs[1], share],
        length_ns: block.length_ns,
        interruptions: block.interruptions,
    }
}

fn kernel(cpu: &OneCpu, releases: u64) -> Block<3> {
    let block = cpu.in_thread(move || {
        let (watch, start_ns) = (Stopwatch::start(), clock::now_ns());
        let release = |n: u32| {
            let due_ns = start_ns + PERIOD.as_nanos() as u64 * u64::from(n);
            nanosleep_until(due_ns);
            clock::now_ns().saturating_sub(due_ns)
        };
        lateness(watch, releases, release)
    });
    Block {
        // One whole CPU is what the share of the other arm is compared with.
        costs: [block.costs[0], block.costs[1], 1.0],
        length_ns: block.length_ns,
        interruptions: block.interruptions,
    }
}

/// The middle and the tail of how late so many releases are; `release` waits for one, by its number,
/// and says how late it was.
fn lateness(watch: Stopwatch, releases: u64, release: impl Fn(u32) -> u64) -> Block<2> {
    let count = (WARM_UP + releases) as u32;
    let mut late_ns: Vec<i64> = (1..=count).map(|n| release(n).cast_signed()).collect();
    let counted = &mut late_ns[WARM_UP as usize..];
    // What is never late would leave a ratio undefined.
    watch.block([middle_ns(counted).max(1.0), tail_ns(counted)])
}

/// Sleeps until a time of CLOCK_MONOTONIC, also across signals.
fn nanosleep_until(at_ns: u64) {
    let at = TimeSpec::from_duration(Duration::from_nanos(at_ns));
    let flags = ClockNanosleepFlags::TIMER_ABSTIME;
    while let Err(errno) = clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &at) {
        assert_eq!(errno, Errno::EINTR, "the clock and the time are valid");
    }
}
