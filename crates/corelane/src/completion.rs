//! One moment that one waiter waits for: the end of a task.
//!
//! The waiter is a task or an ordinary thread, and the two sleep differently: a task leaves its CPU to
//! others, a thread sleeps in the kernel. A condition variable would serve the thread and block the task's
//! worker. Here a word tells whether the moment has come; a thread sleeps on that word, a task leaves a
//! reference to itself. Or nobody waits and nobody ever will: then whoever completes is told.
//!
//! ```text
//!             (1) wait_as_task          (4) complete, wakes it
//!        ┌──────────────────► TASK ─────────────────────────────┐
//!        │                     │ (3') detach                    ▼
//!   PENDING ─(3) detach──► DETACHED ───(4) complete, told───► DONE
//!        │ └────────────────────────────(4) complete─────────►  ▲
//!        └──────────────────► THREAD ───────────────────────────┘
//!             (2) wait_as_thread        (4) complete, wakes it
//! ```
//!
//! There is one waiter, and it waits once: (1), (2) and (3) are its steps, (3') is that of a waiter that
//! unwinds instead of waiting on. (4) is the other side's, once. So the waiter's reference needs no lock:
//! it is put down before the word becomes TASK, and taken up by whoever takes the word out of TASK. Each
//! step is one exchange; it is also what hands over whatever the moment guards, such as a result: to the
//! waiter by DONE, back to the completer by DETACHED.
//!
//! Cost: one exchange to complete, one more if a task waits, none to find it done; a system call only if a
//! thread sleeps.
//!
//! # Unsafe
//! What is raw: the pointer that owns the waiter's reference. It is put down and taken up by exchanges, so
//! also a broken promise of a single waiter loses a reference at worst. Shown by the tests below and
//! `tests/spawn.rs`.

use crate::primitives::atomic::{AtomicPtr, AtomicU32, Ordering::*};
use core::ptr;
use std::sync::Arc;

use corelane_os::futex;
use corelane_sched::Node;

use crate::current::Fiber;
use crate::task_body::{Body, Task};
use crate::wake;

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
    /// To the one who completes: nobody will wait.
    Completer,
}

pub(crate) struct Completion {
    word: AtomicU32,
    /// The reference of the task that waits, or null.
    waiter: AtomicPtr<Node<Body>>,
}

impl Completion {
    pub(crate) const fn new() -> Completion {
        Completion {
            word: AtomicU32::new(PENDING),
            waiter: AtomicPtr::new(ptr::null_mut()),
        }
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        // Acquire: pairs with the Release in `complete`; whoever sees DONE sees the result.
        self.word.load(Acquire) == DONE
    }

    /// (4) The moment has come. Called once, by whoever produced the result.
    #[inline]
    pub(crate) fn complete(&self) -> Owner {
        // AcqRel: Release publishes the result to `is_done` and to the exchanges below; Acquire shows the
        // reference that (1) left. A waiter that comes later sees DONE and does not wait.
        match self.word.swap(DONE, AcqRel) {
            PENDING => {}
            TASK => self.take_up().into_iter().for_each(wake::wake),
            THREAD => _ = futex::wake(&self.word, u32::MAX),
            DETACHED => return Owner::Completer,
            _ => unreachable!("a moment comes once"),
        }
        Owner::Waiter
    }

    fn put_down(&self, task: Task) {
        // Relaxed: published by the exchange of the word that follows.
        self.waiter.store(Arc::into_raw(task).cast_mut(), Relaxed);
    }

    /// Takes the waiter's reference, after an exchange of the word that says whose it is.
    fn take_up(&self) -> Option<Task> {
        let waiter = self.waiter.swap(ptr::null_mut(), Relaxed); // Relaxed: the word orders it.
        // SAFETY: null, or from `into_raw` in `put_down`; whoever swaps it out has its reference.
        (!waiter.is_null()).then(|| unsafe { Arc::from_raw(waiter) })
    }

    /// Waits in whatever way suits the caller: a task suspends, a thread sleeps. The one waiter calls it,
    /// once.
    #[inline]
    pub(crate) fn wait(&self) {
        if self.is_done() {
            return;
        }
        match Fiber::carried() {
            Some(fiber) => self.wait_as_task(fiber),
            None => self.wait_as_thread(),
        }
    }

    /// (1)
    fn wait_as_task(&self, fiber: &Fiber) {
        self.put_down(fiber.task());
        if !self.announce(TASK) {
            return drop(self.take_up());
        }
        while !self.is_done() {
            fiber.wait(None);
        }
    }

    /// (2)
    fn wait_as_thread(&self) {
        if self.announce(THREAD) {
            while !self.is_done() {
                let _ = futex::wait(&self.word, THREAD, None);
            }
        }
    }

    /// Says that somebody waits; false if the moment has come.
    fn announce(&self, how: u32) -> bool {
        // AcqRel: Release shows the waiter's reference to `complete`. Lost to it: Acquire shows the result.
        let seen = self.word.compare_exchange(PENDING, how, AcqRel, Acquire);
        assert!(
            matches!(seen, Ok(_) | Err(DONE)),
            "a moment has one waiter, who waits once"
        );
        seen.is_ok()
    }

    /// (3), (3') Nobody will wait, or go on waiting. The waiter calls it, instead of or after `wait`.
    #[inline]
    pub(crate) fn detach(&self) -> Owner {
        // AcqRel: Release passes on what the waiter did so far. Lost to `complete`: Acquire shows the result.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_has_come_is_not_waited_for_and_stays_the_waiters() {
        let moment = Completion::new();
        assert!(!moment.is_done());
        assert_eq!(moment.complete(), Owner::Waiter);
        moment.wait();
        assert!(moment.is_done());
        assert_eq!(moment.detach(), Owner::Waiter);
    }

    #[test]
    fn a_completer_is_told_that_nobody_waits() {
        let moment = Completion::new();
        assert_eq!(moment.detach(), Owner::Completer);
        assert!(!moment.is_done());
        assert_eq!(moment.complete(), Owner::Completer);
    }

    #[test]
    fn of_detaching_and_completing_at_once_exactly_one_owns_the_result() {
        for _ in 0..2_000 {
            let moment = Completion::new();
            let (detached, completed) = std::thread::scope(|scope| {
                let detaches = scope.spawn(|| moment.detach());
                (moment.complete(), detaches.join().unwrap())
            });
            assert_eq!(detached, completed, "both know whose it is");
        }
    }

    #[test]
    fn a_thread_that_waits_sees_what_was_written_before_the_moment() {
        for _ in 0..500 {
            let (moment, value) = (Completion::new(), AtomicU32::new(0));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    value.store(7, Relaxed);
                    let _ = moment.complete();
                });
                moment.wait();
                assert_eq!(value.load(Relaxed), 7);
            });
        }
    }
}
