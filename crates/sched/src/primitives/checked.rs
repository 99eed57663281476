//! Loom's atomics with the faces of `core::sync::atomic`, and a place to weaken each.
//!
//! Four things differ from loom's own types. Every access asks `weakening.rs` for its ordering, naming the
//! line of the product that made it. Every access takes a [`Turn`], without which loom overlooks
//! interleavings. Dropping an atomic counts as a write to it, so a model sees memory that is freed while
//! somebody may still look. And while a failed model unwinds, nothing is asked of loom any more:
//! destructors of the product run then, outside of any execution.
//!
//! What loom does not do, here or anywhere: a SeqCst access is treated as acquire and release only (a
//! SeqCst *fence* is exact, and even stronger than the language: it also acquires what came before earlier
//! fences); `compare_exchange_weak` never fails without a reason; no load returns a value that is stored
//! later in the same interleaving; of each atomic the last seven stores can be read.
//!
//! # Unsafe
//! What is raw: a flag is read without synchronisation when it is dropped. Tested by `models/checker.rs`.

use core::panic::Location;
use std::thread::panicking;

pub use loom::sync::atomic::Ordering;

use super::weakening::{Access, ordered};

/// What makes any two accesses of one atomic depend on each other.
///
/// Loom tries two accesses in the other order only if it takes them to conflict, and to find out it keeps
/// the last access of each atomic. A load forgets the load before it: of a thread that reads, and another
/// that reads and then exchanges, loom tries one order only, and that is the shape of every retry loop
/// (loom's issues 166 and 392). So each access is announced first, by giving back a counted reference. Of
/// those loom tries every order, and what one has seen it does not pass on to the next.
#[derive(Debug, Default)]
struct Turn(loom::sync::Arc<()>);

impl Turn {
    fn take(&self) {
        drop(self.0.clone());
    }
}

/// A fence; one that a control takes the total order from still acquires and releases.
#[track_caller]
pub fn fence(order: Ordering) {
    if !panicking() {
        loom::sync::atomic::fence(ordered(Location::caller(), Access::Fence, order));
    }
}

/// What every atomic has, for the values `$value`; `$nothing` is what a destructor reads after a failure.
macro_rules! accesses {
    ($value:ty, $nothing:expr) => {
        /// Reads.
        #[track_caller]
        pub fn load(&self, order: Ordering) -> $value {
            if panicking() {
                return $nothing;
            }
            self.turn.take();
            let order = ordered(Location::caller(), Access::Load, order);
            self.word.load(order)
        }

        /// Writes.
        #[track_caller]
        pub fn store(&self, value: $value, order: Ordering) {
            if !panicking() {
                self.turn.take();
                let order = ordered(Location::caller(), Access::Store, order);
                self.word.store(value, order);
            }
        }

        /// Reads and writes.
        #[track_caller]
        pub fn swap(&self, value: $value, order: Ordering) -> $value {
            if panicking() {
                return $nothing;
            }
            self.turn.take();
            let order = ordered(Location::caller(), Access::Exchange, order);
            self.word.swap(value, order)
        }

        /// Writes if it reads `current`.
        #[track_caller]
        pub fn compare_exchange(
            &self,
            current: $value,
            new: $value,
            success: Ordering,
            failure: Ordering,
        ) -> Result<$value, $value> {
            if panicking() {
                return Ok($nothing);
            }
            self.turn.take();
            let success = ordered(Location::caller(), Access::Exchange, success);
            let failure = ordered(Location::caller(), Access::FailedExchange, failure);
            self.word.compare_exchange(current, new, success, failure)
        }

        /// As [`Self::compare_exchange`]; here it never fails without a reason.
        #[track_caller]
        pub fn compare_exchange_weak(
            &self,
            current: $value,
            new: $value,
            success: Ordering,
            failure: Ordering,
        ) -> Result<$value, $value> {
            self.compare_exchange(current, new, success, failure)
        }

        /// Reads, and writes what `update` makes of it, until nothing came between.
        #[track_caller]
        pub fn fetch_update(
            &self,
            success: Ordering,
            failure: Ordering,
            update: impl Fn($value) -> Option<$value>,
        ) -> Result<$value, $value> {
            let mut seen = self.load(failure);
            while let Some(new) = update(seen) {
                match self.compare_exchange(seen, new, success, failure) {
                    Err(now) => seen = now,
                    written => return written,
                }
            }
            Err(seen)
        }
    };
}

/// Read-modify-write operations that take one operand.
macro_rules! updates {
    ($value:ty, $nothing:expr; $($name:ident)*) => {
        $(
            /// Reads and writes.
            #[track_caller]
            pub fn $name(&self, operand: $value, order: Ordering) -> $value {
                if panicking() {
                    return $nothing;
                }
                self.turn.take();
                let order = ordered(Location::caller(), Access::Exchange, order);
                self.word.$name(operand, order)
            }
        )*
    };
}

macro_rules! integer {
    ($name:ident, $value:ty) => {
        /// An integer that threads share.
        #[derive(Debug, Default)]
        pub struct $name {
            turn: Turn,
            word: loom::sync::atomic::$name,
        }

        impl $name {
            /// Made by the calling thread, before any other knows of it.
            #[track_caller]
            pub fn new(value: $value) -> $name {
                $name {
                    turn: Turn::default(),
                    word: loom::sync::atomic::$name::new(value),
                }
            }

            accesses!($value, 0);
            updates!($value, 0; fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_max);
        }

        impl Drop for $name {
            fn drop(&mut self) {
                if !panicking() {
                    self.word.with_mut(|_| ());
                }
            }
        }
    };
}

integer!(AtomicU8, u8);
integer!(AtomicU16, u16);
integer!(AtomicU32, u32);
integer!(AtomicU64, u64);
integer!(AtomicUsize, usize);

/// A flag that threads share.
#[derive(Debug, Default)]
pub struct AtomicBool {
    turn: Turn,
    word: loom::sync::atomic::AtomicBool,
}

impl AtomicBool {
    /// Made by the calling thread, before any other knows of it.
    #[track_caller]
    pub fn new(value: bool) -> AtomicBool {
        AtomicBool {
            turn: Turn::default(),
            word: loom::sync::atomic::AtomicBool::new(value),
        }
    }

    accesses!(bool, false);
}

impl Drop for AtomicBool {
    fn drop(&mut self) {
        if !panicking() {
            // SAFETY: we are its last user. Loom's flag cannot be written so, but a read is checked, too.
            let _ = unsafe { self.word.unsync_load() };
        }
    }
}

/// A pointer that threads share.
pub struct AtomicPtr<T> {
    turn: Turn,
    word: loom::sync::atomic::AtomicPtr<T>,
}

impl<T> AtomicPtr<T> {
    /// Made by the calling thread, before any other knows of it.
    #[track_caller]
    pub fn new(value: *mut T) -> AtomicPtr<T> {
        AtomicPtr {
            turn: Turn::default(),
            word: loom::sync::atomic::AtomicPtr::new(value),
        }
    }

    accesses!(*mut T, core::ptr::null_mut());
}

impl<T> Default for AtomicPtr<T> {
    fn default() -> AtomicPtr<T> {
        AtomicPtr::new(core::ptr::null_mut())
    }
}

impl<T> Drop for AtomicPtr<T> {
    fn drop(&mut self) {
        if !panicking() {
            self.word.with_mut(|_| ());
        }
    }
}
