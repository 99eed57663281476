//! A futex for models: to sleep on a word, with the kernel's promise and no more.
//!
//! The promise: the word is compared under the lock that a wake takes, so a change that is followed by a
//! wake is never missed; a wake reaches only who sleeps; sleep may end for no reason. The kernel has a lock
//! for each word. Here each word has a [`Futex`] that the model makes with it.

use loom::sync::{Condvar, Mutex};

use super::atomic::{AtomicU32, Ordering::Relaxed};

/// The kernel's side of one word.
#[derive(Default)]
pub struct Futex {
    /// Whether the time of sleepers with a deadline is over.
    over: Mutex<bool>,
    sleepers: Condvar,
}

/// How a sleep ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Somebody woke the sleeper.
    Woken,
    /// The word was not as expected; nobody slept.
    Changed,
    /// The deadline passed.
    TimedOut,
}

impl Futex {
    /// A futex on which nobody sleeps.
    pub fn new() -> Futex {
        Futex::default()
    }

    /// Sleeps while `word` is `expected`, until a wake; with a deadline also until [`Futex::pass_time`].
    pub fn wait(&self, word: &AtomicU32, expected: u32, has_deadline: bool) -> Wait {
        let over = self.over.lock().expect("a model does not unwind here");
        // Relaxed: the lock orders it, as the kernel's does.
        if word.load(Relaxed) != expected {
            return Wait::Changed;
        }
        if has_deadline && *over {
            return Wait::TimedOut;
        }
        let over = self
            .sleepers
            .wait(over)
            .expect("a model does not unwind here");
        if has_deadline && *over {
            return Wait::TimedOut;
        }
        Wait::Woken
    }

    /// Wakes one sleeper.
    pub fn wake_one(&self) {
        let _over = self.over.lock().expect("a model does not unwind here");
        self.sleepers.notify_one();
    }

    /// Wakes all sleepers.
    pub fn wake_all(&self) {
        let _over = self.over.lock().expect("a model does not unwind here");
        self.sleepers.notify_all();
    }

    /// The deadlines of all sleepers pass, now and later.
    pub fn pass_time(&self) {
        *self.over.lock().expect("a model does not unwind here") = true;
        self.sleepers.notify_all();
    }
}
