//! What a model checker replaces: atomics, locks, threads and the futex of the runtime.
//!
//! Everything that two threads could meet over is named through this module, so that the very code that
//! ships can run under a checker that chooses every interleaving itself. With `--cfg loom` the atomics are
//! those of `corelane_sched::primitives`, locks are loom's, and the futex is the model's (`checked.rs`);
//! `models/` runs the protocols.
//!
//! Cost: none in a build that ships, these are re-exports.

#[cfg(loom)]
mod checked;

#[cfg(loom)]
pub(crate) use checked::{Mutex, MutexGuard, RwLock, futex};
#[cfg(not(loom))]
pub(crate) use corelane_os::futex;
pub(crate) use corelane_sched::primitives::atomic;
#[cfg(not(loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};

/// Threads, and what a thread knows of itself.
pub(crate) mod thread {
    pub(crate) use std::thread::*;
}

/// Channels of the control plane.
pub(crate) mod mpsc {
    pub(crate) use std::sync::mpsc::*;
}
