//! One level per CPU, and the question "which CPUs are lowest?" without a lock.
//!
//! The kernel keeps a bitmap of CPUs for each level, with a counter beside each. A change then touches
//! two bitmaps and two counters with four locked instructions, is visible half-done in between, and a
//! search walks up to a hundred counters. Here a CPU's level is one byte, eight to a word: a change is a
//! single compare-and-swap, so *a CPU is at exactly one level at every instant*, and a search compares
//! the 64 CPUs of a group at a time (`swar.rs`).
//!
//! Above 64 CPUs a search first reads one word per group of 64: the group's minimum and a version. The
//! minimum is at most the true one for every finished change. Whoever raises it marks the word first,
//! then computes from the bytes, and swaps the result in only if the word is still as marked. Whoever
//! lowers a CPU and finds the mark takes it away; without a mark and with a minimum that is low enough
//! there is nothing to write, so CPUs that come and go above the minimum share the word unharmed.
//! After a race of two raisers the minimum may stay too low; that costs a search one needless look at
//! the group and never hides a CPU.
//!
//! Cost: `set` is one locked instruction up to 64 CPUs, and beyond mostly, too; one more when it lowers
//! the minimum of its group, two more when it raises it (plus retries, each of which means that another
//! CPU made progress). `lowest` reads one cache line, plus one word per 64 CPUs.

use crate::primitives::atomic::{AtomicU64, Ordering::*};
use alloc::boxed::Box;

use crate::swar::{CPUS_PER_WORD, WORDS_PER_GROUP, lowest_of, splat};
use crate::{CpuId, Level};

const CPUS_PER_GROUP: usize = 64;

/// In the word of a group: somebody computes a higher minimum.
const RAISING: u64 = 0x80;
const MINIMUM: u64 = 0x7f;
const VERSION: u64 = 0x100;

/// The CPUs of one group of 64 that share the lowest level found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lowest {
    pub(crate) level: u8,
    pub(crate) group: usize,
    pub(crate) cpus: u64,
}

/// The levels of 64 CPUs, in a cache line of their own.
#[repr(align(64))]
struct Levels([AtomicU64; WORDS_PER_GROUP]);

pub(crate) struct LevelMap {
    levels: Box<[Levels]>,
    /// `version << 8 | raising << 7 | minimum`, one per group; unused with a single group.
    groups: Box<[AtomicU64]>,
}

impl LevelMap {
    /// A map of `cpus` CPUs, all invalid.
    #[inline]
    pub(crate) fn new(cpus: usize) -> LevelMap {
        let groups = cpus.div_ceil(CPUS_PER_GROUP).max(1);
        let invalid = Level::INVALID.get();
        let levels = |_| Levels(core::array::from_fn(|_| AtomicU64::new(splat(invalid))));
        let minimum = |_| AtomicU64::new(u64::from(invalid));
        LevelMap {
            levels: (0..groups).map(levels).collect(),
            groups: (0..groups).map(minimum).collect(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, cpu: CpuId) -> u8 {
        let (word, shift) = self.place(cpu);
        (word.load(Acquire) >> shift) as u8 // Acquire: pairs with the exchange in `exchange`.
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
        if self.groups.len() == 1 {
            return self.lowest_in(0, below, allowed(0));
        }
        let (floor, likely) = self.lowest_minimum(first_group);
        if floor >= below {
            return None;
        }
        let mut best = self.lowest_in(likely, below, allowed(likely));
        let (before, after) = (0..first_group, first_group..self.groups.len());
        for group in after.chain(before).filter(|group| *group != likely) {
            let limit = best.map_or(below, |best| best.level);
            if limit == floor {
                break;
            }
            // Acquire: pairs with the exchanges in `follow`; a missed raise costs one look at the group.
            if minimum_of(self.groups[group].load(Acquire)) < limit {
                best = self.lowest_in(group, limit, allowed(group)).or(best);
            }
        }
        best
    }

    /// The lowest minimum of all groups, and the first group with it from `first_group` on.
    #[inline]
    fn lowest_minimum(&self, first_group: usize) -> (u8, usize) {
        let (before, after) = self.groups.split_at(first_group);
        let mut lowest = u64::MAX;
        for (step, word) in after.iter().enumerate() {
            // Acquire, here and below: as in `lowest`.
            lowest = lowest.min((word.load(Acquire) & MINIMUM) << 32 | step as u64);
        }
        for (step, word) in before.iter().enumerate() {
            let step = after.len() + step;
            lowest = lowest.min((word.load(Acquire) & MINIMUM) << 32 | step as u64);
        }
        let group = first_group + lowest as u32 as usize;
        let wraps = group >= self.groups.len();
        let group = if wraps {
            group - self.groups.len()
        } else {
            group
        };
        ((lowest >> 32) as u8, group)
    }

    #[inline]
    fn lowest_in(&self, group: usize, below: u8, allowed: u64) -> Option<Lowest> {
        if allowed == 0 {
            return None;
        }
        let (level, cpus) = lowest_of(&self.read(group), below, allowed)?;
        Some(Lowest { level, group, cpus })
    }

    #[inline]
    fn read(&self, group: usize) -> [u64; WORDS_PER_GROUP] {
        let levels = &self.levels[group].0;
        // SeqCst: pairs with the exchange in `exchange`, see `rise`. To a search the answer is advice,
        // stale on return.
        core::array::from_fn(|index| levels[index].load(SeqCst))
    }

    #[inline]
    fn place(&self, cpu: CpuId) -> (&AtomicU64, u32) {
        let index = cpu.index();
        let levels = &self.levels[index / CPUS_PER_GROUP].0;
        (
            &levels[index / CPUS_PER_WORD % WORDS_PER_GROUP],
            (index % CPUS_PER_WORD) as u32 * 8,
        )
    }

    /// Replaces the byte of `cpu` as `change` says; returns the old byte if it was replaced.
    #[inline]
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
            // SeqCst: before the load in `fall`, see there. As a release it pairs with the loads of
            // searches; a search that misses a lowered CPU is healed by the pull that follows.
            match word.compare_exchange_weak(seen, next, SeqCst, Relaxed) {
                Ok(_) => return Some(old),
                Err(now) => seen = now,
            }
        }
    }

