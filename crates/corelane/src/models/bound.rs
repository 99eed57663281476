//! What is shown of a fiber: who looks gets a task that is alive, and each reference is dropped once.
//!
//! # Unsafe
//! What is raw: the contents of loom's cells, opened where the protocol says that they are the caller's.
//! Loom checks each access against all others, which is what the tests here are for.

use std::sync::Arc;

use corelane_sched::primitives::control::{
    Protocol, Unnoticed, check, every_ordering_matters, must_fail,
};
use loom::cell::UnsafeCell;
use loom::thread;

use crate::bound::Bound;
use crate::primitives::atomic::{AtomicU32, Ordering::Relaxed};

/// A task: what is written at its birth is read by those who look, and written again at its death.
struct Task {
    life: UnsafeCell<u32>,
    deaths: Arc<AtomicU32>,
}

impl Task {
    fn new(deaths: &Arc<AtomicU32>) -> Arc<Task> {
        let task = Task {
            life: UnsafeCell::new(0),
            deaths: deaths.clone(),
        };
        // SAFETY: nobody else knows it yet.
        task.life.with_mut(|life| unsafe { *life = 1 });
        Arc::new(task)
    }

    fn assert_alive(&self) {
        // SAFETY: it is written at birth and at death only; loom checks that neither is now.
        self.life.with(|life| assert_eq!(unsafe { *life }, 1));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.deaths.fetch_add(1, Relaxed);
    }
}

struct Stage {
    bound: Bound<Task>,
    deaths: Arc<AtomicU32>,
}

impl Stage {
    fn new() -> Arc<Stage> {
        Arc::new(Stage {
            bound: Bound::empty(),
            deaths: Arc::new(AtomicU32::new(0)),
        })
    }

    /// The life of a task on the fiber.
    fn perform(&self) {
        let task = Task::new(&self.deaths);
        self.bound.show(&task);
        drop(self.bound.hide(task));
    }

    fn look(&self) {
        if let Some(task) = self.bound.look() {
            task.assert_alive();
        }
    }

    fn assert_dead(&self, count: u32) {
        assert_eq!(
            self.deaths.load(Relaxed),
            count,
            "each task is dropped once"
        );
    }
}

#[test]
fn who_looks_gets_a_task_that_is_alive_and_each_is_dropped_once() {
    check(|| {
        let stage = Stage::new();
        let theirs = stage.clone();
        let carrier = thread::spawn(move || (0..2).for_each(|_| theirs.perform()));
        stage.look();
        carrier.join().unwrap();
        stage.assert_dead(2);
    });
}

#[test]
fn two_who_look_get_a_reference_each() {
    check(|| {
        let stage = Stage::new();
        let (one, two) = (stage.clone(), stage.clone());
        let carrier = thread::spawn(move || one.perform());
        let other = thread::spawn(move || two.look());
        stage.look();
        carrier.join().unwrap();
        other.join().unwrap();
        stage.assert_dead(1);
    });
}

/// What the carrier did with its task before it hid it comes before what the one does who is left with the
/// last reference. References that `hide` gives back are kept: loom does not see how the count orders them.
#[test]
fn the_one_to_whom_a_reference_is_left_sees_what_the_carrier_did() {
    check(|| {
        let stage = Stage::new();
        let theirs = stage.clone();
        let looker = thread::spawn(move || {
            if let Some(task) = theirs.bound.look()
                && Arc::strong_count(&task) == 1
            {
                // SAFETY: it is the last reference; loom checks it.
                task.life.with_mut(|life| unsafe { *life = 2 });
            }
        });
        let task = Task::new(&stage.deaths);
        stage.bound.show(&task);
        task.assert_alive();
        let given_back = stage.bound.hide(task);
        looker.join().unwrap();
        drop(given_back);
        stage.assert_dead(1);
    });
}

#[test]
fn a_task_that_is_dropped_although_it_is_marked_is_noticed() {
    let control = "a_task_that_is_dropped_although_it_is_marked_is_noticed";
    let reason = "each task is dropped once";
    must_fail(module_path!(), control, reason, || {
        let stage = Stage::new();
        let theirs = stage.clone();
        let looker = thread::spawn(move || theirs.look());
        let task = Task::new(&stage.deaths);
        let kept = task.clone();
        stage.bound.show(&task);
        if stage.bound.hide(task).is_none() {
            // SAFETY: wrong on purpose: the reference was left to who looks. Ours keeps the memory.
            drop(unsafe { Arc::from_raw(Arc::as_ptr(&kept)) });
        }
        looker.join().unwrap();
        stage.assert_dead(0);
        drop(kept);
    });
}

#[test]
fn a_task_that_is_shown_before_it_is_made_is_noticed() {
    let control = "a_task_that_is_shown_before_it_is_made_is_noticed";
    must_fail(module_path!(), control, "", || {
        let stage = Stage::new();
        let theirs = stage.clone();
        let carrier = thread::spawn(move || {
            let task = Task::new(&theirs.deaths);
            theirs.bound.show(&task);
            // SAFETY: wrong on purpose: somebody may look; loom notices.
            task.life.with_mut(|life| unsafe { *life = 1 });
            drop(theirs.bound.hide(task));
        });
        stage.look();
        carrier.join().unwrap();
    });
}

const THE_COUNT: &str = "orders the steps of the count of references, which is the standard library's: loom \
    does not see it";

#[test]
fn every_ordering_of_what_is_shown_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "who_looks_gets_a_task_that_is_alive_and_each_is_dropped_once",
            "the_one_to_whom_a_reference_is_left_sees_what_the_carrier_did",
        ],
        sites: &[("bound.rs", &[])],
        unnoticed: &[
            Unnoticed {
                weakening: "bound.rs hide exchange loses Acquire",
                why: THE_COUNT,
            },
            Unnoticed {
                weakening: "bound.rs look exchange loses Acquire",
                why: "the exchange that takes the mark away acquires the same; in between only the count is \
                    touched, which loom does not see",
            },
            Unnoticed {
                weakening: "bound.rs look exchange loses Release",
                why: "whoever marks hands nothing over",
            },
            Unnoticed {
                weakening: "bound.rs look exchange loses Acquire, the next",
                why: "the exchange that set the mark has acquired the same",
            },
            Unnoticed {
                weakening: "bound.rs look exchange loses Release, the next",
                why: THE_COUNT,
            },
        ],
    });
}
