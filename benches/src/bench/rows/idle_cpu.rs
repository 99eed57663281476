//! The CPU time of a runtime that has nothing to do, over some hundred milliseconds.
//!
//! A worker that polls for ever answers soonest and burns a CPU. The default polls for 50 us and then
//! sleeps, so an idle runtime should cost nothing at all. Compared with one whole CPU, which is the share
//! that it takes, and with an idle tokio runtime of as many workers. Both runtimes are built before the
//! time that counts, and have had time to settle; what counts is the CPU time of the threads that they
//! started. Less than a microsecond counts as one, so that nothing divided by nothing is 1.

use std::time::{Duration, Instant};

use corelane_benches::{Block, Claim, Load, Plan, Site, Unit};

use crate::cpu_time::Threads;
use crate::rows::Row;
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "idle_cpu",
    about: "the CPU time of an idle runtime: one whole CPU, an idle tokio runtime",
    compare,
};

const SETTLING: Duration = Duration::from_millis(20);
const LENGTH_MS: u64 = 100;
const RESOLUTION_NS: u64 = 1_000;

fn compare(run: &mut Run) {
    let site: Site = run.site.clone();
    let claims = [
        Claim::count("one whole CPU", Unit::Cpu),
        Claim::count("an idle tokio runtime", Unit::Cpu),
    ];
    let plan = Plan {
        rounds: run.plan.share(4),
        load: Load::Operations(LENGTH_MS),
        ..run.plan
    };
    let mut ours = |length_ms| {
        let before = Threads::all();
        let runtime = site.runtime(&site.all()).build();
        let _runtime = runtime.expect("a runtime on every CPU");
        let share = share_of_sleep(&before, length_ms);
        block([share, share], length_ms)
    };
    let mut peer = |length_ms| {
        let before = Threads::all();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(site.cpus()).build();
        let _runtime = runtime.expect("a tokio runtime");
        block([1.0, share_of_sleep(&before, length_ms)], length_ms)
    };
    run.compare_each(claims, &[], &plan, &mut ours, &mut peer);
}

/// Nothing is interrupted that has nothing to do.
fn block(costs: [f64; 2], length_ms: u64) -> Block<2> {
    Block {
        costs,
        length_ns: length_ms * 1_000_000,
        interruptions: 0,
    }
}

/// Sleeps, and returns the share of a CPU that the threads started after `before` took meanwhile.
fn share_of_sleep(before: &Threads, length_ms: u64) -> f64 {
    std::thread::sleep(SETTLING);
    let threads = before.started_since();
    let (start, before_ns) = (Instant::now(), threads.spent_ns());
    std::thread::sleep(Duration::from_millis(length_ms));
    let spent_ns = (threads.spent_ns() - before_ns).max(RESOLUTION_NS);
    spent_ns as f64 / start.elapsed().as_nanos() as f64
}
