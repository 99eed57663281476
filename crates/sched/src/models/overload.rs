//! Push and pull: of a CPU that has too much and one that runs less, one sees the other.
//!
//! Runqueues, levels and plans are those of the product. Each runqueue is its thread's own, so no lock of
//! the runtime stands in: nothing but the fences orders the two.

use alloc::sync::Arc;

use loom::thread;

use crate::primitives::control::{Protocol, check, every_ordering_matters, must_fail};
use crate::{
    Arrival, CpuId, CpuMask, Leftover, Level, Node, Place, Policy, Prio, RootDomain, Runqueue,
    TaskRef, leftover, pull, push,
};

fn task(prio: u8) -> TaskRef<()> {
    Node::new(
        Prio::new(prio).unwrap(),
        Policy::Fifo,
        &CpuMask::full(2),
        CpuId::new(0),
        (),
    )
}

/// A runqueue that runs a task of priority 50.
fn busy(cpu: usize, domain: &RootDomain) -> Runqueue<()> {
    let mut rq = Runqueue::new(CpuId::new(cpu));
    queue(&mut rq, task(50));
    let _ = rq.pick_next();
    let _ = rq.publish(domain);
    rq.pull_begins();
    rq
}

fn queue(rq: &mut Runqueue<()>, task: TaskRef<()>) {
    let Arrival::Queued { .. } = rq.enqueue(task, Place::Tail) else {
        unreachable!("the task may run here")
    };
}

/// CPU 1: its task ends, it publishes and looks for another.
fn falls_and_pulls(mut rq: Runqueue<()>, domain: &RootDomain) -> bool {
    drop(rq.take_current());
    let _ = rq.publish(domain);
    plans_pull(domain)
}

fn plans_pull(domain: &RootDomain) -> bool {
    pull::plan(domain, CpuId::new(1), Level::IDLE, &CpuMask::empty(2)).is_some()
}

/// CPU 0 does `first`, CPU 1 does `second`; one of them has to find the other.
fn one_finds_the_other(
    first: fn(Runqueue<()>, &RootDomain) -> bool,
    second: fn(Runqueue<()>, &RootDomain) -> bool,
) {
    let domain = Arc::new(RootDomain::flat(2));
    let (rq, other_rq) = (busy(0, &domain), busy(1, &domain));
    let theirs = domain.clone();
    let other = thread::spawn(move || second(other_rq, &theirs));
    let found = first(rq, &domain);
    assert!(found | other.join().unwrap(), "both have missed");
}

fn publishes_and_pushes(mut rq: Runqueue<()>, domain: &RootDomain) -> bool {
    queue(&mut rq, task(40));
    let _ = rq.publish(domain);
    push::plan(&rq, domain).is_some()
}

fn publishes_a_stuck_task_and_looks(mut rq: Runqueue<()>, domain: &RootDomain) -> bool {
    let held = task(40);
    held.entity().hold();
    queue(&mut rq, held);
    let _ = rq.publish(domain);
    leftover(&rq, domain) == Leftover::LookAgain
}

#[test]
fn a_cpu_with_too_much_and_one_that_falls_do_not_both_miss() {
    check(|| one_finds_the_other(publishes_and_pushes, falls_and_pulls));
}

#[test]
fn a_cpu_with_a_stuck_task_and_one_that_falls_do_not_both_miss() {
    check(|| one_finds_the_other(publishes_a_stuck_task_and_looks, falls_and_pulls));
}

#[test]
fn a_push_planned_before_the_candidate_is_published_is_noticed() {
    let control = "a_push_planned_before_the_candidate_is_published_is_noticed";
    must_fail(module_path!(), control, "both have missed", || {
        one_finds_the_other(
            |mut rq, domain| {
                queue(&mut rq, task(40));
                let found = push::plan(&rq, domain).is_some();
                let _ = rq.publish(domain);
                found
            },
            falls_and_pulls,
        );
    });
}

#[test]
fn a_pull_planned_before_the_level_is_published_is_noticed() {
    let control = "a_pull_planned_before_the_level_is_published_is_noticed";
    must_fail(module_path!(), control, "both have missed", || {
        one_finds_the_other(publishes_and_pushes, |mut rq, domain| {
            drop(rq.take_current());
            let found = plans_pull(domain);
            let _ = rq.publish(domain);
            found
        });
    });
}

#[test]
fn a_look_for_leftovers_before_the_candidate_is_published_is_noticed() {
    let control = "a_look_for_leftovers_before_the_candidate_is_published_is_noticed";
    must_fail(module_path!(), control, "both have missed", || {
        one_finds_the_other(
            |mut rq, domain| {
                let held = task(40);
                held.entity().hold();
                queue(&mut rq, held);
                let found = leftover(&rq, domain) == Leftover::LookAgain;
                let _ = rq.publish(domain);
                found
            },
            falls_and_pulls,
        );
    });
}

#[test]
fn every_fence_of_push_and_pull_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "a_cpu_with_too_much_and_one_that_falls_do_not_both_miss",
            "a_cpu_with_a_stuck_task_and_one_that_falls_do_not_both_miss",
        ],
        sites: &[("push.rs", &[]), ("pull.rs", &[]), ("leftover.rs", &[])],
        unnoticed: &[],
    });
}
