//! The guard word: how many migrate-disable guards the running task of a fiber holds.
//!
//! Entering and leaving a guard is the most frequent thing a task does with the runtime, so it must be a
//! few instructions: no lock, no locked instruction, no call. A plain counter is a chain of two dependent
//! load-store pairs for each guard. Here a guard remembers the word as it found it, and the common drop
//! *restores* that word instead of counting down: one compare tells at once that the guard is the
//! innermost one, that its task has not ended, and that the scheduler is not waiting for it.
//!
//! ```text
//!   bit 63 ............ 33   32          31 ................ 0
//!   generation of the task   attention   guards, at most 2^31
//! ```
//!
//! The generation tells guards of an earlier task of the same fiber apart (one may be kept in a thread-local).
//! A task that leaves no guard behind uses none up, so a generation cannot come again merely because many
//! tasks ran; and before it would, after 2^31 tasks of one fiber that each left guards behind, the process
//! ends, as it does when the references of an `Arc` run out. Otherwise a guard kept that long would release
//! one of somebody else's, and with it the pin that `PinCurrentCpu` promises.
//! *Attention* means that the scheduler waits for the last guard. The scheduler itself reads the count from
//! its entity, where it is filed whenever the task enters the scheduler ([`crate::current::Fiber::suspend`]).

use core::cell::Cell;

const COUNT: u64 = (1 << 32) - 1;
const ATTENTION: u64 = 1 << 32;
const GENERATION: u64 = 1 << 33;
const GENERATION_MAX: u64 = u64::MAX / GENERATION;

/// The guard word of a fiber; touched by the code that runs on it, and by its carrier while it is suspended.
pub(crate) struct Held(Cell<u64>);

/// What a drop has found.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Released {
    /// Nobody waits for it.
    Quietly,
    /// It was the last one, and the scheduler waits for that.
    Awaited,
}

impl Held {
    pub(crate) const fn new() -> Held {
        Held(Cell::new(0))
    }

    /// One more guard; returns the word for [`Held::leave`].
    #[inline(always)]
    pub(crate) fn enter(&self) -> u64 {
        let found = self.0.get();
        if (found as u32).cast_signed() < 0 {
            too_deep();
        }
        self.0.set(found + 1);
        found
    }

    /// The guard that found the word as `found` is dropped.
    #[inline(always)]
    pub(crate) fn leave(&self, found: u64) -> Released {
        if self.0.get() == found + 1 {
            self.0.set(found);
            return Released::Quietly;
        }
        self.leave_oddly(found)
    }

    /// Out of order, awaited, or after the task's end.
    #[cold]
    #[inline(never)]
    fn leave_oddly(&self, found: u64) -> Released {
        let now = self.0.get();
        if now / GENERATION != found / GENERATION {
            return Released::Quietly; // its task has ended, which released it
        }
        self.0.set(now - 1);
        if (now - 1) & (COUNT | ATTENTION) == ATTENTION {
            Released::Awaited
        } else {
            Released::Quietly
        }
    }

    /// How many guards the task holds.
    pub(crate) fn count(&self) -> u32 {
        (self.0.get() & COUNT) as u32
    }

    /// Says whether the scheduler waits for the last guard. Without guards there is none to wait for.
    pub(crate) fn set_attention(&self, wanted: bool) {
        let rest = self.0.get() & !ATTENTION;
        let waits = wanted && rest & COUNT > 0;
        self.0.set(rest | (u64::from(waits) * ATTENTION));
    }

    /// The task ends: its guards are void; returns how many there were.
    ///
    /// # Panics
    /// If tasks of this fiber have left guards behind 2^31 times.
    pub(crate) fn end(&self) -> u32 {
        let count = self.count();
        let generation = self.0.get() / GENERATION + u64::from(count > 0);
        assert!(
            generation <= GENERATION_MAX,
            "2^31 tasks of one fiber have left migrate-disable guards behind (Stats::leaked_guards)"
        );
        self.0.set(generation * GENERATION);
        count
    }
}

#[cold]
#[inline(never)]
fn too_deep() -> ! {
    panic!("migrate-disable guards nest at most 2^31 deep");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_may_be_dropped_in_any_order() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
            let held = Held::new();
            let found = [held.enter(), held.enter(), held.enter()];
            held.set_attention(true);
            let seen = order.map(|guard| held.leave(found[guard]));
            assert_eq!(
                seen,
                [Released::Quietly, Released::Quietly, Released::Awaited],
                "{order:?}"
            );
            assert_eq!(held.count(), 0);
        }
    }

    #[test]
    fn the_last_guard_is_awaited_only_while_it_is() {
        let held = Held::new();
        let outer = held.enter();
        held.set_attention(true);
        let inner = held.enter();
        assert_eq!(held.leave(inner), Released::Quietly);
        held.set_attention(false);
        assert_eq!(held.leave(outer), Released::Quietly);
        held.set_attention(true);
        let later = held.enter();
        assert_eq!(
            held.leave(later),
            Released::Quietly,
            "there was none to wait for"
        );
    }

    #[test]
    fn a_guard_that_outlives_its_task_does_nothing() {
        let held = Held::new();
        let (kept, _forgotten) = (held.enter(), held.enter());
        assert_eq!(held.end(), 2);
        assert_eq!(held.leave(kept), Released::Quietly);
        let new = held.enter();
        assert_eq!((held.leave(kept), held.count()), (Released::Quietly, 1));
        assert_eq!((held.leave(new), held.count()), (Released::Quietly, 0));
    }

    #[test]
    fn a_task_that_leaves_no_guard_behind_uses_no_generation_up() {
        let held = Held(Cell::new(GENERATION_MAX * GENERATION));
        for attention in [false, true] {
            let guard = held.enter();
            held.set_attention(attention);
            let _ = held.leave(guard);
            assert_eq!(held.end(), 0);
            assert_eq!(held.0.get(), GENERATION_MAX * GENERATION);
        }
    }

    #[test]
    #[should_panic(expected = "left migrate-disable guards behind")]
    fn a_generation_does_not_come_again_while_a_guard_of_it_may_be_kept() {
        let held = Held::new();
        let _kept = held.enter();
        assert_eq!(held.end(), 1);
        held.0.set(GENERATION_MAX * GENERATION); // after as many such tasks as there are generations
        let _forgotten = held.enter();
        held.end();
    }

    #[test]
    #[should_panic(expected = "2^31 deep")]
    fn too_many_guards_are_refused_before_they_overflow() {
        let held = Held(Cell::new(1 << 31));
        held.enter();
    }
}
