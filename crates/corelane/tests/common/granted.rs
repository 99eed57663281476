//! What the kernel says of the calling thread, and what it granted to a runtime.

#![allow(dead_code, unreachable_pub, missing_docs)]

use corelane::Runtime;
use corelane_os::thread::{self as os, Policy, Tid};

/// Whether every worker has SCHED_FIFO.
pub fn has_fifo(runtime: &Runtime) -> bool {
    runtime
        .status()
        .cpus
        .iter()
        .all(|cpu| cpu.fifo.is_granted())
}

/// The policy of the calling kernel thread.
pub fn policy() -> Policy {
    os::policy(Tid(0)).unwrap()
}
