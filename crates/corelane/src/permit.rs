//! The permit that `task::park` waits for: given at any time, by anyone, taken once.
//!
//! A task that parks on its carrier sleeps by the state word, and the permit is only the condition that it
//! checks. In a native part it sleeps in the kernel, on the permit itself. A giver does not know which, so
//! the word says whether somebody sleeps on it; see [park.md](../park.md).
//!
//! ```text
//!            (1) grant                    (3) await_natively
//!   NONE ───────────────► PERMIT     NONE ──────────────────► SLEEPER
//!     ▲                     │ ▲                                │   │
//!     └──── (2) take ───────┘ └── (1) grant, wakes the sleeper ┘   │
//!     └─────────────────────── (4) await_natively, timed out ──────┘
//! ```
//!
//! Cost: one exchange each; a system call only in a native part.

use crate::primitives::atomic::{AtomicU32, Ordering::*};
use crate::primitives::futex;

const NONE: u32 = 0;
const PERMIT: u32 = 1;
const SLEEPER: u32 = 2;

pub(crate) struct Permit(AtomicU32);

impl Permit {
    pub(crate) fn new() -> Permit {
        Permit(AtomicU32::new(NONE))
    }

    /// (1) Gives the permit; wakes a native sleeper.
    pub(crate) fn grant(&self) {
        // AcqRel: Release publishes what the unparker did; Acquire orders the sleeper's announcement.
        if self.0.swap(PERMIT, AcqRel) == SLEEPER {
            futex::wake(&self.0, 1);
        }
    }

    /// (2) Takes the permit if there is one.
    pub(crate) fn take(&self) -> bool {
        // Acquire: pairs with `grant`. Relaxed on failure: nothing was taken.
        self.0
            .compare_exchange(PERMIT, NONE, Acquire, Relaxed)
            .is_ok()
    }

    /// (3), (4) Waits for the permit on the task's own kernel thread; says whether it came before
    /// `deadline_ns`.
    pub(crate) fn await_natively(&self, deadline_ns: Option<u64>) -> bool {
        loop {
            if self.take() {
                return true;
            }
            // Relaxed: a grant in between makes the exchange fail, and we look again.
            let _ = self.0.compare_exchange(NONE, SLEEPER, Relaxed, Relaxed);
            if futex::wait(&self.0, SLEEPER, deadline_ns) == futex::Wait::TimedOut {
                // Acquire: pairs with `grant`, which may have come with the timeout.
                return self.0.swap(NONE, Acquire) == PERMIT;
            }
        }
    }

    /// The word that a native sleeper sleeps on.
    #[cfg(all(loom, test))]
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.0
    }
}
