//! A root domain: the CPUs among which real-time tasks may move, and what each of them publishes.
//!
//! Tasks never cross from one root domain to another; each has its own cpupri and overload.

use crate::primitives::atomic::{AtomicU32, Ordering::Relaxed};
use alloc::boxed::Box;

use crate::{CpuId, CpuMask, Cpupri, Entity, Level, Overload};

/// What the CPUs of one root domain share.
pub struct RootDomain {
    /// The most urgent runnable priority of each CPU.
    pub cpupri: Cpupri,
    /// The most urgent movable queued task of each CPU.
    pub overload: Overload,
    span: CpuMask,
    neighbours: Box<[Neighbours]>,
    turn: AtomicU32,
}

/// The CPUs around one CPU, from the innermost group outwards: same core, same cache, same node.
///
/// An empty list means that all other CPUs are equally far.
#[derive(Clone, Debug, Default)]
pub struct Neighbours(pub Box<[CpuMask]>);

impl RootDomain {
    /// A domain of the CPUs `0..neighbours.len()`, all offline (invalid) until they publish a level.
    pub fn new(neighbours: Box<[Neighbours]>) -> RootDomain {
        let cpus = neighbours.len();
        RootDomain {
            cpupri: Cpupri::new(cpus),
            overload: Overload::new(cpus),
            span: CpuMask::full(cpus),
            neighbours,
            turn: AtomicU32::new(0),
        }
    }

    /// A domain of `cpus` CPUs that are all equally far from each other.
    pub fn flat(cpus: usize) -> RootDomain {
        RootDomain::new((0..cpus).map(|_| Neighbours::default()).collect())
    }

    /// The CPUs of the domain, online or not.
    pub fn span(&self) -> &CpuMask {
        &self.span
    }

    /// The number of CPUs of the domain.
    pub fn cpus(&self) -> usize {
        self.neighbours.len()
    }

    /// A CPU strictly below `below` that `task` may use, other than `except`: one at the lowest level,
    /// `origin` itself first, then the nearest, rotating among equals so that pushers spread.
    ///
    /// Wait-free. Advice: stale on return, checked where the task arrives.
    pub fn find_lowest(
        &self,
        task: &Entity,
        below: Level,
        origin: CpuId,
        except: Option<CpuId>,
    ) -> Option<(CpuId, Level)> {
        let allowed = |group: usize| {
            let mask = task.affinity().word(group) & self.span.word(group);
            match except {
                Some(cpu) if cpu.index() / 64 == group => mask & !(1 << (cpu.index() % 64)),
                _ => mask,
            }
        };
        let found = self.cpupri.lowest(below, origin, allowed)?;
        let cpu = self.nearest(found.group, found.cpus, origin);
        Some((cpu, found.level))
    }

    /// The lowest level of any CPU other than `me`: no task at or below it can be pushed.
    pub(crate) fn floor(&self, me: CpuId) -> Option<Level> {
        let others = |group: usize| {
            let mask = self.span.word(group);
            if me.index() / 64 == group {
                mask & !(1 << (me.index() % 64))
            } else {
                mask
            }
        };
        Some(self.cpupri.lowest(Level::ABOVE_ALL, me, others)?.level)
    }

    fn nearest(&self, group: usize, cpus: u64, origin: CpuId) -> CpuId {
        let here = origin.index();
        if here / 64 == group && cpus >> (here % 64) & 1 == 1 {
            return origin;
        }
        let inner = self.neighbours[here]
            .0
            .iter()
            .map(|mask| mask.word(group) & cpus);
        let set = inner.into_iter().find(|set| *set != 0).unwrap_or(cpus);
        // Relaxed: any value will do, it only spreads concurrent pushers over equal targets.
        let turn = if set.count_ones() > 1 {
            self.turn.fetch_add(1, Relaxed)
        } else {
            0
        };
        CpuId::new(group * 64 + nth_bit(set, turn % set.count_ones()) as usize)
    }
}

fn nth_bit(mut set: u64, n: u32) -> u32 {
    for _ in 0..n {
        set &= set - 1;
    }
    set.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Node, Policy, Prio};

    fn domain_of_levels(levels: &[u8]) -> RootDomain {
        let domain = RootDomain::flat(levels.len());
        for (cpu, level) in levels.iter().enumerate() {
            domain.cpupri.set(CpuId::new(cpu), Level::from_raw(*level));
        }
        domain
    }

    #[test]
    fn parallel_pushers_are_spread_over_equal_targets() {
        let domain = domain_of_levels(&[52, 52, 0, 0]);
        let task = Node::new(
            Prio::new(50).unwrap(),
            Policy::Fifo,
            &CpuMask::full(4),
            CpuId::new(0),
            (),
        );
        let find = || domain.find_lowest(task.entity(), Level::from_raw(52), CpuId::new(0), None);
        let (a, b) = (find().unwrap().0, find().unwrap().0);
        assert_ne!(a, b);
    }

    #[test]
    fn the_nearest_of_the_lowest_is_chosen() {
        let far = CpuMask::full(4);
        let mut near = CpuMask::empty(4);
        near.insert(CpuId::new(0));
        near.insert(CpuId::new(3));
        let neighbours = (0..4)
            .map(|_| Neighbours([near.clone(), far.clone()].into()))
            .collect();
        let domain = RootDomain::new(neighbours);
        for cpu in 0..4 {
            domain.cpupri.set(
                CpuId::new(cpu),
                Level::from_raw(if cpu == 0 { 90 } else { 10 }),
            );
        }
        let task = Node::new(
            Prio::new(50).unwrap(),
            Policy::Fifo,
            &CpuMask::full(4),
            CpuId::new(0),
            (),
        );
        for _ in 0..4 {
            let found = domain.find_lowest(task.entity(), Level::from_raw(52), CpuId::new(0), None);
            assert_eq!(found, Some((CpuId::new(3), Level::from_raw(10))));
        }
    }
}
