//! What the waker and the woken tell each other.
//!
//! The waker notes the time and wakes; the woken notes the time as its first act and leaves it here.
//! The waker does not spin for the answer: it sleeps until the next wake is due, and finds it then.
//! Spinning would keep its CPU at full speed and, on one CPU without privilege, keep the woken from
//! running.
//!
//! ```text
//!   QUIET ── ask ──► ASKED ── answer ──► time of the answer ── take ──► QUIET
//! ```
//! An answer counts only if it was asked for, so a spurious wake-up leaves no trace.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

const QUIET: u64 = 0;
const ASKED: u64 = 1;

/// The words between a waker and a woken.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    answer: AtomicU64,
    is_ready: AtomicBool,
    is_over: AtomicBool,
}

impl Exchange {
    /// The woken is about to wait for the first time.
    pub(super) fn get_ready(&self) {
        self.is_ready.store(true, Relaxed); // Relaxed: says nothing about other memory.
    }

    /// Whether the woken has reached its wait.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Relaxed) // Relaxed: see `get_ready`.
    }

    /// The waker is about to wake.
    #[inline]
    pub(super) fn ask(&self) {
        // Relaxed: the wake that follows orders it before the answer.
        self.answer.store(ASKED, Relaxed);
    }

    /// The woken ran at `stamp`.
    #[inline]
    pub(super) fn answer(&self, stamp: u64) {
        // Relaxed: the value itself is all that is told; a failure means that nobody asked.
        let _ = self
            .answer
            .compare_exchange(ASKED, stamp.max(ASKED + 1), Relaxed, Relaxed);
    }

    /// Takes the answer, if it has come.
    pub(super) fn take(&self) -> Option<u64> {
        match self.answer.load(Relaxed) {
            QUIET | ASKED => None,
            stamp => {
                self.answer.store(QUIET, Relaxed); // Relaxed: nobody answers before the next ask.
                Some(stamp)
            }
        }
    }

    /// The block is over; whoever waits must be woken once more to see it.
    pub(super) fn end(&self) {
        self.is_over.store(true, Relaxed); // Relaxed: the last wake orders it; spinners poll.
    }

    /// Whether the block is over.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed) // Relaxed: see `end`.
    }
}

#[cfg(test)]
mod tests {
    use super::Exchange;

    #[test]
    fn an_answer_that_nobody_asked_for_leaves_no_trace() {
        let exchange = Exchange::default();
        exchange.answer(7);
        assert_eq!(exchange.take(), None);
        exchange.ask();
        assert_eq!(exchange.take(), None);
        exchange.answer(8);
        exchange.answer(9);
        assert_eq!(exchange.take(), Some(8));
        exchange.answer(10);
        assert_eq!(exchange.take(), None);
    }
}
