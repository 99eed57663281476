//! The real ones, in a build that ships.

pub(crate) use corelane_os::futex;
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
pub(crate) use std::sync::mpsc;
pub(crate) use std::{hint, panic, thread, thread_local, time};

/// A static of the process; under a checker one of the execution.
macro_rules! global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$meta])* static $name: $type = $value;
    };
}
pub(crate) use global;

/// Whether a control of the models breaks the runtime here: never, and nothing is left of it.
macro_rules! sabotaged {
    ($how:ident) => {
        false
    };
}
pub(crate) use sabotaged;
