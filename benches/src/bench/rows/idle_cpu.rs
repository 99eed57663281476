//! The CPU time of a runtime that has nothing to do, over some hundred milliseconds.
//!
//! A worker that polls for ever answers soonest and burns a CPU. The default polls for 50 us and then
//! sleeps, so an idle runtime should cost nothing at all. Compared with one whole CPU, which is the share
//! that it takes, and with an idle tokio runtime of as many workers. Both runtimes are built before the
//! time that counts, and have had time to settle. A share below that of a microsecond in the whole
//! block counts as one microsecond, so that nothing divided by nothing is 1.

use std::time::Duration;

use corelane_benches::{Block, Claim, Load, Plan, Site, Stopwatch, Unit};

use crate::cpu_time::Spent;
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
        rounds: run.plan.rounds.div_ceil(4),
        load: Load::Operations(LENGTH_MS),
        ..run.plan
    };
    let mut ours = |length_ms| {
        let runtime = site.runtime(&site.all()).build();
        let runtime = runtime.expect("a runtime on every CPU");
        let (share, block) = share_of_sleep(length_ms);
        drop(runtime);
        Block {
            costs: [share, share],
            ..block
        }
    };
    let mut peer = |length_ms| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(site.cpus()).build();
        let runtime = runtime.expect("a tokio runtime");
        let (share, block) = share_of_sleep(length_ms);
        drop(runtime);
        Block {
            costs: [1.0, share],
            ..block
        }
    };
    run.compare_each(claims, &[], &plan, &mut ours, &mut peer);
}

/// Sleeps, and returns the share of a CPU that the process took meanwhile.
fn share_of_sleep(length_ms: u64) -> (f64, Block<2>) {
    std::thread::sleep(SETTLING);
    let (watch, spent) = (Stopwatch::start(), Spent::watch());
    std::thread::sleep(Duration::from_millis(length_ms));
    let spent_ns = spent.ns().max(RESOLUTION_NS);
    let block = watch.block([0.0; 2]);
    (spent_ns as f64 / block.length_ns as f64, block)
}
