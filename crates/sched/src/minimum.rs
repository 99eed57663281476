//! The minimum of many levels in one word, never above the true one.
//!
//! Searches want to know the minimum of a group without reading the group. Whoever lowers a level can lower
//! the minimum on the spot, but whoever raises the lowest level has to compute the minimum anew, and others
//! fall meanwhile: a plain store afterwards would hide them. If instead each fall counted up a version, the
//! raiser would notice, but then every fall of every CPU would write the same word.
//!
//! The idea: whoever raises the minimum first *marks* the word, then reads the levels, then swaps the result
//! in if the word is still as marked. Whoever falls writes its level, then reads the word. No mark and a
//! minimum low enough: nothing to write, because a later mark comes before levels are read, which are then
//! read with the fall. Otherwise it takes the mark away, and the raiser begins again. A version makes every
//! content of the word new.
//!
//! *The minimum is at most the true one for every finished change.* After a race of two raisers it may stay
//! too low; that costs a search a needless look and hides nobody.
//!
//! Cost: one load for a change above the minimum; one locked instruction to lower it, two to raise it.

use crate::primitives::atomic::{AtomicU64, Ordering::*};

/// `raising << 63 | minimum << 56 | version`.
pub(crate) struct Minimum(AtomicU64);

/// Somebody computes a higher minimum.
const RAISING: u64 = 1 << 63;
const MINIMUM_SHIFT: u32 = 56;
const VERSION: u64 = (1 << MINIMUM_SHIFT) - 1;

impl Minimum {
    pub(crate) fn new(minimum: u8) -> Minimum {
        Minimum(AtomicU64::new(u64::from(minimum) << MINIMUM_SHIFT))
    }

    /// At most the lowest level.
    #[inline]
    pub(crate) fn get(&self) -> u8 {
        // SeqCst: a raiser of the next higher minimum reads this one after its mark. To a search the answer
        // is advice.
        minimum_of(self.0.load(SeqCst))
    }

    /// The first of `minima` that is at most `level` and not marked.
    #[inline]
    pub(crate) fn first_at_most(level: u8, minima: &[Minimum]) -> Option<usize> {
        let limit = u64::from(level + 1) << MINIMUM_SHIFT;
        // Relaxed: it only says where to look first.
        let is_below = |minimum: &Minimum| minimum.0.load(Relaxed) < limit;
        let (fours, _) = minima.as_chunks::<4>();
        let any = |four: &[Minimum; 4]| four.iter().fold(false, |any, one| any | is_below(one));
        let skipped = 4 * fours.iter().take_while(|four| !any(four)).count();
        let rest = minima[skipped..].iter().position(is_below);
        rest.map(|index| skipped + index)
    }

    /// Whether a change between two levels may concern the minimum, `lower` being the lower of both.
    ///
    /// The level is written before, with SeqCst.
    #[inline]
    pub(crate) fn is_concerned(&self, lower: u8) -> bool {
        // SeqCst: the level was written before; see `fall`. The mark is above every level.
        (self.0.load(SeqCst) >> MINIMUM_SHIFT) as u8 >= lower
    }

    /// A level has fallen to `new`, which is written already.
    pub(crate) fn fall(&self, new: u8) {
        loop {
            // SeqCst: the level was written before, and `rise` marks before it reads levels. Either we
            // see the mark, or it sees our level.
            let seen = self.0.load(SeqCst);
            let minimum = minimum_of(seen);
            if minimum <= new && seen & RAISING == 0 {
                return;
            }
            let next = following(seen, minimum.min(new));
            // SeqCst: Release publishes the level to `rise`, which begins again; in the one order because
            // others take this for the write of a level. Lost to another change: look again.
            if self.swap(seen, next) {
                return;
            }
        }
    }

    /// A level has risen from `old`, which is written already; `compute` reads all levels with SeqCst.
    pub(crate) fn rise(&self, old: u8, compute: impl Fn() -> u8) {
        loop {
            // SeqCst: a mark that is seen comes before the levels that are read below.
            let seen = self.0.load(SeqCst);
            if minimum_of(seen) != old {
                return; // another level is lower, or others have raised the minimum already
            }
            // The mark of another raiser serves as well: were each to set its own, two could stop each
            // other for ever.
            let mut marked = seen;
            if seen & RAISING == 0 {
                if compute() == old {
                    return; // another level is equal
                }
                marked = following(seen, old) | RAISING;
                // SeqCst: before the levels are read, see `fall`. Lost to another change: look again.
                if !self.swap(seen, marked) {
                    continue;
                }
            }
            // SeqCst: as above. Lost: somebody fell since the mark, or has raised; look again.
            if self.swap(marked, following(marked, compute())) {
                return;
            }
        }
    }

    fn swap(&self, seen: u64, next: u64) -> bool {
        // SeqCst, as the callers say. Relaxed: what a failure saw is not used.
        self.0.compare_exchange(seen, next, SeqCst, Relaxed).is_ok()
    }
}

fn minimum_of(word: u64) -> u8 {
    (word >> MINIMUM_SHIFT) as u8 & 0x7f
}

/// A word that was never there, without a mark.
fn following(seen: u64, minimum: u8) -> u64 {
    u64::from(minimum) << MINIMUM_SHIFT | seen.wrapping_add(1) & VERSION
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn a_fall_between_the_mark_and_the_result_is_not_hidden() {
        let (minimum, turn) = (Minimum::new(10), Cell::new(0));
        // The levels are read before the mark, after it, and once more because of the fall.
        minimum.rise(10, || {
            turn.set(turn.get() + 1);
            if turn.get() == 2 {
                minimum.fall(30);
                return 60; // read before the fall
            }
            if turn.get() < 2 { 60 } else { 30 }
        });
        assert!(minimum.get() <= 30);
        assert!(turn.get() >= 2, "the result was computed under the mark");
    }

    #[test]
    fn changes_above_the_minimum_write_nothing() {
        let minimum = Minimum::new(10);
        let before = minimum.0.load(Relaxed); // Relaxed: one thread.
        minimum.fall(20);
        minimum.rise(20, || 10);
        minimum.rise(10, || 10);
        assert_eq!(minimum.0.load(Relaxed), before);
        assert!(!minimum.is_concerned(20) && minimum.is_concerned(10));
    }

    #[test]
    fn a_raiser_takes_over_the_mark_of_another() {
        let (minimum, turn) = (Minimum::new(10), Cell::new(0));
        minimum.rise(10, || {
            turn.set(turn.get() + 1);
            if turn.get() == 2 {
                minimum.rise(10, || 40);
                assert_eq!(minimum.get(), 40);
            }
            50
        });
        assert_eq!(minimum.get(), 40, "the late result is not swapped in");
    }
}
