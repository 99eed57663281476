//! Corelane: a real-time executor for Linux in user space.
//!
//! One pinned `SCHED_FIFO` worker per CPU runs a local priority runqueue, and together the workers keep one
//! promise: **the N most urgent runnable tasks run on the N CPUs**. It is the promise of the kernel's
//! real-time class, kept the way the kernel keeps it (cpupri, overload, push, pull), at the price of a
//! function call instead of a system call.
//!
//! A task is a plain closure that may block: it waits with [`task::park`], [`task::sleep`] or
//! [`JoinHandle::join`] as a thread would, keeps its thread-locals, and may move between CPUs whenever it
//! calls into the runtime. It is preempted at such calls ([`task::checkpoint`] is the cheapest).
//!
//! ```
//! use corelane::{Priority, Runtime, task};
//! use std::time::Duration;
//!
//! let runtime = Runtime::builder().build()?;
//! let control = runtime.build_task().name("control").priority(Priority::new(80)?).spawn(|| {
//!     for _ in 0..3 {
//!         task::sleep(Duration::from_millis(1));
//!     }
//!     "controlled"
//! });
//! assert_eq!(control.join().unwrap(), "controlled");
//! println!("{}", runtime.status());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without privilege everything works, and [`Runtime::status`] says loudly what the host did not grant.

#[cfg(shuttle)]
extern crate corelane_os_model as corelane_os;

mod admission;
mod api;
mod arrival;
mod background;
mod balance;
mod bound;
mod builder;
mod carriers;
mod change;
mod claims;
mod completion;
mod config;
mod cpu;
mod current;
mod direct;
mod dispatch;
mod error;
mod event;
mod fibers;
mod float;
mod free_list;
mod guard;
mod held;
mod housekeeping;
mod idle;
mod job;
mod last_words;
#[cfg(all(loom, test))]
mod models;
mod moment;
mod native;
mod pass;
mod permit;
mod primitives;
mod priority;
mod room;
mod runtime;
mod shutdown;
mod slice;
mod snapshot;
mod spawn;
mod stats;
mod status;
mod task_body;
mod wake;
mod worker;

pub use builder::Builder;
pub use config::{Cpus, Idle, LockMemory, Policy, Preemption, Realtime};
pub use corelane_percpu::{PerCpu, PerCpuCounter, PinCurrentCpu};
pub use corelane_sched::{CpuId, CpuMask as CpuSet};
pub use error::{BuildError, ChangeError, JoinError, SpawnError};
pub use event::{Event, EventKind};
pub use guard::{MigrateGuard, migrate_disable, try_migrate_disable};
pub use priority::{Priority, PriorityError};
pub use runtime::Runtime;
pub use shutdown::{Abandoned, Report};
pub use snapshot::{Snapshot, SnapshotCpu};
pub use spawn::{JoinHandle, TaskBuilder};
pub use stats::Stats;
pub use status::{CpuStatus, Grant, Status};
pub use task_body::{TaskHandle as Task, TaskState};

/// What a task calls about itself.
pub mod task {
    pub use crate::api::{
        build, checkpoint, current, native, outside, park, park_timeout, sleep, sleep_until, spawn,
        spawn_background, yield_now,
    };
}
