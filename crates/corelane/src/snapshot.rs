//! Who runs where, at about one instant.

use crate::primitives::atomic::Ordering::Relaxed;

use crate::runtime::Shared;

/// One CPU in a [`Snapshot`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SnapshotCpu {
    /// The number and the priority of the running task.
    pub running: Option<(u64, u8)>,
    /// What the CPU publishes in cpupri: 0 idle, 1 background, else the most urgent runnable priority
    /// plus two.
    pub level: u8,
    /// Whether it has a queued task that another CPU could help.
    pub overloaded: bool,
    /// How many tasks are queued, the running one not among them.
    pub queued: usize,
}

/// What the CPUs published at about one instant, by slot. Each value is exact for some moment of the
/// call; they are not of the same moment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// One entry per CPU slot.
    pub cpus: Vec<SnapshotCpu>,
}

pub(crate) fn take(shared: &Shared) -> Snapshot {
    let cpus = shared.cpus().iter().map(|cpu| {
        let running = cpu.running.load(Relaxed); // Relaxed: a value of its own, for observers.
        SnapshotCpu {
            running: (running != 0).then_some((running >> 8, running as u8)),
            level: shared.domain.cpupri.level(cpu.id).get(),
            overloaded: shared.domain.overload.level(cpu.id).is_some(),
            queued: cpu.queued.load(Relaxed) as usize, // Relaxed: as above.
        }
    });
    Snapshot {
        cpus: cpus.collect(),
    }
}
