//! The invariants, each recomputed from records that the scheduler had no part in.
//!
//! An oracle that asks `select_cpu` whether `select_cpu` was right agrees with every bug. The checkers
//! here know priorities, affinities, guards and places from a [`Truth`], and the published words as
//! numbers. They call nothing that decides. A truth comes from the simulator's ledger, or from what a real
//! runtime recorded ([`crate::stream`]); conservation of a machine is checked on its ledger itself.
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

pub use published::{Levels, levels};
pub use truth::{Standing, Truth};

use crate::machine::Machine;

/// What is wrong with this state, if it is at rest: one objection for each broken invariant.
pub fn at_rest(truth: &Truth<'_>) -> Vec<String> {
    let checks = [
        bounds::check,
        local_order::check,
        blocking_pair::check,
        held_shift::check,
        top_n::check,
    ];
    checks.iter().filter_map(|check| check(truth)).collect()
}

/// What is wrong with a machine at quiescence.
pub(crate) fn all(machine: &Machine) -> Vec<String> {
    let truth = Truth::of(machine);
    let published = |cpu: usize| {
        let id = machine.cpus[cpu].id;
        Levels {
            top: machine.domain.cpupri.level(id).get(),
            candidate: machine.domain.overload.level(id).map(|level| level.get()),
        }
    };
    let mut objections: Vec<String> = conservation::check(machine).into_iter().collect();
    objections.extend(at_rest(&truth));
    objections.extend(published::check(&truth, published));
    objections
}
