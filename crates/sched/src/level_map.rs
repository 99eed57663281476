//! One level per CPU, and the question "which CPUs are lowest?" without a lock.
//!
//! The kernel keeps a bitmap of CPUs for each level, with a counter beside each. A change then touches
//! two bitmaps and two counters with four locked instructions, is visible half-done in between, and a
//! search walks up to a hundred counters. Here a CPU's level is one byte, eight to a word: a change is a
//! single compare-and-swap, so *a CPU is at exactly one level at every instant*, and a search compares
//! the 64 CPUs of a group at a time (`swar.rs`).
//!
//! Above 64 CPUs there is one word per group of 64 with a minimum (`minimum.rs`), and one with the minimum
//! of these. A search reads the latter first: mostly it ends there, or knows the level that it looks for
//! and only looks into a group that has it.
//!
//! Cost: `set` is one locked instruction, and beyond 64 CPUs one or two more for each minimum that
//! changes (plus retries, each of which means that another CPU made progress). `lowest` reads one cache
//! line, and beyond 64 CPUs one word per group.

use crate::primitives::atomic::{AtomicU64, Ordering::*};
use alloc::boxed::Box;
use core::ops::Range;

use crate::minimum::Minimum;
use crate::swar::{CPUS_PER_WORD, WORDS_PER_GROUP, lowest_of, lowest_of_few, splat};
use crate::{CpuId, Level};

const CPUS_PER_GROUP: usize = 64;

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
    /// The minimum of each group; unused with a single group.
    minima: Box<[Minimum]>,
    /// The minimum of `minima`; unused with a single group.
    floor: Minimum,
}

impl LevelMap {
    /// A map of `cpus` CPUs, all invalid.
    #[inline]
    pub(crate) fn new(cpus: usize) -> LevelMap {
        let groups = cpus.div_ceil(CPUS_PER_GROUP).max(1);
        let invalid = Level::INVALID.get();
        let levels = |_| Levels(core::array::from_fn(|_| AtomicU64::new(splat(invalid))));
        LevelMap {
            levels: (0..groups).map(levels).collect(),
            minima: (0..groups).map(|_| Minimum::new(invalid)).collect(),
            floor: Minimum::new(invalid),
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
        if self.minima.len() == 1 {
            return self.lowest_in(0, below, allowed(0));
        }
        let floor = self.floor.get();
        if floor >= below {
            return None;
        }
        if let Some(group) = self.first_at(floor, first_group)
            && let Some(found) = self.lowest_in(group, below, allowed(group))
            && found.level <= floor
        {
            return Some(found);
        }
        self.lowest_from(floor, below, first_group, allowed)
    }

    /// The first group from `first_group` on whose minimum is at most `floor`, if that can be seen at once.
    #[inline]
    fn first_at(&self, floor: u8, first_group: usize) -> Option<usize> {
        let (before, after) = self.minima.split_at(first_group);
        match Minimum::first_at_most(floor, after) {
            Some(group) => Some(first_group + group),
            None => Minimum::first_at_most(floor, before),
        }
    }

    /// The same above 64 CPUs, where `floor` is known to be at most the lowest level.
    #[inline(never)]
    fn lowest_from(
        &self,
        floor: u8,
        below: u8,
        first_group: usize,
        allowed: impl Fn(usize) -> u64,
    ) -> Option<Lowest> {
        let (mut best, mut limit, mut passed_over) = (None, below, 127);
        for groups in self.groups_from(first_group) {
            for (group, minimum) in groups.clone().zip(&self.minima[groups]) {
                let cpus = allowed(group);
                if cpus == 0 {
                    continue;
                }
                let minimum = minimum.get();
                if minimum > floor {
                    passed_over = passed_over.min(minimum);
                } else if let Some((level, cpus)) = lowest_of_few(&self.read(group), limit, cpus) {
                    (best, limit) = (Some(Lowest { level, group, cpus }), level);
                    if level <= floor {
                        return best;
                    }
                }
            }
        }
        if passed_over < limit {
            return self.lowest_of_all(limit, first_group, allowed).or(best);
        }
        best
    }

    /// The same without a hint: the CPUs at the floor are not allowed, or the floor is too low.
    #[cold]
    fn lowest_of_all(
        &self,
        below: u8,
        first_group: usize,
        allowed: impl Fn(usize) -> u64,
    ) -> Option<Lowest> {
        let (mut best, mut limit) = (None, below);
        for group in self.groups_from(first_group).into_iter().flatten() {
            if self.minima[group].get() >= limit {
                continue;
            }
            if let Some(found) = self.lowest_in(group, limit, allowed(group)) {
                (best, limit) = (Some(found), found.level);
            }
        }
        best
    }

    /// All groups, `first` first, and then as they follow.
    #[inline]
    fn groups_from(&self, first: usize) -> [Range<usize>; 2] {
        [first..self.minima.len(), 0..first]
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
        // SeqCst: pairs with the exchange in `exchange`, see `Minimum::rise`. To a search the answer is
        // advice, stale on return.
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
            // SeqCst: before the load in `Minimum::fall`, see there. As a release it pairs with the loads of
            // searches; a search that misses a lowered CPU is healed by the pull that follows.
            match word.compare_exchange_weak(seen, next, SeqCst, Relaxed) {
                Ok(_) => return Some(old),
                Err(now) => seen = now,
            }
        }
    }

    /// Brings the minima along after a byte went from `old` to `new`.
    #[inline]
    fn follow(&self, cpu: CpuId, old: u8, new: u8) {
        if self.minima.len() == 1 {
            return;
        }
        let (group, lower) = (cpu.index() / CPUS_PER_GROUP, old.min(new));
        // One question for both directions: which of them it is, no processor can predict.
        if self.minima[group].is_concerned(lower) | self.floor.is_concerned(lower) {
            self.follow_minima(group, old, new);
        }
    }

    #[inline(never)]
    fn follow_minima(&self, group: usize, old: u8, new: u8) {
        let minimum = &self.minima[group];
        if new < old {
            minimum.fall(new);
            self.floor.fall(new);
        } else if new > old {
            minimum.rise(old, || self.minimum_in(group));
            self.floor.rise(old, || self.minimum_of_minima());
        }
    }

    fn minimum_in(&self, group: usize) -> u8 {
        lowest_of(&self.read(group), 127, u64::MAX).map_or(127, |(level, _)| level)
    }

    fn minimum_of_minima(&self) -> u8 {
        self.minima.iter().map(Minimum::get).min().unwrap_or(127)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

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
    fn a_finished_change_is_found_whatever_others_do() {
        let map = LevelMap::new(200);
        // CPUs of one word, of one group and of another group.
        std::thread::scope(|scope| {
            for cpu in [64, 65, 100, 150] {
                let map = &map;
                scope.spawn(move || {
                    for turn in 0..20_000u32 {
                        let level = (turn.wrapping_mul(2_654_435_761) >> 25) as u8 % 102;
                        map.set(CpuId::new(cpu), level);
                        let found = map.lowest(127, 0, |_| u64::MAX).expect("a CPU is below");
                        assert!(found.level <= level, "{} above {level}", found.level);
                    }
                    map.set(CpuId::new(cpu), 127);
                });
            }
        });
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
