//! One level per CPU, and the question "which CPUs are lowest?" without a lock.
//!
//! The kernel keeps a bitmap of CPUs for each level, with a counter beside each. A change then touches
//! two bitmaps and two counters with four locked instructions, is visible half-done in between, and a
//! search walks up to a hundred counters. Here a CPU's level is one byte, eight to a word: a change is a
//! single compare-and-swap, so *a CPU is at exactly one level at every instant*, and a search compares
//! eight CPUs at a time.
//!
//! Above 64 CPUs a search first reads one word per group of 64: the group's minimum and a version. The
//! minimum is at most the true one for every finished change. Lowering always bumps the version, so that
//! a raiser that recomputes the minimum from the bytes cannot overwrite a lower value it has not seen.
//! After a race of two raisers the minimum may stay too low; that costs a search one needless look at
//! the group and never hides a CPU.
//!
//! Cost: `set` is one locked instruction up to 64 CPUs, at most three beyond (plus retries, each of
//! which means that another CPU made progress). `lowest` reads 8 words, plus one word per 64 CPUs.

use crate::primitives::atomic::{AtomicU64, Ordering::*};
use alloc::boxed::Box;

use crate::swar::{equal_bits, keep, min_byte, min_bytes, splat};
use crate::{CpuId, Level};

const CPUS_PER_WORD: usize = 8;
const CPUS_PER_GROUP: usize = 64;
const WORDS_PER_GROUP: usize = CPUS_PER_GROUP / CPUS_PER_WORD;

/// The CPUs of one group of 64 that share the lowest level found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lowest {
    pub(crate) level: u8,
    pub(crate) group: usize,
    pub(crate) cpus: u64,
}

pub(crate) struct LevelMap {
    words: Box<[AtomicU64]>,
    /// `version << 8 | minimum`, one per group; unused with a single group.
    groups: Box<[AtomicU64]>,
}

