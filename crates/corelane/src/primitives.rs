//! What a model checker replaces: atomics, locks, threads and the futex of the runtime.
//!
//! Everything that two threads could meet over is named through this module, so that the very code that
//! ships can run under a checker that chooses every interleaving itself. There are two:
//!
//! | `--cfg` | runs | from where the names come |
//! |---|---|---|
//! | `loom` | single protocols in every interleaving and under weak memory: `models/` | `checked.rs` |
//! | `shuttle` | the whole runtime under schedules that are drawn: `tests/shuttle/` | `modelled.rs` |
//!
//! Cost: none in a build that ships, these are re-exports.

#[cfg(loom)]
mod checked;
#[cfg(shuttle)]
mod modelled;
#[cfg(not(any(loom, shuttle)))]
mod real;

pub(crate) use corelane_sched::primitives::atomic;

#[cfg(loom)]
pub(crate) use checked::*;
#[cfg(shuttle)]
pub(crate) use modelled::*;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use real::*;
