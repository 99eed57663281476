//! The permit: a grant is never lost, however the task waits, and is taken once.
//!
//! # Unsafe
//! What is raw: the contents of loom's cells, opened where the protocol says that they are the caller's.
//! Loom checks each access against all others, which is what the tests here are for.

use std::sync::Arc;

use corelane_sched::primitives::control::{
    Protocol, Unnoticed, check, every_ordering_matters, must_fail,
};
use corelane_sched::{Commit, StateWord, Wait, Wake};
use loom::cell::UnsafeCell;
use loom::thread;

use crate::permit::Permit;
use crate::primitives::futex;

/// What the unparker did before it granted.
#[derive(Default)]
struct Gift(UnsafeCell<u32>);

impl Gift {
    fn write(&self) {
        // SAFETY: the cell is the giver's until the grant; loom checks it.
        self.0.with_mut(|gift| unsafe { *gift += 1 });
    }

    fn read(&self) {
        // SAFETY: the cell is the taker's after the grant; loom checks it.
        self.0.with(|gift| assert!(unsafe { *gift } > 0));
    }
}

fn shared() -> (Arc<(Permit, Gift)>, Arc<(Permit, Gift)>) {
    let shared = Arc::new((Permit::new(), Gift::default()));
    (shared.clone(), shared)
}

#[test]
fn a_native_sleeper_gets_the_permit_and_sees_what_came_before() {
    check(|| {
        let (ours, theirs) = shared();
        let giver = thread::spawn(move || {
            theirs.1.write();
            theirs.0.grant();
        });
        assert!(ours.0.await_natively(None));
        ours.1.read();
        giver.join().unwrap();
        assert!(!ours.0.take(), "a permit is taken twice");
    });
}

#[test]
fn a_permit_that_comes_with_the_timeout_is_taken_or_kept() {
    check(|| {
        let (ours, theirs) = shared();
        let (clock, permit) = (ours.clone(), ours.clone());
        let giver = thread::spawn(move || {
            theirs.1.write();
            theirs.0.grant();
        });
        let time = thread::spawn(move || futex::pass_time(clock.0.word()));
        if ours.0.await_natively(Some(1)) {
            ours.1.read();
            giver.join().unwrap();
            assert!(!permit.0.take(), "a permit is taken twice");
        } else {
            giver.join().unwrap();
            assert!(permit.0.take(), "a permit is lost");
        }
        time.join().unwrap();
    });
}

#[test]
fn two_grants_are_one_permit_and_nobody_sleeps_on_it() {
    check(|| {
        let (ours, theirs) = shared();
        let other = ours.clone();
        let givers = [
            thread::spawn(move || theirs.0.grant()),
            thread::spawn(move || other.0.grant()),
        ];
        assert!(ours.0.await_natively(None));
        givers.into_iter().for_each(|giver| giver.join().unwrap());
        let _may_be_left = ours.0.take();
        assert!(!ours.0.take(), "two grants are two permits");
    });
}

/// A task that parks on its carrier as `task::park` does; whoever wins a wake carries it on.
fn park(permit: &Permit, gift: &Gift, word: &StateWord) {
    loop {
        word.dispatch();
        loop {
            if permit.take() {
                gift.read();
                let _ = word.finish();
                return;
            }
            if word.begin_wait() == Wait::Leave {
                break;
            }
        }
        if word.commit_wait() == Commit::Parked {
            return;
        }
    }
}

fn unpark(shared: &(Permit, Gift, StateWord), steps: [fn(&(Permit, Gift, StateWord)); 3]) {
    steps.into_iter().for_each(|step| step(shared));
}

fn gives(shared: &(Permit, Gift, StateWord)) {
    shared.1.write();
}

fn grants(shared: &(Permit, Gift, StateWord)) {
    shared.0.grant();
}

fn wakes(shared: &(Permit, Gift, StateWord)) {
    if shared.2.wake() == Wake::Enqueue {
        park(&shared.0, &shared.1, &shared.2);
    }
}

fn park_and_unpark(steps: [fn(&(Permit, Gift, StateWord)); 3]) {
    let shared = Arc::new((Permit::new(), Gift::default(), StateWord::new()));
    let theirs = shared.clone();
    let unparker = thread::spawn(move || unpark(&theirs, steps));
    park(&shared.0, &shared.1, &shared.2);
    unparker.join().unwrap();
    let phase = shared.2.phase();
    assert_eq!(phase, corelane_sched::TaskPhase::Done, "a wake is lost");
}

#[test]
fn an_unpark_at_any_time_lets_a_parked_task_go_on() {
    check(|| park_and_unpark([gives, grants, wakes]));
}

#[test]
fn a_wake_before_the_grant_is_noticed() {
    let control = "a_wake_before_the_grant_is_noticed";
    must_fail(module_path!(), control, "a wake is lost", || {
        park_and_unpark([gives, wakes, grants]);
    });
}

#[test]
fn a_grant_before_what_it_tells_of_is_noticed() {
    let control = "a_grant_before_what_it_tells_of_is_noticed";
    must_fail(module_path!(), control, "", || {
        park_and_unpark([grants, gives, wakes]);
    });
}

#[test]
fn every_ordering_of_the_permit_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "a_native_sleeper_gets_the_permit_and_sees_what_came_before",
            "a_permit_that_comes_with_the_timeout_is_taken_or_kept",
            "an_unpark_at_any_time_lets_a_parked_task_go_on",
        ],
        sites: &[("permit.rs", &[])],
        unnoticed: &[Unnoticed {
            weakening: "permit.rs grant exchange loses Acquire",
            why: "a giver reads nothing of the sleeper's; the announcement is in the word itself",
        }],
    });
}
