//! The wake of a more urgent task on the same CPU, up to its first instruction.
//!
//! The waker calls, the woken preempts it at once. In the executor that is a queue operation and a
//! switch of stacks; in the kernel a system call, a wake and a context switch. The peer is a futex
//! wake by a FIFO thread of a FIFO thread one level above, pinned to the same CPU.

use corelane::Priority;
use corelane_benches::{Block, Claim, GapNs, Need, Site};

use crate::one_cpu::OneCpu;
use crate::rows::Row;
use crate::run::Run;
use crate::waking::{self, Way};

pub(crate) const ROW: Row = Row {
    name: "wake_higher",
    about: "the wake of a more urgent task on the same CPU: a futex wake",
    compare,
};

const TARGET: f64 = 0.1;

/// The woken is asleep again before the waker runs; the gap only avoids a fixed phase.
const WAY: Way = Way::asleep(GapNs {
    min: 500,
    max: 2_000,
});

fn compare(run: &mut Run) {
    let site = run.site.clone();
    let cpu = OneCpu::new(&site);
    let claim = Claim::latency("futex wake of a FIFO thread, same CPU").at_most(TARGET);
    let mut ours = |wakes| corelane(&cpu, &site, wakes);
    let mut peer = |wakes| kernel(&site, wakes);
    run.compare(claim, &[Need::Fifo], &mut ours, &mut peer);
}

fn corelane(cpu: &OneCpu, site: &Site, wakes: u64) -> Block {
    let at = |priority| cpu.runtime().build_task().priority(priority);
    let ends = [at(Priority::MIN), at(Priority::MAX)];
    waking::tasks(site.stamp, ends, WAY.gap, wakes)
}

/// So many wakes of a kernel thread by one a level below.
pub(crate) fn kernel(site: &Site, wakes: u64) -> Block {
    let seats = [site.seat(site.cpu(), 0), site.seat(site.cpu(), 1)];
    let block = waking::threads(site.stamp, seats, &WAY, wakes);
    Block {
        // Each wake, the last one included, preempts the waker: that is the operation itself.
        interruptions: block.interruptions.saturating_sub(wakes + 1),
        ..block
    }
}