    /// Brings the group's minimum along after a byte went from `old` to `new`.
    #[inline]
    fn follow(&self, cpu: CpuId, old: u8, new: u8) {
        if self.groups.len() == 1 || old == new {
            return;
        }
        let group = cpu.index() / CPUS_PER_GROUP;
        if new < old {
            self.fall(group, new);
        } else {
            self.rise(group, old);
        }
    }

    /// A byte of `group` has fallen to `new`.
    #[inline]
    fn fall(&self, group: usize, new: u8) {
        let group = &self.groups[group];
        loop {
            // SeqCst: the byte was written before, and `rise` marks before it reads the bytes. Either we
            // see the mark, or it sees our byte.
            let seen = group.load(SeqCst);
            let minimum = minimum_of(seen);
            if minimum <= new && seen & RAISING == 0 {
                return;
            }
            let next = (seen & !(VERSION - 1)) + VERSION | u64::from(minimum.min(new));
            // AcqRel: Release publishes the byte to searches and to `rise`, which begins again. Lost to
            // another change: look again.
            if group
                .compare_exchange_weak(seen, next, AcqRel, Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }

    /// A byte of `group` has risen from `old`.
    #[inline]
    fn rise(&self, group: usize, old: u8) {
        // Relaxed: the exchange in `raise_minimum` checks it; a minimum that is too low is allowed.
        if minimum_of(self.groups[group].load(Relaxed)) == old {
            self.raise_minimum(group, old);
        }
    }

    /// The last CPU at the minimum may have left it.
    #[inline(never)]
    fn raise_minimum(&self, index: usize, old: u8) {
        let group = &self.groups[index];
        loop {
            // Acquire: pairs with the exchange in `fall`, so that its byte is seen below.
            let seen = group.load(Acquire);
            if minimum_of(seen) != old || self.minimum_in(index) == old {
                return; // another CPU holds the minimum, or others have raised it
            }
            let marked = (seen & !(VERSION - 1)) + VERSION | RAISING | u64::from(old);
            // SeqCst: before the bytes are read, see `fall`. Lost to another change: look again.
            if group
                .compare_exchange_weak(seen, marked, SeqCst, Relaxed)
                .is_err()
            {
                continue;
            }
            let next = (marked & !(VERSION - 1)) + VERSION | u64::from(self.minimum_in(index));
            // AcqRel: nobody fell unseen since the mark. Lost: somebody did, or raises as we do.
            if group
                .compare_exchange(marked, next, AcqRel, Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }

    fn minimum_in(&self, group: usize) -> u8 {
        self.lowest_in(group, 127, u64::MAX)
            .map_or(127, |lowest| lowest.level)
    }
}

fn minimum_of(group: u64) -> u8 {
    (group & MINIMUM) as u8
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
