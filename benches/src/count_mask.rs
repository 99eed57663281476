//! The kernel's cpupri scheme, as the peer of [`corelane_sched::Cpupri`].
//!
//! Written from the description of the algorithm, not from its code: a vector for each of 101 levels,
//! which is a count of CPUs and a mask of CPUs. Level 0 is a CPU without real-time work, 1..=99 are the
//! priorities, 100 stands for deadline tasks and stays empty here.
//!
//! A change sets the bit in the new mask, counts the new vector up, counts the old one down, and clears
//! the bit there, in that order and with a full barrier between any two: a CPU is in two vectors for a
//! moment, never in none, and a count above zero implies that its bit is published. A search walks the
//! levels upwards, skips those whose count is zero, and takes the first whose mask meets the affinity and
//! the active CPUs.
//!
//! Where the description leaves a choice, the faster one was taken: the masks are intersected once, where
//! the kernel looks first and copies then, and on x86-64 the locked instructions themselves are the
//! barriers.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::*, fence};

use corelane_sched::CpuId;

const LEVELS: usize = 101;

struct Vector {
    count: AtomicU32,
    mask: Box<[AtomicU64]>,
}

/// The vectors of a root domain.
pub struct CountMask {
    vectors: Box<[Vector]>,
    /// The level of each CPU; written under the lock of its runqueue only.
    levels: Box<[AtomicU8]>,
    active: Box<[AtomicU64]>,
}

impl CountMask {
    /// `cpus` CPUs, all active and without real-time work.
    pub fn new(cpus: usize) -> CountMask {
        let words = cpus.div_ceil(64);
        let full = |word: usize| match cpus - word * 64 {
            rest if rest < 64 => (1 << rest) - 1,
            _ => u64::MAX,
        };
        let mask = |fill: &dyn Fn(usize) -> u64| -> Box<[AtomicU64]> {
            (0..words).map(|word| AtomicU64::new(fill(word))).collect()
        };
        let vector = |level: usize| match level {
            0 => Vector {
                count: AtomicU32::new(cpus as u32),
                mask: mask(&full),
            },
            _ => Vector {
                count: AtomicU32::new(0),
                mask: mask(&|_| 0),
            },
        };
        CountMask {
            vectors: (0..LEVELS).map(vector).collect(),
            levels: (0..cpus).map(|_| AtomicU8::new(0)).collect(),
            active: mask(&full),
        }
    }

    /// Publishes that the highest priority on `cpu` is `prio`, 0 where there is none.
    ///
    /// # Panics
    /// If there is no such CPU, or `prio` is above 99.
    #[inline]
    pub fn set(&self, cpu: CpuId, prio: u8) {
        let (word, bit) = (cpu.index() / 64, 1 << (cpu.index() % 64));
        let level = &self.levels[cpu.index()];
        let old = level.load(Relaxed); // Relaxed: one writer at a time, by the caller's lock.
        if old == prio {
            return;
        }
        let (to, from) = (&self.vectors[prio as usize], &self.vectors[old as usize]);
        // SeqCst stands for the scheme's full barriers: pairs with the fence in `find`, so that a
        // search that saw the old count at zero sees the new one. If it misses a CPU that was lowered,
        // the pull that follows every lowering repairs it.
        to.mask[word].fetch_or(bit, SeqCst);
        to.count.fetch_add(1, SeqCst);
        from.count.fetch_sub(1, SeqCst);
        from.mask[word].fetch_and(!bit, SeqCst);
        level.store(prio, Relaxed); // Relaxed: as above.
    }

    /// Fills `lowest` with the CPUs of the lowest level strictly below `prio` that `affinity` meets, and
    /// says whether there is one. Both have a word for each 64 CPUs.
    ///
    /// # Panics
    /// If a slice is too short, or `prio` is above 99.
    #[inline]
    pub fn find(&self, prio: u8, affinity: &[u64], lowest: &mut [u64]) -> bool {
        let words = self.active.len();
        let (affinity, lowest) = (&affinity[..words], &mut lowest[..words]);
        for vector in &self.vectors[..prio as usize] {
            let count = vector.count.load(Relaxed); // Relaxed: ordered by the fence.
            fence(Acquire); // pairs with `set`, also when the level is skipped
            if count == 0 {
                continue;
            }
            let mut any = 0;
            for word in 0..words {
                // Relaxed: the answer is advice, stale on return.
                let met = affinity[word]
                    & vector.mask[word].load(Relaxed)
                    & self.active[word].load(Relaxed);
                lowest[word] = met;
                any |= met;
            }
            if any != 0 {
                return true;
            }
        }
        false
    }

    /// The first CPU that [`CountMask::find`] finds.
    #[inline]
    pub fn find_first(&self, prio: u8, affinity: &[u64], lowest: &mut [u64]) -> Option<CpuId> {
        if !self.find(prio, affinity, lowest) {
            return None;
        }
        let word = lowest.iter().position(|word| *word != 0)?;
        Some(CpuId::new(
            word * 64 + lowest[word].trailing_zeros() as usize,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_sched::{Cpupri, Level, Prio};
    use proptest::prelude::*;

    fn level(prio: u8) -> Level {
        Prio::new(prio).map_or(Level::IDLE, Level::of)
    }

    proptest! {
        #[test]
        fn both_schemes_find_the_same_cpu(
            cpus in 1usize..300,
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..=99), 0..400),
            below in 1u8..=99, holes in any::<u64>(),
        ) {
            let (ours, port) = (Cpupri::new(cpus), CountMask::new(cpus));
            for cpu in 0..cpus {
                ours.set(CpuId::new(cpu), Level::IDLE);
            }
            for (cpu, prio) in changes {
                let cpu = CpuId::new(cpu.index(cpus));
                ours.set(cpu, level(prio));
                port.set(cpu, prio);
            }
            let words = cpus.div_ceil(64);
            let affinity: Vec<u64> = (0..words).map(|word| holes.rotate_left(word as u32 * 7)).collect();
            let mut lowest = vec![0; words];
            prop_assert_eq!(
                ours.find(level(below), |word| affinity[word]),
                port.find_first(below, &affinity, &mut lowest)
            );
        }
    }

    #[test]
    fn a_search_returns_the_whole_set_of_the_lowest_level() {
        let port = CountMask::new(70);
        (0..70).for_each(|cpu| port.set(CpuId::new(cpu), 50));
        port.set(CpuId::new(3), 20);
        port.set(CpuId::new(69), 20);
        let (all, mut lowest) = ([u64::MAX; 2], [0; 2]);
        assert!(port.find(21, &all, &mut lowest));
        assert_eq!(lowest, [1 << 3, 1 << 5]);
        assert!(!port.find(20, &all, &mut lowest));
    }
}
