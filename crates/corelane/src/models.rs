//! The lock-free protocols of the runtime under a model checker, each with its controls.
//!
//! As in `crates/sched/src/models.rs`, where the method is described; the kernel's part is the futex of
//! `primitives/checked.rs`.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release --lib -p corelane models::`; an exhaustive search is
//! the same with `LOOM_MAX_PREEMPTIONS=100`.

mod bound;
mod event;
mod free_list;
mod moment;
mod permit;
