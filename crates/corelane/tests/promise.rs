//! The promise itself: whenever nothing is under way, the N most urgent runnable tasks run on the N CPUs.

#[path = "common/churn.rs"]
mod churn;
mod common;
#[path = "common/kit.rs"]
mod kit;

use churn::{Churn, keep_promise};

fn cpus() -> usize {
    common::runtime().cpus()
}

#[test]
fn one_task_more_than_cpus() {
    keep_promise(cpus() + 1, Churn::FixedPriorities, 500, 300, 11, 6);
}

#[test]
fn four_tasks_per_cpu() {
    keep_promise(4 * cpus(), Churn::FixedPriorities, 500, 600, 12, 6);
}

#[test]
fn many_seeds_and_short_bursts() {
    // Short bursts end in more different states of half-done balancing than long ones.
    for seed in 100..106 {
        keep_promise(3 * cpus(), Churn::FixedPriorities, 150, 40, seed, 1);
    }
}
