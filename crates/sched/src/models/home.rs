//! A change of a live task and its move to another CPU: the mover sees the change, or the letter the mover.

use loom::thread;

use super::task;
use crate::primitives::control::{Protocol, check, every_ordering_matters, must_fail};
use crate::{CpuId, Entity, Prio};

fn one_sees_the_other(changer: fn(&Entity, Prio) -> CpuId, mover: fn(&Entity, CpuId) -> Prio) {
    let (task, new_home) = (task(1), CpuId::new(1));
    let theirs = task.clone();
    let moving = thread::spawn(move || mover(theirs.entity(), new_home));
    let letter_to = changer(task.entity(), Prio::MAX);
    let filed_by = moving.join().unwrap();
    assert!(
        letter_to == new_home || filed_by == Prio::MAX,
        "the change is lost"
    );
}

fn changes(entity: &Entity, prio: Prio) -> CpuId {
    entity.set_prio(prio);
    entity.home()
}

fn moves(entity: &Entity, to: CpuId) -> Prio {
    entity.adopt(to);
    entity.prio()
}

#[test]
fn a_change_reaches_a_task_that_moves_meanwhile() {
    check(|| one_sees_the_other(changes, moves));
}

#[test]
fn a_mover_that_reads_the_priority_before_it_is_the_home_is_noticed() {
    let control = "a_mover_that_reads_the_priority_before_it_is_the_home_is_noticed";
    must_fail(module_path!(), control, "the change is lost", || {
        one_sees_the_other(changes, |entity, to| {
            let prio = entity.prio();
            entity.adopt(to);
            prio
        });
    });
}

#[test]
fn a_changer_that_asks_for_the_home_before_it_writes_is_noticed() {
    let control = "a_changer_that_asks_for_the_home_before_it_writes_is_noticed";
    must_fail(module_path!(), control, "the change is lost", || {
        one_sees_the_other(
            |entity, prio| {
                let home = entity.home();
                entity.set_prio(prio);
                home
            },
            moves,
        );
    });
}

#[test]
fn every_fence_of_a_move_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &["a_change_reaches_a_task_that_moves_meanwhile"],
        sites: &[("entity.rs", &["home", "adopt"])],
        unnoticed: &[],
    });
}
