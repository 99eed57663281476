//! The wake of a task whose CPU polls for work, from another CPU, up to its first instruction.
//!
//! Such a wake should cost little more than a cache line on its way: the waker stores, the idle
//! worker sees the line change, takes the task out and switches to it. Peers: that line alone,
//! between two pinned threads; the least that a wake by anybody needs, which is two lines
//! ([`corelane_benches::Doorbell::ring_claimed`]): the floor; and what a program of threads does instead, a
//! futex wake of a FIFO thread on an idle CPU. Waker and woken of every arm are on the same two CPUs and at the same level,
//! and wake each other in both directions.

use corelane::Idle;
use corelane_benches::{Claim, Need, Site};

use crate::rows::Row;
use crate::run::Run;
use crate::two_cpus::TwoCpus;
use crate::waking::{ASLEEP, CLAIMED, POLLING};

pub(crate) const ROW: Row = Row {
    name: "wake_spinning",
    about: "the wake of a task on a polling CPU: a cache line one way, a futex wake",
    compare,
};

const TARGET_LINE: f64 = 3.0;
const TARGET_FUTEX: f64 = 0.15;

/// Longer than any gap, shorter than the pause between blocks: polling is over before the next.
const SPIN_NS: u64 = 1_000_000;

fn compare(run: &mut Run) {
    let line = Claim::latency("cache line, one way").at_most(TARGET_LINE);
    let floor = Claim::latency("claim the sleeper, hand it over");
    let futex = Claim::latency("futex wake of a FIFO thread, idle CPU").at_most(TARGET_FUTEX);
    if run.leaves_out(
        &[line.clone(), floor.clone(), futex.clone()],
        &[Need::TwoCpus],
    ) {
        return;
    }
    let site: Site = run.site.clone();
    let cpus = TwoCpus::new(&site, Idle::SpinThenPark { spin_ns: SPIN_NS });
    let mut ours = |wakes| cpus.tasks(POLLING.gap, wakes);
    let mut polling = |wakes| cpus.threads(&POLLING, wakes);
    run.compare(line, &[Need::TwoCpus], &mut ours, &mut polling);
    let mut claimed = |wakes| cpus.threads(&CLAIMED, wakes);
    run.compare(floor, &[Need::TwoCpus], &mut ours, &mut claimed);
    let mut asleep = |wakes| cpus.threads(&ASLEEP, wakes);
    run.compare(futex, &[Need::TwoCpus, Need::Fifo], &mut ours, &mut asleep);
}
