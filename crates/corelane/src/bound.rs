//! The task of a fiber, for those who look at fibers from outside: to cancel what is left, and to name it.
//!
//! The fiber's own reference to its task cannot be read by another thread: it may go away at any moment, and
//! the task with it. A lock around it would cost every task two acquisitions for the sake of a shutdown, and
//! a thread that is stopped while it looks would keep a worker waiting.
//!
//! So the address is shown in a word of its own. Who looks marks it, takes a reference, and takes the mark
//! away. A carrier that ends the task in between finds the mark, and leaves its reference to the one who
//! looks instead of dropping it: neither waits for the other.
//!
//! ```text
//!        (1) show             (2) look: mark
//!   0 ───────────► address ◄──────────────────► address | MARK
//!   ▲                 │        (3) unmark              │
//!   └──(4) hide───────┘                                │
//!   └──(4') hide: the reference goes to who looks ─────┘
//! ```
//!
//! Cost: a store to show, one exchange to hide. See [bound.md](../bound.md).
//!
//! # Unsafe
//! What is raw: the address, and the reference that (4') leaves behind. Shown by the tests below and
//! `models/bound.rs`.

use crate::primitives::Mutex;
use crate::primitives::atomic::{AtomicPtr, Ordering::*};
use core::ptr;
use std::sync::Arc;

/// What is shown is aligned, so the lowest bit of its address is free.
const MARK: usize = 1;

/// Shows a `T`, which is a task.
pub(crate) struct Bound<T> {
    word: AtomicPtr<T>,
    /// One looks at a time. Carriers never take it.
    looking: Mutex<()>,
}

impl<T> Bound<T> {
    pub(crate) fn empty() -> Bound<T> {
        const { assert!(align_of::<T>() > MARK, "an address has room for the mark") };
        Bound {
            word: AtomicPtr::new(ptr::null_mut()),
            looking: Mutex::new(()),
        }
    }

    /// (1) Shows a task, of which the caller keeps a reference until it hides it.
    pub(crate) fn show(&self, task: &Arc<T>) {
        // Release: pairs with the Acquire of (2), which then sees the task. Nothing is shown here now.
        self.word.store(Arc::as_ptr(task).cast_mut(), Release);
    }

    /// (4) Hides the task that was shown. The reference comes back, or stays with who looks at it.
    pub(crate) fn hide(&self, task: Arc<T>) -> Option<Arc<T>> {
        // AcqRel: Release pairs with the Acquire of (3) if it fails; Acquire with the Release of (2) and (3).
        let seen = self.word.swap(ptr::null_mut(), AcqRel);
        if seen.addr() & MARK == 0 {
            return Some(task);
        }
        core::mem::forget(task); // (4') `look` takes it over
        None
    }

    /// Whether a task is shown.
    pub(crate) fn is_some(&self) -> bool {
        !self.word.load(Relaxed).is_null() // Relaxed: advice.
    }

    /// (2), (3) A reference to the task that is shown.
    pub(crate) fn look(&self) -> Option<Arc<T>> {
        let _one_looks = self.looking.lock();
        let seen = self.word.load(Relaxed); // Relaxed: the exchange checks it.
        if seen.is_null() {
            return None;
        }
        let marked = seen.map_addr(|address| address | MARK);
        // AcqRel: Acquire pairs with (1). Lost: the task has ended.
        let mark = self.word.compare_exchange(seen, marked, AcqRel, Relaxed);
        let seen = mark.ok()?;
        // SAFETY: an address that `show` took from a reference. While it is marked, that reference is not
        // dropped: `hide` finds the mark.
        let task = unsafe {
            Arc::increment_strong_count(seen);
            Arc::from_raw(seen)
        };
        // Release: the count went up before the mark goes. Lost to (4'), or to (1) after it: there was a
        // reference left for us. The address cannot have been shown anew, since we keep the task alive.
        let unmark = self.word.compare_exchange(marked, seen, AcqRel, Acquire);
        if unmark.is_err() {
            // SAFETY: `hide` saw the mark and left its reference to us.
            drop(unsafe { Arc::from_raw(seen) });
        }
        Some(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::atomic::AtomicU64;

    #[test]
    fn what_is_shown_can_be_looked_at_until_it_is_hidden() {
        let (bound, task) = (Bound::empty(), Arc::new(7u64));
        assert!(bound.look().is_none() && !bound.is_some());
        bound.show(&task);
        assert!(bound.is_some());
        assert_eq!(
            (bound.look().as_deref(), bound.look().as_deref()),
            (Some(&7), Some(&7))
        );
        let back = bound.hide(task).expect("nobody looks");
        assert_eq!(Arc::strong_count(&back), 1);
        assert!(bound.look().is_none() && !bound.is_some());
    }

    #[test]
    fn a_reference_that_is_hidden_under_the_mark_goes_to_the_one_who_marked() {
        let (bound, task) = (Bound::empty(), Arc::new(7u64));
        bound.show(&task);
        let marked = bound.word.load(Relaxed).map_addr(|address| address | MARK);
        bound.word.store(marked, Relaxed);
        let kept = task.clone();
        assert!(bound.hide(task).is_none());
        assert_eq!(
            Arc::strong_count(&kept),
            2,
            "the reference was left, not dropped"
        );
        // SAFETY: the reference that `hide` left.
        drop(unsafe { Arc::from_raw(Arc::as_ptr(&kept)) });
    }

    #[test]
    fn tasks_that_end_while_somebody_looks_are_dropped_once() {
        struct Counted(Arc<AtomicU64>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        const TASKS: u64 = 20_000;
        let (bound, dropped) = (Bound::empty(), Arc::new(AtomicU64::new(0)));
        std::thread::scope(|scope| {
            let carrier = scope.spawn(|| {
                for _ in 0..TASKS {
                    let task = Arc::new(Counted(dropped.clone()));
                    bound.show(&task);
                    drop(bound.hide(task));
                }
            });
            while !carrier.is_finished() {
                drop(bound.look());
            }
        });
        assert_eq!(dropped.load(Relaxed), TASKS);
    }
}
