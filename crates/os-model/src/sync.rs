//! Locks with the API of `parking_lot`, and the checker's channels.
//!
//! The runtime hands a mutex from one fiber to the next ([`Mutex::make_guard_unchecked`]), and the checker's
//! own knows its holder. So this one is a word and the modelled futex; who waits sleeps, and the checker sees
//! it when nobody is left to unlock.
//!
//! Poison is ignored: to the checker's lock below, a task that is switched out while it unwinds makes every
//! other thread's guard look poisoned.
//!
//! # Unsafe
//! What is raw: the value of a mutex, which belongs to whoever took the word from FREE to TAKEN, or to whom
//! that one gave it. Shown by the models of the runtime.

use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use shuttle::sync::atomic::{AtomicU32, Ordering::SeqCst};

pub use shuttle::sync::atomic;
pub use shuttle::sync::mpsc;
pub use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard};

use crate::futex;

const FREE: u32 = 0;
const TAKEN: u32 = 1;

/// As `parking_lot::Mutex`.
pub struct Mutex<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one guard at a time, and may go to another thread with it.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            word: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        loop {
            match self.try_lock() {
                Some(guard) => return guard,
                None => _ = futex::wait_for_change(&self.word, TAKEN),
            }
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let taken = self.word.compare_exchange(FREE, TAKEN, SeqCst, SeqCst);
        taken.ok().map(|_| MutexGuard { mutex: self })
    }

    /// A guard for a lock whose own guard was forgotten.
    ///
    /// # Panics
    /// If the mutex is not locked.
    ///
    /// # Safety
    /// The caller has the lock, and there is no other guard.
    pub unsafe fn make_guard_unchecked(&self) -> MutexGuard<'_, T> {
        assert_eq!(
            self.word.load(SeqCst),
            TAKEN,
            "a lock that is given is held"
        );
        MutexGuard { mutex: self }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex { .. }")
    }
}

/// As `parking_lot::MutexGuard`.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: a guard has the value, see the module's page.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.word.store(FREE, SeqCst);
        futex::rouse(&self.mutex.word, 1);
    }
}

/// As `parking_lot::RwLock`.
#[derive(Debug, Default)]
pub struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// An unlocked lock.
    pub const fn new(value: T) -> RwLock<T> {
        RwLock(shuttle::sync::RwLock::new(value))
    }

    /// Waits for a share of the lock.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the whole lock.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
