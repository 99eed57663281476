//! Sets of CPUs, of any size.
//!
//! A `u64` is a CPU set until somebody has a 65th CPU. [`CpuMask`] is a plain value for building and
//! comparing; [`SharedMask`] is the affinity of a live task, which others may replace while schedulers
//! read it. A reader of several words may see half of a replacement. That is harmless: whoever acts on
//! the answer enqueues the task, and enqueueing checks the mask again (see `Runqueue::enqueue`), while
//! the replacer sends a letter to the task's home after writing (see `Entity::home`).
//!
//! Up to 64 CPUs neither type allocates.

use crate::primitives::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use alloc::boxed::Box;
use alloc::vec;
use core::fmt;

use crate::CpuId;

/// A set of CPUs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CpuMask {
    words: Words<u64>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Words<W> {
    One(W),
    Many(Box<[W]>),
}

impl<W> Words<W> {
    fn as_slice(&self) -> &[W] {
        match self {
            Words::One(word) => core::slice::from_ref(word),
            Words::Many(words) => words,
        }
    }
}

impl CpuMask {
    /// The empty set with room for `cpus` CPUs.
    pub fn empty(cpus: usize) -> CpuMask {
        let words = cpus.div_ceil(64);
        CpuMask {
            words: if words <= 1 {
                Words::One(0)
            } else {
                Words::Many(vec![0; words].into())
            },
        }
    }

    /// The set of CPUs `0..cpus`.
    pub fn full(cpus: usize) -> CpuMask {
        let mut mask = CpuMask::empty(cpus);
        for cpu in 0..cpus {
            mask.insert(CpuId::new(cpu));
        }
        mask
    }

    /// The set of just `cpu`, with room for `cpus` CPUs.
    #[inline]
    pub fn single(cpus: usize, cpu: CpuId) -> CpuMask {
        let mut mask = CpuMask::empty(cpus);
        mask.insert(cpu);
        mask
    }

    /// The same set with room for `cpus` CPUs; CPUs beyond that are left out.
    pub fn resized(&self, cpus: usize) -> CpuMask {
        let mut mask = CpuMask::empty(cpus);
        self.iter()
            .filter(|cpu| cpu.index() < cpus)
            .for_each(|cpu| mask.insert(cpu));
        mask
    }

    /// Adds `cpu`.
    ///
    /// # Panics
    /// If the mask has no room for `cpu`.
    #[inline]
    pub fn insert(&mut self, cpu: CpuId) {
        *self.word_mut(cpu) |= 1 << (cpu.index() % 64);
    }

    /// Removes `cpu`.
    ///
    /// # Panics
    /// If the mask has no room for `cpu`.
    #[inline]
    pub fn remove(&mut self, cpu: CpuId) {
        *self.word_mut(cpu) &= !(1 << (cpu.index() % 64));
    }

    /// Removes every CPU.
    pub fn clear(&mut self) {
        match &mut self.words {
            Words::One(word) => *word = 0,
            Words::Many(words) => words.fill(0),
        }
    }

    /// Whether `cpu` is in the set; a CPU beyond its room is not.
    #[inline]
    pub fn contains(&self, cpu: CpuId) -> bool {
        self.word(cpu.index() / 64) >> (cpu.index() % 64) & 1 == 1
    }

    /// The number of CPUs in the set.
    #[inline]
    pub fn count(&self) -> usize {
        self.words
            .as_slice()
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether the set has no CPU.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words.as_slice().iter().all(|word| *word == 0)
    }

    /// Whether each CPU of this set is in `other`.
    pub fn is_subset(&self, other: &CpuMask) -> bool {
        let mut words = self.words.as_slice().iter().enumerate();
        words.all(|(index, word)| word & !other.word(index) == 0)
    }

    /// The CPUs of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        let words = self.words.as_slice();
        (0..words.len() * 64)
            .filter(move |cpu| words[cpu / 64] >> (cpu % 64) & 1 == 1)
            .map(CpuId::new)
    }

    /// The CPUs `64 * index..` as bits; zero beyond the mask's room.
    #[inline]
    pub fn word(&self, index: usize) -> u64 {
        self.words.as_slice().get(index).copied().unwrap_or(0)
    }

    fn word_mut(&mut self, cpu: CpuId) -> &mut u64 {
        match &mut self.words {
            Words::One(word) if cpu.index() < 64 => word,
            Words::Many(words) if cpu.index() / 64 < words.len() => &mut words[cpu.index() / 64],
            _ => panic!("{cpu:?} is beyond the room of this mask"),
        }
    }
}

impl fmt::Debug for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(CpuId::index))
            .finish()
    }
}

