//! Hundreds of virtual CPUs, an adversary, and the scheduler's real decisions.
//!
//! A scheduler is tested on the machine at hand, whose timing hides most orders of events, or on a model,
//! which is another program. This crate runs `corelane-sched` itself, on as many virtual CPUs as wanted,
//! in an order that a seed decides, and recomputes from its own records what must be true. It links no
//! operating system: a run is a function of its seed.
//!
//! | file | idea |
//! |---|---|
//! | [`Machine`] | virtual CPUs over one root domain, advanced by micro-steps |
//! | [`Oracle`] | the one source of every choice |
//! | [`check`] | the invariants, recomputed from the ledger |
//! | [`stream`] | the same, for what was recorded: by a machine here, or by a real runtime |
//! | [`churn`] | random events on many CPUs |
//! | [`journal`] | the worked example of the article that the algorithm comes from |
//! | [`Sabotage`] | faults that prove that the checkers can fail |

mod balancing;
pub mod check;
pub mod churn;
mod cpu;
mod delivery;
mod errand;
mod events;
mod idling;
mod index_set;
pub mod journal;
mod ledger;
mod machine;
mod oracle;
mod pass;
mod recording;
mod sabotage;
pub mod stream;
mod trace;
mod view;

pub use events::Happened;
pub use ledger::TaskId;
pub use machine::{Machine, Tally};
pub use oracle::Oracle;
pub use sabotage::Sabotage;
