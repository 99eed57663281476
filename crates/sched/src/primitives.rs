//! What a model checker replaces: the atomics of the lock-free parts.
//!
//! A lock-free protocol that was only run is not shown to work: one machine orders memory more strongly
//! than the language promises, and the losing interleaving may need a month of luck. Every atomic of this
//! crate and of the runtime is named through this module, so that the very code that ships can be
//! compiled against a checker's atomics instead of the processor's.
//!
//! With `--cfg loom` the names below are those of `checked.rs`, and `models/` runs the protocols under
//! loom in every interleaving up to a bound. Besides, `weakening.rs` takes one ordering away at a time, so
//! that a model can be shown to notice.
//!
//! With `--cfg shuttle` they are shuttle's, for the models of the whole runtime.
//!
//! What that shows and what not is on [the page beside this crate](../models.md).
//!
//! Cost: none in a build that ships, these are re-exports.

#[cfg(loom)]
mod checked;
#[cfg(loom)]
pub mod control;
#[cfg(loom)]
pub mod futex;
#[cfg(loom)]
mod weakening;

/// The atomic types, orderings and fences.
pub mod atomic {
    #[cfg(loom)]
    pub use super::checked::*;
    #[cfg(not(any(loom, shuttle)))]
    pub use core::sync::atomic::*;
    #[cfg(shuttle)]
    pub use shuttle::sync::atomic::*;
}
