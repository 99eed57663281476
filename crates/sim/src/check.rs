//! The invariants, each recomputed from the machine's own records.
//!
//! An oracle that asks `select_cpu` whether `select_cpu` was right agrees with every bug. The checkers
//! here know priorities, affinities, guards and places from the ledger, and the published words as
//! numbers. They call nothing that decides.
//!
//! | file | what must hold | when |
//! |---|---|---|
//! | `conservation.rs` | I6: each runnable task is in exactly one place, no wake is lost | hand-overs at each step; all of it at quiescence |
//! | `local_order.rs` | I1: no CPU runs less than it has queued | quiescence |
//! | `blocking_pair.rs` | I2: no queued task could run on a CPU that runs less | quiescence |
//! | `held_shift.rs` | I3: no stuck task waits under one that could make room | quiescence |
//! | `top_n.rs` | I4: without guards and bounds the N highest run | quiescence |
//! | `published.rs` | I7, I8: each CPU publishes its top and its best candidate | quiescence |
//! | `bounds.rs` | no task is where its affinity forbids, but for a guard | quiescence |
//!
//! That a migrate-disabled task never executes on another CPU (I9) is checked at each dispatch. That a
//! CPU is at exactly one level at each step (the rest of I7) needs no check: a level is one byte. The
//! invariants marked *quiescence* do not hold between micro-steps (a task on its way is nowhere best), so
//! they are recomputed whenever nobody can step: no letters, no requests, no pass under way.

mod blocking_pair;
mod bounds;
mod conservation;
mod held_shift;
mod local_order;
mod published;
mod top_n;
mod truth;

pub(crate) use truth::Truth;

use crate::machine::Machine;

/// What is wrong at quiescence, one objection for each broken invariant.
pub(crate) fn all(machine: &Machine, truth: &Truth) -> Vec<String> {
    let checks = [
        conservation::check,
        bounds::check,
        local_order::check,
        blocking_pair::check,
        held_shift::check,
        top_n::check,
        published::check,
    ];
    checks
        .iter()
        .filter_map(|check| check(machine, truth))
        .collect()
}
