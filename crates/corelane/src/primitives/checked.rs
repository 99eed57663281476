//! Loom's locks with the faces of `parking_lot`, and a futex that models decide about.
//!
//! The kernel keeps a queue of sleepers for each word; here each execution of a model has a table of them,
//! by the address of the word. A sleep with a deadline may end when the model lets time pass.
//!
//! # Unsafe
//! What is raw: nothing. One function bears the word because `parking_lot`'s does; no model here calls it.
//! The switches of tasks that need it run in `tests/shuttle/`.

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use loom::sync::MutexGuard;
pub(crate) use parking_lot::RwLock;
pub(crate) use std::sync::mpsc;
pub(crate) use std::{hint, panic, thread, thread_local, time};

macro_rules! global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::lazy_static! { $(#[$meta])* static ref $name: $type = $value; }
    };
}
pub(crate) use global;

/// The controls of these models weaken orderings and swap steps instead.
macro_rules! sabotaged {
    ($how:ident) => {
        false
    };
}
pub(crate) use sabotaged;

/// A lock whose holder does not unwind.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no holder unwinds")
    }

    /// A guard that was forgotten is made by tasks that switch to one another, which no model here does.
    ///
    /// # Panics
    /// Always.
    ///
    /// # Safety
    /// As in `parking_lot`.
    pub(crate) unsafe fn make_guard_unchecked(&self) -> MutexGuard<'_, T> {
        panic!("loom's mutex has one guard for each acquisition, and it is not forgotten");
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

type Table = std::sync::Mutex<BTreeMap<usize, Arc<corelane_sched::primitives::futex::Futex>>>;

loom::lazy_static! {
    static ref SLEEPERS: Table = Table::default();
}

/// `corelane_os::futex` for models.
pub(crate) mod futex {
    use std::sync::Arc;

    pub(crate) use corelane_os::futex::Wait;
    use corelane_sched::primitives::futex::{Futex, Wait as Modelled};

    use super::SLEEPERS;
    use crate::primitives::atomic::AtomicU32;

    fn of(word: &AtomicU32) -> Arc<Futex> {
        let key = core::ptr::from_ref(word).addr();
        let mut sleepers = SLEEPERS.lock().expect("no holder unwinds");
        sleepers.entry(key).or_default().clone()
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline_ns: Option<u64>) -> Wait {
        match of(word).wait(word, expected, deadline_ns.is_some()) {
            Modelled::Woken => Wait::Woken,
            Modelled::Changed => Wait::Changed,
            Modelled::TimedOut => Wait::TimedOut,
        }
    }

    pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
        match count {
            1 => of(word).wake_one(),
            _ => of(word).wake_all(),
        }
        count
    }

    /// Every deadline of a sleeper on `word` passes.
    #[cfg(test)]
    pub(crate) fn pass_time(word: &AtomicU32) {
        of(word).pass_time();
    }
}
