//! The decisions of Corelane's scheduler, and nothing else.
//!
//! The promise to keep is *the N highest-priority runnable tasks run on the N CPUs*. A scheduler that
//! decides, locks and performs in one function cannot be tested on more CPUs than its author owns, and
//! its races can only be waited for. This crate therefore never locks, sleeps, reads a clock or asks
//! where it runs: it takes values and returns `#[must_use]` values. The runtime puts locks and system
//! calls around it; the simulator puts hundreds of virtual CPUs and an adversary around the same code.
//!
//! | file | idea | page |
//! |---|---|---|
//! | [`Prio`], [`Level`] | one order of urgency; greater is more urgent | |
//! | [`StateWord`] | who may enqueue a task, decided by one word | [state](../state.md) |
//! | [`Runqueue`] | the runnable tasks of one CPU | |
//! | [`Cpupri`], [`Overload`] | which CPU is lowest, which has work to give | [cpupri](../cpupri.md) |
//! | [`select_cpu`], [`arrive()`], [`review()`], [`push`], [`pull`], [`push_away`], [`leftover()`] | where a task should run | [balance](../balance.md) |
//! | [`Inbox`], [`IdleSlot`], [`IdleWord`] | how a task and a wake reach another CPU | [inbox](../inbox.md), [idle](../idle.md) |
//!
//! Every operation across CPUs is cut at the lock: `plan` reads what others publish and may be wrong,
//! `commit` runs under the lock, checks again and says `Moved` or `Stale`. A stale plan is not an
//! error: it means that another CPU made progress in between.
//!
//! The crate is `no_std` and allocates in constructors only.
#![no_std]

extern crate alloc;
#[cfg(loom)]
extern crate std;

mod arrive;
mod cpu;
mod cpupri;
mod domain;
mod entity;
mod fifo;
mod idle;
mod inbox;
mod leftover;
mod level_map;
mod mask;
mod minimum;
#[cfg(all(loom, test))]
mod models;
mod overload;
pub mod primitives;
mod prio;
pub mod pull;
pub mod push;
pub mod push_away;
mod review;
mod runqueue;
mod select;
#[cfg(target_feature = "sse2")]
mod sse2;
mod state;
mod swar;
mod timer;

pub use arrive::{Next, arrive, change};
pub use cpu::{CarrierId, CpuId};
pub use cpupri::Cpupri;
pub use domain::{Neighbours, RootDomain};
pub use entity::{Entity, Movable, Node, Policy, Residence, TaskRef};
pub use idle::{IdleSlot, IdleWord, Kick, Offer};
pub use inbox::{Inbox, Letter};
pub use leftover::{Leftover, leftover};
pub use mask::{CpuMask, SharedMask};
pub use overload::Overload;
pub use prio::{Level, Prio};
pub use review::{Verdict, Why, review};
pub use runqueue::{Arrival, Change, Place, Runqueue};
pub use select::{beside_a_held_task, select_cpu};
pub use state::{Commit, Finish, StateWord, TaskPhase, Wait, Wake};
pub use timer::TimerQueue;
