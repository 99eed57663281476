//! A kernel that a model checker runs: the API of `corelane-os` over threads that the checker schedules.
//!
//! A race that needs a month of luck on real CPUs is found in seconds by a checker that chooses every
//! interleaving itself, repeats each choice on demand, and sees at once when nothing can go on. But it
//! sees only what goes through it. So under `--cfg shuttle` the runtime takes its atomics, locks and
//! threads from here, by way of its `primitives`, and this crate stands in for the kernel. The code of the
//! runtime is the very code that ships. Without the `cfg` this crate is empty.
//!
//! # What is faked
//! | module | stands for | how |
//! |---|---|---|
//! | `futex` | sleep and wake on a word | queues by address; the word is compared and the sleeper queued in one step |
//! | `clock`, `time` | CLOCK_MONOTONIC | virtual, see below |
//! | `fiber` | both backends, carried unless the model says `native` | the fiber's own thread runs the body while the carrier waits, and the carrier goes on to the next body that it names |
//! | `fault` | a look at memory faults | nothing is looked at |
//! | `thread` | policy, affinity, pin | written down and granted |
//! | `topology` | CPUs that share a cache | two unless the model says otherwise |
//! | `memory`, `host` | locked memory, the host's report | granted, empty |
//! | `sync`, `thread`, `panic` | locks, threads and unwinding of the standard library | the checker's, with the API that the runtime uses |
//!
//! # Time
//! Each step of a thread takes a little virtual time, a look at the clock some more, and it jumps to the next
//! deadline when nobody can run. In a hasty model it now and then jumps although somebody could
//! (`Model::hasty`): a thread may be stopped for any length of time, so a timeout may come at any moment. Now and then a futex wakes a sleeper for no reason, as the kernel may.
//!
//! # What the checker cannot see
//! - **Weak memory.** Every atomic access is sequentially consistent here, and a fence does nothing. Which
//!   orderings suffice is shown by the models of `corelane-sched` under loom.
//! - **Kernel preemption by level.** Every thread may run at any time: a FIFO level is written down and obeyed
//!   by nobody. So nothing is shown about who is kept waiting, only about what is lost.
//! - **Carrying a thread pointer.** Who runs after whom is modelled for carried fibers, too; the switch itself,
//!   stacks and registers are tested in `corelane-os`.
//! - **Who unlocks.** The mutex is the model's own, because a task hands one to the next; what `parking_lot` does
//!   inside is not run.
//! - **Single steps inside other crates**: `Arc`, `OnceLock` and crossbeam's deque act at one instant.
//! - **A task that panics.** The checker takes any panic for a failure of the model. Unwinding by cancellation
//!   is modelled.
//! - **All interleavings.** Schedules are drawn, with fixed seeds: see `Model`.
//!
//! # Running the models
//! `RUSTFLAGS="--cfg shuttle" cargo test -p corelane --test shuttle`, see `crates/corelane/tests/shuttle/`.
//! A failure prints its schedule (the first one printed is the failure's); put it into a file and name that in
//! `CORELANE_MODEL_REPLAY` to run the one test with it again. `CORELANE_MODEL_TIMES=50` draws fifty times as many schedules.
//!
//! That a model can fail is shown by `Sabotage`: each way of breaking the kernel or the runtime is caught by
//! some model, and a test says so.

#![cfg(shuttle)]

mod check;
pub mod clock;
pub mod fault;
pub mod fiber;
pub mod futex;
pub mod host;
mod machine;
pub mod memory;
pub mod panic;
mod sabotage;
mod scheduler;
pub mod sync;
pub mod thread;
pub mod time;
pub mod topology;

pub use check::Model;
pub use corelane_os::cpuset;
pub use sabotage::{Sabotage, is_sabotaged};
pub use shuttle;
