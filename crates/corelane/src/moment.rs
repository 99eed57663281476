//! One moment that one waiter waits for, in one word.
//!
//! The word tells whether the moment has come; a thread sleeps on that word, whoever sleeps otherwise leaves
//! a reference to itself (`W`). Or nobody waits and nobody ever will: then whoever brings the moment about is
//! told. See [park.md](../park.md).
//!
//! ```text
//!             (1) expect                (4) come, hands it out
//!        ┌──────────────────► TASK ─────────────────────────────┐
//!        │                     │ (3') detach                    ▼
//!   PENDING ─(3) detach──► DETACHED ───(4) come, told───────► DONE
//!        │ └────────────────────────────(4) come─────────────►  ▲
//!        └──────────────────► THREAD ───────────────────────────┘
//!             (2) wait_as_thread        (4) come, wakes it
//! ```
//!
//! There is one waiter, and it waits once: (1), (2) and (3) are its steps, (3') is that of a waiter that
//! unwinds instead of waiting on. (4) is the other side's, once. So the waiter's reference needs no lock:
//! it is put down before the word becomes TASK, and taken up by whoever takes the word out of TASK. Each
//! step is one exchange; it is also what hands over whatever the moment guards, such as a result: to the
//! waiter by DONE, back to the other side by DETACHED.
//!
//! Cost: one exchange to come, one more if a task waits, none to find it done; a system call only if a
//! thread sleeps.
//!
//! # Unsafe
//! What is raw: the pointer that owns the waiter's reference. It is put down and taken up by exchanges, so
//! also a broken promise of a single waiter loses a reference at worst. Shown by the tests of
//! `completion.rs`, `models/moment.rs` and `tests/spawn.rs`.

use crate::primitives::atomic::{AtomicPtr, AtomicU32, Ordering::*};
use core::ptr;
use std::sync::Arc;

use crate::primitives::futex;

const PENDING: u32 = 0;
const TASK: u32 = 1;
const THREAD: u32 = 2;
const DETACHED: u32 = 3;
const DONE: u32 = 4;

/// To whom that belongs which the moment guards.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// To the one who waits, or may yet.
    Waiter,
    /// To the one who brings the moment about: nobody will wait.
    Completer,
}

pub(crate) struct Moment<W> {
    word: AtomicU32,
    /// The reference of the task that waits, or null.
    waiter: AtomicPtr<W>,
}

impl<W> Moment<W> {
    pub(crate) fn new() -> Moment<W> {
        Moment {
            word: AtomicU32::new(PENDING),
            waiter: AtomicPtr::new(ptr::null_mut()),
        }
    }

    #[inline]
    pub(crate) fn has_come(&self) -> bool {
        // Acquire: pairs with the Release in `come`; whoever sees DONE sees the result.
        self.word.load(Acquire) == DONE
    }

    /// (4) The moment has come. Called once, by whoever produced the result; `wakes` is given the reference
    /// that waits.
    #[inline]
    pub(crate) fn come(&self, wakes: impl FnOnce(Arc<W>)) -> Owner {
        // AcqRel: Release publishes the result to `has_come` and to the exchanges below; Acquire shows the
        // reference that (1) left. A waiter that comes later sees DONE and does not wait.
        match self.word.swap(DONE, AcqRel) {
            PENDING => {}
            TASK => _ = self.take_up().map(wakes),
            THREAD => _ = futex::wake(&self.word, u32::MAX),
            DETACHED => return Owner::Completer,
            _ => unreachable!("a moment comes once"),
        }
        Owner::Waiter
    }

    fn put_down(&self, waiter: Arc<W>) {
        // Relaxed: published by the exchange of the word that follows.
        self.waiter.store(Arc::into_raw(waiter).cast_mut(), Relaxed);
    }

    /// Takes the waiter's reference, after an exchange of the word that says whose it is.
    fn take_up(&self) -> Option<Arc<W>> {
        let waiter = self.waiter.swap(ptr::null_mut(), Relaxed); // Relaxed: the word orders it.
        // SAFETY: null, or from `into_raw` in `put_down`; whoever swaps it out has its reference.
        (!waiter.is_null()).then(|| unsafe { Arc::from_raw(waiter) })
    }

    /// (1) Leaves `waiter` for `come`. Says whether the caller must wait until it is woken.
    #[must_use]
    pub(crate) fn expect(&self, waiter: Arc<W>) -> bool {
        self.put_down(waiter);
        let must_wait = self.announce(TASK);
        if !must_wait {
            drop(self.take_up());
        }
        must_wait
    }

    /// (2) Sleeps in the kernel until the moment has come.
    pub(crate) fn wait_as_thread(&self) {
        if self.announce(THREAD) {
            while !self.has_come() {
                let _ = futex::wait(&self.word, THREAD, None);
            }
        }
    }

    /// Says that somebody waits; false if the moment has come.
    fn announce(&self, how: u32) -> bool {
        // AcqRel: Release shows the waiter's reference to `come`. Lost to it: Acquire shows the result.
        let seen = self.word.compare_exchange(PENDING, how, AcqRel, Acquire);
        assert!(
            matches!(seen, Ok(_) | Err(DONE)),
            "a moment has one waiter, who waits once"
        );
        seen.is_ok()
    }

    /// (3), (3') Nobody will wait, or go on waiting. The waiter calls it, instead of or after its wait.
    #[inline]
    pub(crate) fn detach(&self) -> Owner {
        // AcqRel: Release passes on what the waiter did so far. Lost to `come`: Acquire shows the result.
        let detached = |seen| (seen != DONE).then_some(DETACHED);
        match self.word.fetch_update(AcqRel, Acquire, detached) {
            Ok(_) => {
                drop(self.take_up());
                Owner::Completer
            }
            Err(_done) => Owner::Waiter,
        }
    }
}
