//! Models again on a host that cannot carry: each body runs on its own thread, and no task switches to the
//! next by itself.

use corelane::Idle;
use corelane_os_model::Model;

use crate::{cancel, change, fibers, guard, join, native, order, shutdown, timer, wake};

fn host() -> Model {
    Model::new().native().schedules(100)
}

#[test]
fn wakes() {
    host().check(wake::from_a_thread_to_sleeping_cpus);
    host().check(wake::across_cpus);
    host().check(|| wake::from_two_sides(Idle::Park));
}

#[test]
fn the_order() {
    host().check(order::spawned_on_sleeping_cpus);
    host().check(order::woken_at_once);
}

#[test]
fn changes() {
    host().check(change::priorities);
    host().check(change::affinity);
}

#[test]
fn guards_and_timers() {
    host().check(|| guard::disturbed(true));
    host().check(timer::on_sleeping_cpus);
}

#[test]
fn fibers_that_run_out_and_trees_of_tasks() {
    host().check(fibers::growth);
    host().check(join::trees_on_sleeping_cpus);
}

#[test]
fn excursions() {
    host().hasty().check(native::excursions);
}

#[test]
fn cancellation_and_shutdown() {
    host().check(cancel::of_waiting_tasks);
    host().check(shutdown::against_waiting_tasks);
    host().check(shutdown::against_spawns);
}
