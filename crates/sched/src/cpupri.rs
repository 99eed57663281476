//! cpupri: which CPU runs the least urgent work?
//!
//! A task that cannot run where it is must find the CPU whose most urgent runnable task is least
//! urgent. Asking every runqueue would take every lock. Instead each CPU publishes the level of its most
//! urgent *runnable* task (running or queued: what it ought to run, not what it happens to run) and
//! searchers read that without a lock. The protocol, its races and what heals them are on
//! [the page beside this crate](../cpupri.md); the map itself is described in `level_map.rs`.
//!
//! The answer of [`Cpupri::find`] is stale when it returns, and that is fine: it is advice, checked again
//! where the task arrives. What must hold: a CPU is missed only if it is being lowered during the search,
//! and whoever lowers a CPU pulls afterwards ([`crate::pull`]).
//!
//! After `kernel/sched/cpupri.c`; greater is more urgent here, and a CPU is always at exactly one level.

use crate::level_map::LevelMap;
use crate::{CpuId, Level};

/// The published level of each CPU of a root domain.
pub struct Cpupri {
    levels: LevelMap,
}

/// The CPUs that share the lowest level, in one group of 64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LowestCpus {
    pub(crate) level: Level,
    pub(crate) group: usize,
    pub(crate) cpus: u64,
}

impl Cpupri {
    /// A map of `cpus` CPUs, all at [`Level::INVALID`] until they are set.
    #[inline]
    pub fn new(cpus: usize) -> Cpupri {
        Cpupri {
            levels: LevelMap::new(cpus),
        }
    }

    /// What `cpu` publishes.
    #[inline]
    pub fn level(&self, cpu: CpuId) -> Level {
        Level::from_raw(self.levels.get(cpu))
    }

    /// Publishes `level` for `cpu` and returns the level before. Called under the CPU's runqueue lock.
    ///
    /// Whoever lowers a CPU must look for work to pull afterwards, with a SeqCst fence in between.
    /// Lock-free; one compare-and-swap up to 64 CPUs.
    #[inline]
    pub fn set(&self, cpu: CpuId, level: Level) -> Level {
        Level::from_raw(self.levels.set(cpu, level.get()))
    }

    /// Raises `cpu` to at least `level`: a waker tells later wakers that this CPU is about to be taken.
    ///
    /// No lock is held, so the CPU itself may publish a lower level at the same time. That loses a hint,
    /// not a task: the task is in the CPU's inbox already, and draining it publishes again.
    #[inline]
    pub fn raise(&self, cpu: CpuId, level: Level) {
        self.levels.raise(cpu, level.get());
    }

    /// The CPUs at the lowest level strictly below `below` among `allowed`, near `origin` first.
    #[inline]
    pub(crate) fn lowest(
        &self,
        below: Level,
        origin: CpuId,
        allowed: impl Fn(usize) -> u64,
    ) -> Option<LowestCpus> {
        let found = self
            .levels
            .lowest(below.get(), origin.index() / 64, allowed)?;
        let level = Level::from_raw(found.level);
        Some(LowestCpus {
            level,
            group: found.group,
            cpus: found.cpus,
        })
    }

    /// A CPU at the lowest level strictly below `below` within `allowed`, as the bitmap search of the
    /// kernel gives it: no preference among equals beyond the lowest slot.
    ///
    /// Wait-free; reads 8 words, plus one word per 64 CPUs. The answer is stale on return.
    #[inline]
    pub fn find(&self, below: Level, allowed: impl Fn(usize) -> u64) -> Option<CpuId> {
        let found = self.lowest(below, CpuId::new(0), allowed)?;
        Some(CpuId::new(
            found.group * 64 + found.cpus.trailing_zeros() as usize,
        ))
    }
}
