//! The arms of comparisons between two CPUs: tasks bound to a CPU each, threads pinned to the same two,
//! all at the same real-time level.

use corelane::{CpuId, CpuSet, Idle, Priority, Runtime, TaskBuilder};
use corelane_benches::{Block, GapNs, Seat, Site, Stamp};

use crate::waking::{self, Way};

/// Two CPUs and whoever runs on them.
pub(crate) struct TwoCpus {
    runtime: Runtime,
    seats: [Seat; 2],
    stamp: Stamp,
}

impl TwoCpus {
    /// Builds a runtime on two CPUs that idles like that.
    ///
    /// # Panics
    /// If there is one CPU only, or the runtime cannot be built.
    pub(crate) fn new(site: &Site, idle: Idle) -> TwoCpus {
        let runtime = site.runtime(&site.pair()).idle(idle).build();
        TwoCpus {
            runtime: runtime.expect("a runtime on two CPUs"),
            seats: site.pair().map(|cpu| site.seat(cpu, 0)),
            stamp: site.stamp,
        }
    }

    /// So many wakes between tasks, half in each direction.
    pub(crate) fn tasks(&self, gap: GapNs, wakes: u64) -> Block {
        waking::both_ways(wakes, |half, from| {
            let ends = [self.bound_to(from), self.bound_to(1 - from)];
            waking::tasks(self.stamp, ends, gap, half)
        })
    }

    /// So many wakes between kernel threads, half in each direction.
    pub(crate) fn threads(&self, way: &'static Way, wakes: u64) -> Block {
        waking::both_ways(wakes, |half, from| {
            let ends = [self.seats[from], self.seats[1 - from]];
            waking::threads(self.stamp, ends, way, half)
        })
    }

    fn bound_to(&self, slot: usize) -> TaskBuilder {
        let mut only = CpuSet::empty(self.runtime.cpus());
        only.insert(CpuId::new(slot));
        let task = self.runtime.build_task();
        task.priority(Priority::MIN).affinity(only)
    }
}
