//! Overload: which CPU has work that could run elsewhere, and how urgent is the best of it?
//!
//! A CPU whose priority drops asks "who has something for me?". The kernel answers with a mask of
//! overloaded CPUs, and the puller then locks one runqueue after the other to see what they hold. Here a
//! CPU publishes the priority of its most urgent queued task that could leave, so the puller knows the
//! best candidate before it takes a single lock. A CPU is overloaded exactly when it publishes one.
//!
//! This is the search of cpupri turned around: stored is the complement of the level, so that the most
//! urgent candidate is the lowest number.

use crate::level_map::LevelMap;
use crate::{CpuId, Level};

/// The most urgent movable queued task of each CPU of a root domain.
pub struct Overload {
    complements: LevelMap,
}

const TOP: u8 = 126;

impl Overload {
    /// A map of `cpus` CPUs, none overloaded.
    #[inline]
    pub fn new(cpus: usize) -> Overload {
        Overload {
            complements: LevelMap::new(cpus),
        }
    }

    /// The level of the best candidate of `cpu`; `None` when it is not overloaded.
    #[inline]
    pub fn level(&self, cpu: CpuId) -> Option<Level> {
        match self.complements.get(cpu) {
            127 => None,
            complement => Some(Level::from_raw(TOP - complement)),
        }
    }

    /// Publishes the best candidate of `cpu`, or that it has none. Called under its runqueue lock.
    ///
    /// Before a pusher that set this concludes from cpupri that nobody is lower, it needs a SeqCst
    /// fence: the puller does the opposite in the opposite order, and one of the two must see the other.
    #[inline]
    pub fn set(&self, cpu: CpuId, level: Option<Level>) {
        self.complements
            .set(cpu, level.map_or(127, |level| TOP - level.get()));
    }

    /// The CPU with the most urgent candidate strictly above `above` among `allowed`, searching from
    /// the group of `origin`. Advice: the puller checks again under that CPU's lock.
    #[inline]
    pub fn most_urgent(
        &self,
        above: Level,
        origin: CpuId,
        allowed: impl Fn(usize) -> u64,
    ) -> Option<(CpuId, Level)> {
        let below = TOP.saturating_sub(above.get());
        let found = self
            .complements
            .lowest(below, origin.index() / 64, allowed)?;
        let cpu = found.group * 64 + found.cpus.trailing_zeros() as usize;
        Some((CpuId::new(cpu), Level::from_raw(TOP - found.level)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prio;

    fn level(prio: u8) -> Level {
        Level::of(Prio::new(prio).unwrap())
    }

    #[test]
    fn the_most_urgent_candidate_above_the_asker_wins() {
        let overload = Overload::new(4);
        let all = |_| 0b1111;
        assert_eq!(overload.most_urgent(Level::IDLE, CpuId::new(0), all), None);
        overload.set(CpuId::new(1), Some(level(20)));
        overload.set(CpuId::new(3), Some(level(99)));
        let found = overload.most_urgent(level(20), CpuId::new(0), all);
        assert_eq!(found, Some((CpuId::new(3), level(99))));
        let found = overload.most_urgent(level(19), CpuId::new(0), |_| 0b0111);
        assert_eq!(found, Some((CpuId::new(1), level(20))));
        assert_eq!(
            overload.most_urgent(level(20), CpuId::new(0), |_| 0b0111),
            None
        );
        overload.set(CpuId::new(3), None);
        assert_eq!(overload.level(CpuId::new(3)), None);
    }
}
