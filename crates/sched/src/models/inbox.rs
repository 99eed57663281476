//! The inbox: letters are neither lost nor taken twice, and each writer's come in order.
//!
//! # Unsafe
//! What is raw: the contents of loom's cells, opened where the protocol says that they are the caller's.
//! Loom checks each access against all others, which is what the tests here are for.

use alloc::sync::Arc;
use alloc::vec::Vec;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;

use super::{assert_only_ours, task};
use crate::primitives::control::{Protocol, Unnoticed, check, every_ordering_matters, must_fail};
use crate::{Inbox, Letter, Place, TaskRef};

/// What was in the inbox: the name, and whether it was an arrival.
fn names(inbox: &Inbox<u32>) -> Vec<(u32, bool)> {
    let name = |letter| match letter {
        Letter::Arrival(task, place) => {
            assert_eq!(
                place,
                place_of(task.body),
                "the place travels with the task"
            );
            (task.body, true)
        }
        Letter::Change(task) => (task.body, false),
    };
    inbox.take().map(name).collect()
}

fn place_of(name: u32) -> Place {
    if name % 2 == 0 {
        Place::Head
    } else {
        Place::Keep
    }
}

fn leave(inbox: &Inbox<u32>, task: &TaskRef<u32>) {
    inbox.leave_arrival(task.clone(), place_of(task.body));
}

#[test]
fn letters_of_two_writers_are_taken_once_and_in_each_writers_order() {
    check(|| {
        let inbox = Arc::new(Inbox::new());
        let tasks = [task(1), task(2), task(3)];
        let [first, second, other] = tasks.clone();
        let (theirs, its) = (inbox.clone(), inbox.clone());
        let writer = thread::spawn(move || {
            leave(&theirs, &first);
            leave(&theirs, &second);
        });
        let another = thread::spawn(move || leave(&its, &other));
        let mut taken = names(&inbox);
        writer.join().unwrap();
        another.join().unwrap();
        taken.extend(names(&inbox));
        let place = |name| taken.iter().position(|letter| *letter == (name, true));
        assert_eq!(taken.len(), 3);
        assert!(place(1).unwrap() < place(2).unwrap(), "out of order");
        assert!(place(3).is_some());
        tasks.iter().for_each(assert_only_ours);
    });
}

#[test]
fn what_was_written_before_a_letter_is_seen_by_its_reader() {
    check(|| {
        let inbox = Arc::new(Inbox::new());
        let (one, two) = (task(1), task(2));
        let said = Arc::new(UnsafeCell::new(0));
        let (theirs, letters, saying) = (inbox.clone(), [one.clone(), two.clone()], said.clone());
        let writer = thread::spawn(move || {
            // SAFETY: the cell is the writer's until the reader has opened the letter; loom checks it.
            saying.with_mut(|said| unsafe { *said = 7 });
            leave(&theirs, &letters[0]);
            assert!(theirs.leave_change(&letters[1]));
        });
        for (name, _) in names(&inbox) {
            if name == 1 {
                // SAFETY: as above.
                said.with(|said| assert_eq!(unsafe { *said }, 7));
            }
        }
        writer.join().unwrap();
        assert!(names(&inbox).len() <= 2);
        [one, two].iter().for_each(assert_only_ours);
    });
}

#[test]
fn a_change_is_seen_by_whoever_opens_the_letter_even_if_it_left_none_of_its_own() {
    check(|| {
        let inbox = Arc::new(Inbox::new());
        let one = task(1);
        let changed = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let seen = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let change = |who: usize| {
            let (inbox, one, changed) = (inbox.clone(), one.clone(), changed.clone());
            thread::spawn(move || {
                changed[who].store(1, Relaxed);
                let _ = inbox.leave_change(&one);
            })
        };
        let changers = [change(0), change(1)];
        let look = |letters: Vec<(u32, bool)>| {
            if !letters.is_empty() {
                (0..2).for_each(|who| seen[who].store(changed[who].load(Relaxed), Relaxed));
            }
        };
        look(names(&inbox));
        changers
            .into_iter()
            .for_each(|changer| changer.join().unwrap());
        look(names(&inbox));
        assert!(
            (0..2).all(|who| seen[who].load(Relaxed) == 1),
            "a change is lost"
        );
        assert_only_ours(&one);
    });
}

#[test]
fn a_letter_left_before_what_it_tells_of_is_noticed() {
    let control = "a_letter_left_before_what_it_tells_of_is_noticed";
    must_fail(module_path!(), control, "Causality violation", || {
        let (inbox, one) = (Arc::new(Inbox::new()), task(1));
        let said = Arc::new(UnsafeCell::new(0));
        let (theirs, letter, saying) = (inbox.clone(), one.clone(), said.clone());
        let writer = thread::spawn(move || {
            leave(&theirs, &letter);
            // SAFETY: none, and that is the point: loom has to object.
            saying.with_mut(|said| unsafe { *said = 7 });
        });
        if !names(&inbox).is_empty() {
            // SAFETY: as above.
            said.with(|said| assert_eq!(unsafe { *said }, 7));
        }
        writer.join().unwrap();
        drop(names(&inbox));
    });
}

const BY_ATOMICITY: &str = "an exchange that fails for one of two is enough; what it guards is a broken \
    invariant, and no memory is handed over by it";
const LATER_STORES: &str = "keeps a link from being written for the next letter before the last reader \
    has read it; loom lets no load return a store that comes later in the run, so it cannot show this";

#[test]
fn every_ordering_of_the_inbox_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "letters_of_two_writers_are_taken_once_and_in_each_writers_order",
            "what_was_written_before_a_letter_is_seen_by_its_reader",
            "a_change_is_seen_by_whoever_opens_the_letter_even_if_it_left_none_of_its_own",
        ],
        sites: &[("inbox.rs", &[]), ("entity.rs", &["claim"])],
        unnoticed: &[
            Unnoticed {
                weakening: "entity.rs claim exchange loses Acquire",
                why: BY_ATOMICITY,
            },
            Unnoticed {
                weakening: "entity.rs claim exchange loses Release",
                why: BY_ATOMICITY,
            },
            Unnoticed {
                weakening: "inbox.rs leave exchange loses Acquire",
                why: "a writer reads nothing of those before it; the acquire comes with SeqCst, and what \
                    that is for has its model in `idle.rs`",
            },
            Unnoticed {
                weakening: "inbox.rs leave_change exchange loses Acquire",
                why: LATER_STORES,
            },
            Unnoticed {
                weakening: "inbox.rs next exchange loses Release",
                why: LATER_STORES,
            },
        ],
    });
}
