//! One moment that one waiter waits for.
//!
//! A word tells whether the moment has come. A thread sleeps on that word; whoever sleeps otherwise leaves
//! a reference to itself (`W`), and gets it back from the one who brings the moment about. The waiter says
//! in the word how it sleeps, so nobody makes a system call for one who does not. See
//! [park.md](../park.md).
//!
//! ```text
//!            (1) expect, wait_as_thread               (2) come
//!   0 ─────────────────────────────► THREAD_SLEEPS ──────────────► DONE
//!   │                                and TASK_WAITS                 ▲
//!   └────────────────────────────── (2) come ───────────────────────┘
//! ```
//!
//! Cost of (2): one exchange, a lock only if a task waits, a system call only if a thread sleeps.

use crate::primitives::Mutex;
use crate::primitives::atomic::{AtomicU32, Ordering::*};
use crate::primitives::futex;

const THREAD_SLEEPS: u32 = 1;
const TASK_WAITS: u32 = 2;
const DONE: u32 = 4;

pub(crate) struct Moment<W> {
    word: AtomicU32,
    waiter: Mutex<Option<W>>,
}

impl<W> Moment<W> {
    pub(crate) fn new() -> Moment<W> {
        Moment {
            word: AtomicU32::new(0),
            waiter: Mutex::new(None),
        }
    }

    pub(crate) fn has_come(&self) -> bool {
        // Acquire: pairs with the Release in `come`; whoever sees DONE sees what came before.
        self.word.load(Acquire) & DONE != 0
    }

    /// (2) The moment has come: wakes a thread, and returns a waiter that the caller must wake.
    /// Called once.
    #[must_use]
    pub(crate) fn come(&self) -> Option<W> {
        // AcqRel: Release publishes the result; Acquire shows the waiter that announced itself. A waiter
        // that announces itself later sees DONE and does not wait.
        let seen = self.word.swap(DONE, AcqRel);
        if seen & THREAD_SLEEPS != 0 {
            futex::wake(&self.word, u32::MAX);
        }
        if seen & TASK_WAITS == 0 {
            return None;
        }
        self.waiter.lock().take()
    }

    /// (1) Leaves `waiter` for `come`. Says whether the caller must wait until it is woken.
    #[must_use]
    pub(crate) fn expect(&self, waiter: W) -> bool {
        *self.waiter.lock() = Some(waiter);
        // AcqRel: pairs with the exchange in `come`; lost: we see DONE at once.
        self.word.fetch_or(TASK_WAITS, AcqRel) & DONE == 0
    }

    /// (1) Sleeps in the kernel until the moment has come.
    pub(crate) fn wait_as_thread(&self) {
        loop {
            // AcqRel: pairs with the exchange in `come`; lost: we see DONE and do not sleep.
            let seen = self.word.fetch_or(THREAD_SLEEPS, AcqRel);
            if seen & DONE != 0 {
                return;
            }
            let _ = futex::wait(&self.word, seen | THREAD_SLEEPS, None);
        }
    }
}
