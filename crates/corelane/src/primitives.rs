//! What a model checker replaces: atomics, locks and threads of the runtime.
//!
//! Everything that two threads could meet over is named through this module, so that the very code that
//! ships can run under a checker that chooses every interleaving itself. The kernel is replaced in the
//! same way: all of it is behind `corelane_os`. Under `cfg(shuttle)` both come from `corelane-os-model`.
//!
//! Cost: none, these are re-exports.

pub(crate) use corelane_sched::primitives::atomic;
#[cfg(shuttle)]
pub(crate) use modelled::*;
#[cfg(not(shuttle))]
pub(crate) use real::*;

#[cfg(not(shuttle))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
    pub(crate) use std::thread_local;
    pub(crate) use std::{hint, panic, thread, time};

    /// Channels of the control plane.
    pub(crate) use std::sync::mpsc;

    /// A static of the process; under the checker one of the execution.
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
}

#[cfg(shuttle)]
mod modelled {
    pub(crate) use corelane_os_model::shuttle::{hint, thread_local};
    pub(crate) use corelane_os_model::sync::{Mutex, MutexGuard, RwLock, mpsc};
    pub(crate) use corelane_os_model::{panic, thread, time};

    macro_rules! global {
        ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
            corelane_os_model::shuttle::lazy_static! { $(#[$meta])* static ref $name: $type = $value; }
        };
    }
    pub(crate) use global;

    macro_rules! sabotaged {
        ($how:ident) => {
            corelane_os_model::is_sabotaged(corelane_os_model::Sabotage::$how)
        };
    }
    pub(crate) use sabotaged;
}
