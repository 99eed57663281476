//! The lock-free protocols of this crate, each under a model checker, each with its controls.
//!
//! A test that runs two threads sees the interleavings that one machine happens to make. Here loom chooses
//! every interleaving, and for each load every store that the language lets it return, over the code that
//! ships; see `primitives.rs`. A control takes one ordering away, or swaps two steps, and the model has
//! to fail: a model that cannot fail shows nothing.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release --lib -p corelane-sched models::`; an exhaustive
//! search is the same with `LOOM_MAX_PREEMPTIONS=100` and takes long. See [models.md](../models.md).

mod checker;
mod cpupri;
mod home;
mod idle;
mod inbox;
mod overload;
mod state;

use alloc::sync::Arc;

use crate::{CpuId, CpuMask, Node, Policy, Prio, TaskRef};

/// A task named `name`, for two CPUs.
fn task(name: u32) -> TaskRef<u32> {
    Node::new(
        Prio::MIN,
        Policy::Fifo,
        &CpuMask::full(2),
        CpuId::new(0),
        name,
    )
}

/// The model still has its own reference to `task`, and nobody else has one.
fn assert_only_ours<T>(task: &TaskRef<T>) {
    assert_eq!(Arc::strong_count(task), 1, "a reference is left over");
}
