//! What a model checker replaces: the atomics of the lock-free parts.
//!
//! A lock-free protocol that was only run is not shown to work: one machine orders memory more strongly
//! than the language promises, and the losing interleaving may need a month of luck. Every atomic of this
//! crate and of the runtime is named through this module, so that the very code that ships can be
//! compiled against a checker's atomics instead of the processor's.
//!
//! Cost: none, these are re-exports.

/// The atomic types, orderings and fences.
pub mod atomic {
    #[cfg(not(shuttle))]
    pub use core::sync::atomic::*;
    #[cfg(shuttle)]
    pub use shuttle::sync::atomic::*;
}
