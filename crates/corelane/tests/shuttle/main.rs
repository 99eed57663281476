//! The runtime under a model checker, on a modelled kernel: every interleaving that the checker draws.
//!
//! What is modelled and what the checker cannot see is said in `crates/os-model/src/lib.rs`, and how a failure
//! is replayed. Each file is one subject; `controls.rs` breaks the runtime on purpose and shows that the
//! models notice.
#![cfg(shuttle)]

mod cancel;
mod change;
mod controls;
mod fibers;
mod guard;
mod join;
mod kit;
mod native;
mod native_backend;
mod order;
mod shutdown;
mod timer;
mod wake;