/// The affinity of a live task: a [`CpuMask`] that can be replaced while others read it.
pub struct SharedMask {
    words: Words<AtomicU64>,
    count: AtomicU32,
}

impl SharedMask {
    /// A shared copy of `mask`.
    #[inline]
    pub fn new(mask: &CpuMask) -> SharedMask {
        let words = match &mask.words {
            Words::One(word) => Words::One(AtomicU64::new(*word)),
            Words::Many(words) => Words::Many(words.iter().map(|w| AtomicU64::new(*w)).collect()),
        };
        SharedMask {
            words,
            count: AtomicU32::new(mask.count() as u32),
        }
    }

    /// Replaces the set. A concurrent reader may see CPUs of both sets, never an empty one.
    ///
    /// One replacer at a time: the caller holds the task's lock for changes.
    ///
    /// # Panics
    /// If `mask` has a CPU for which this mask has no room.
    #[inline]
    pub fn store(&self, mask: &CpuMask) {
        let room = self.words.as_slice().len() * 64;
        assert!(
            mask.iter().all(|cpu| cpu.index() < room),
            "an affinity is made with room for all CPUs"
        );
        let words = || self.words.as_slice().iter().enumerate();
        for (index, word) in words() {
            // Relaxed: the letter that follows carries the order; see the module's page.
            word.fetch_or(mask.word(index), Relaxed);
        }
        for (index, word) in words() {
            word.store(mask.word(index), Relaxed); // Relaxed: as above.
        }
        self.count.store(mask.count() as u32, Relaxed); // Relaxed: as above.
    }

    /// A plain copy of the set.
    #[inline]
    pub fn load(&self) -> CpuMask {
        let words = match &self.words {
            Words::One(word) => Words::One(word.load(Relaxed)), // Relaxed: see `store`.
            Words::Many(words) => Words::Many(words.iter().map(|w| w.load(Relaxed)).collect()),
        };
        CpuMask { words }
    }

    /// Whether `cpu` is in the set.
    #[inline]
    pub fn contains(&self, cpu: CpuId) -> bool {
        self.word(cpu.index() / 64) >> (cpu.index() % 64) & 1 == 1
    }

    /// The CPUs `64 * index..` as bits; zero beyond the mask's room.
    #[inline]
    pub fn word(&self, index: usize) -> u64 {
        // Relaxed: a torn view is checked again by whoever enqueues.
        self.words
            .as_slice()
            .get(index)
            .map_or(0, |word| word.load(Relaxed))
    }

    /// Whether both hold the same CPUs; advice while either is being replaced.
    #[inline]
    pub fn same_as(&self, other: &SharedMask) -> bool {
        let words = |mask: &SharedMask| mask.words.as_slice().len();
        (0..words(self).max(words(other))).all(|index| self.word(index) == other.word(index))
    }

    /// The number of CPUs in the set when it was last stored.
    #[inline]
    pub fn count(&self) -> usize {
        self.count.load(Relaxed) as usize // Relaxed: see `store`.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_holds_cpus_beyond_the_first_word() {
        let mut mask = CpuMask::empty(200);
        mask.insert(CpuId::new(3));
        mask.insert(CpuId::new(199));
        assert_eq!(
            mask.iter()
                .map(CpuId::index)
                .collect::<alloc::vec::Vec<_>>(),
            [3, 199]
        );
        assert!(mask.is_subset(&CpuMask::full(200)) && !mask.is_subset(&CpuMask::full(100)));
        mask.remove(CpuId::new(199));
        assert_eq!(mask.count(), 1);
        assert!(!mask.contains(CpuId::new(4000)));
    }

    #[test]
    fn a_shared_mask_reads_back_what_was_stored() {
        let shared = SharedMask::new(&CpuMask::full(70));
        assert_eq!(shared.count(), 70);
        let one = CpuMask::single(70, CpuId::new(69));
        shared.store(&one);
        assert_eq!(shared.load(), one);
        assert!(shared.contains(CpuId::new(69)) && !shared.contains(CpuId::new(0)));
    }

    #[test]
    fn a_small_mask_made_with_room_for_all_cpus_can_be_widened() {
        let small = CpuMask::single(1, CpuId::new(0)).resized(70);
        let shared = SharedMask::new(&small);
        shared.store(&CpuMask::single(70, CpuId::new(69)));
        assert_eq!((shared.count(), shared.contains(CpuId::new(69))), (1, true));
    }

    #[test]
    #[should_panic(expected = "beyond the room")]
    fn inserting_beyond_the_room_panics() {
        CpuMask::empty(2).insert(CpuId::new(64));
    }
}
