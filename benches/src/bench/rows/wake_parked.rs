//! The wake of a task whose CPU sleeps in the kernel, from another CPU, up to its first instruction.
//!
//! Nobody can wake a sleeping CPU without the kernel: the executor pays the same futex wake as a program
//! of threads, and its own queue and switch on top. The peer is that futex wake alone, of a FIFO thread
//! on an idle CPU. The gaps are the same, long enough for the CPU to become idle in the kernel, and
//! waker and woken are on the same two CPUs and at the same level in both arms.

use corelane::Idle;
use corelane_benches::{Claim, Need};

use crate::rows::Row;
use crate::run::Run;
use crate::two_cpus::TwoCpus;
use crate::waking::ASLEEP;

pub(crate) const ROW: Row = Row {
    name: "wake_parked",
    about: "the wake of a task on a CPU that sleeps in the kernel: a futex wake",
    compare,
};

const TARGET: f64 = 1.10;
const NEEDS: &[Need] = &[Need::TwoCpus, Need::Fifo];

fn compare(run: &mut Run) {
    let claim = Claim::latency("futex wake of a FIFO thread, idle CPU").at_most(TARGET);
    if run.leaves_out(core::slice::from_ref(&claim), NEEDS) {
        return;
    }
    let cpus = TwoCpus::new(&run.site, Idle::Park);
    let mut ours = |wakes| cpus.tasks(ASLEEP.gap, wakes);
    let mut peer = |wakes| cpus.threads(&ASLEEP, wakes);
    run.compare(claim, NEEDS, &mut ours, &mut peer);
}