impl LevelMap {
    /// A map of `cpus` CPUs, all invalid.
    #[inline]
    pub(crate) fn new(cpus: usize) -> LevelMap {
        let groups = cpus.div_ceil(CPUS_PER_GROUP).max(1);
        let invalid = u64::from(Level::INVALID.get());
        LevelMap {
            words: (0..groups * WORDS_PER_GROUP)
                .map(|_| AtomicU64::new(splat(127)))
                .collect(),
            groups: (0..groups).map(|_| AtomicU64::new(invalid)).collect(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, cpu: CpuId) -> u8 {
        let (word, shift) = self.place(cpu);
        (word.load(Acquire) >> shift) as u8 // Acquire: pairs with the Release in `exchange`.
    }

    /// Sets `cpu` to `level` and returns the level it had.
    #[inline]
    pub(crate) fn set(&self, cpu: CpuId, level: u8) -> u8 {
        let old = self.exchange(cpu, |_| Some(level)).unwrap_or(level);
        self.follow(cpu, old, level);
        old
    }

    /// Raises `cpu` to `level` if it is below; says whether it did.
    #[inline]
    pub(crate) fn raise(&self, cpu: CpuId, level: u8) -> bool {
        let Some(old) = self.exchange(cpu, |now| (now < level).then_some(level)) else {
            return false;
        };
        self.follow(cpu, old, level);
        true
    }

    /// The lowest level strictly below `below` among the CPUs for which `allowed(group)` has a bit,
    /// and the CPUs at that level in one group. Among equal groups `first_group` is preferred.
    #[inline]
    pub(crate) fn lowest(
        &self,
        below: u8,
        first_group: usize,
        allowed: impl Fn(usize) -> u64,
    ) -> Option<Lowest> {
        let groups = self.groups.len();
        let mut best: Option<Lowest> = None;
        for step in 0..groups {
            let group = (first_group + step) % groups;
            let limit = best.map_or(below, |best| best.level);
            // Acquire: pairs with the Release in `follow`; a missed raise costs one look at the group.
            if groups > 1 && self.groups[group].load(Acquire) as u8 >= limit {
                continue;
            }
            if let Some(found) = self.lowest_in(group, limit, allowed(group)) {
                best = Some(found);
                if found.level == 0 {
                    break;
                }
            }
        }
        best
    }

    fn lowest_in(&self, group: usize, below: u8, allowed: u64) -> Option<Lowest> {
        if allowed == 0 {
            return None;
        }
        let words = WORDS_PER_GROUP - allowed.leading_zeros() as usize / CPUS_PER_WORD;
        let mut levels = [splat(127); WORDS_PER_GROUP];
        let mut lowest = splat(127);
        for (index, level) in levels[..words].iter_mut().enumerate() {
            // Acquire: pairs with the Release in `exchange`. The answer is advice: stale on return.
            let word = self.words[group * WORDS_PER_GROUP + index].load(Acquire);
            *level = keep(word, (allowed >> (index * CPUS_PER_WORD)) as u8);
            lowest = min_bytes(lowest, *level);
        }
        let level = min_byte(lowest);
        if level >= below {
            return None;
        }
        let bits = |index: usize| u64::from(equal_bits(levels[index], level));
        let cpus = (0..words).fold(0, |cpus, i| cpus | bits(i) << (i * CPUS_PER_WORD));
        Some(Lowest {
            level,
            group,
            cpus: cpus & allowed,
        })
    }

    fn place(&self, cpu: CpuId) -> (&AtomicU64, u32) {
        let index = cpu.index();
        (
            &self.words[index / CPUS_PER_WORD],
            (index % CPUS_PER_WORD) as u32 * 8,
        )
    }

    /// Replaces the byte of `cpu` as `change` says; returns the old byte if it was replaced.
    fn exchange(&self, cpu: CpuId, change: impl Fn(u8) -> Option<u8>) -> Option<u8> {
        let (word, shift) = self.place(cpu);
        let mut seen = word.load(Relaxed); // Relaxed: the exchange below checks it.
        loop {
            let old = (seen >> shift) as u8;
            let new = change(old)?;
            debug_assert!(new <= 127, "a level fits seven bits");
            if new == old {
                return Some(old);
            }
            let next = seen & !(0xff << shift) | u64::from(new) << shift;
            // AcqRel: Release pairs with the Acquire loads of searches; a search that misses a lowered
            // CPU is healed by the pull that follows every lowering.
            match word.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return Some(old),
                Err(now) => seen = now,
            }
        }
    }

    /// Brings the group's minimum along after a byte went from `old` to `new`.
    fn follow(&self, cpu: CpuId, old: u8, new: u8) {
        if self.groups.len() == 1 || old == new {
            return;
        }
        let index = cpu.index() / CPUS_PER_GROUP;
        let group = &self.groups[index];
        loop {
            let seen = group.load(Acquire); // Acquire: bytes written before that version are visible.
            let minimum = seen as u8;
            let target = if new < old {
                minimum.min(new)
            } else if old > minimum {
                return; // another CPU holds the minimum
            } else {
                self.lowest_in(index, 127, u64::MAX)
                    .map_or(127, |lowest| lowest.level)
            };
            if new > old && target == minimum {
                return;
            }
            let next = ((seen >> 8) + 1) << 8 | u64::from(target);
            // AcqRel: Release publishes the byte to searches. Lost to another change: compute again.
            if group
                .compare_exchange_weak(seen, next, AcqRel, Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_search_finds_exactly_the_lowest_allowed_cpus(
            cpus in 1usize..300,
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..=101), 0..400),
            below in 0u8..=102, holes in any::<u64>(), first: prop::sample::Index,
        ) {
            let map = LevelMap::new(cpus);
            let mut naive = vec![127u8; cpus];
            for (cpu, level) in changes {
                let cpu = cpu.index(cpus);
                prop_assert_eq!(map.set(CpuId::new(cpu), level), naive[cpu]);
                naive[cpu] = level;
            }
            let allowed = |cpu: usize| holes.rotate_left(cpu as u32 / 64 * 7) >> (cpu % 64) & 1 == 1;
            let word = |group: usize| (0..64).fold(0, |w, bit| {
                let cpu = group * 64 + bit;
                w | u64::from(cpu < cpus && allowed(cpu)) << bit
            });
            let found = map.lowest(below, first.index(cpus.div_ceil(64)), word);
            let expected = (0..cpus).filter(|c| allowed(*c)).map(|c| naive[c]).min().filter(|l| *l < below);
            prop_assert_eq!(found.map(|f| f.level), expected);
            if let Some(found) = found {
                prop_assert!(found.cpus != 0);
                for bit in 0..64 {
                    let cpu = found.group * 64 + bit;
                    let is = cpu < cpus && allowed(cpu) && naive[cpu] == found.level;
                    prop_assert_eq!(found.cpus >> bit & 1 == 1, is);
                }
            }
        }
    }

    #[test]
    fn raise_never_lowers() {
        let map = LevelMap::new(2);
        map.set(CpuId::new(1), 50);
        assert!(!map.raise(CpuId::new(1), 50) && !map.raise(CpuId::new(1), 20));
        assert!(map.raise(CpuId::new(1), 51));
        assert_eq!(map.get(CpuId::new(1)), 51);
    }
}
