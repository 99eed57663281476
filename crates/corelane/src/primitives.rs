//! What a model checker replaces: atomics, locks and threads of the runtime.
//!
//! Everything that two threads could meet over is named through this module, so that the very code that
//! ships can run under a checker that chooses every interleaving itself. The kernel is replaced in the
//! same way: all of it is behind `corelane_os`.
//!
//! Cost: none, these are re-exports.

pub(crate) use corelane_sched::primitives::atomic;
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};

/// Threads, and what a thread knows of itself.
pub(crate) mod thread {
    pub(crate) use std::thread::*;
}

/// Channels of the control plane.
pub(crate) mod mpsc {
    pub(crate) use std::sync::mpsc::*;
}
