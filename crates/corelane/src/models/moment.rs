//! A moment: its waiter is woken, once, and sees what came before; of what it guards there is one owner.
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

use crate::moment::{Moment, Owner};

/// Whoever waits as a task: a thread to unpark, and what it left for the one who wakes it.
struct Waiter {
    thread: thread::Thread,
    note: UnsafeCell<u32>,
}

impl Waiter {
    fn new() -> Arc<Waiter> {
        let waiter = Waiter {
            thread: thread::current(),
            note: UnsafeCell::new(0),
        };
        // SAFETY: nobody else knows it yet.
        waiter.note.with_mut(|note| unsafe { *note = 5 });
        Arc::new(waiter)
    }

    fn wake(&self) {
        // SAFETY: who takes the reference sees what the waiter wrote before; loom checks it.
        self.note.with(|note| assert_eq!(unsafe { *note }, 5));
        self.thread.unpark();
    }
}

/// A moment with the result that it publishes.
struct Packet {
    result: UnsafeCell<u32>,
    done: Moment<Waiter>,
}

impl Packet {
    fn new() -> Arc<Packet> {
        Arc::new(Packet {
            result: UnsafeCell::new(0),
            done: Moment::new(),
        })
    }

    fn write(&self) {
        // SAFETY: the result is the producer's until the moment; loom checks it.
        self.result.with_mut(|result| unsafe { *result = 7 });
    }

    fn come(&self) -> Owner {
        self.done.come(|waiter| waiter.wake())
    }

    /// Takes the result as its owner.
    fn take(&self) {
        // SAFETY: the result belongs to the caller; loom checks it.
        let result = self
            .result
            .with_mut(|result| core::mem::take(unsafe { &mut *result }));
        assert_eq!(result, 7);
    }

    fn join_as_task(&self, waiter: &Arc<Waiter>) {
        if self.done.has_come() || !self.done.expect(waiter.clone()) {
            return;
        }
        while !self.done.has_come() {
            thread::park();
        }
    }

    /// A task that begins to wait and unwinds instead of waiting on.
    fn begin_to_join(&self, waiter: &Arc<Waiter>) -> Owner {
        if !self.done.has_come() {
            let _must_wait = self.done.expect(waiter.clone());
        }
        self.done.detach()
    }
}

fn completed(by: fn(&Packet)) -> (Arc<Packet>, thread::JoinHandle<()>) {
    let packet = Packet::new();
    let theirs = packet.clone();
    (packet, thread::spawn(move || by(&theirs)))
}

/// The producer: if the result is left to it, it takes it.
fn writes_and_comes(packet: &Packet) {
    packet.write();
    if packet.come() == Owner::Completer {
        packet.take();
    }
}

#[test]
fn a_thread_that_joins_wakes_up_and_sees_the_result() {
    check(|| {
        let (packet, task) = completed(writes_and_comes);
        packet.done.wait_as_thread();
        packet.take();
        task.join().unwrap();
    });
}

#[test]
fn a_task_that_joins_is_woken_and_sees_the_result() {
    check(|| {
        let (packet, task) = completed(writes_and_comes);
        let waiter = Waiter::new();
        packet.join_as_task(&waiter);
        packet.take();
        task.join().unwrap();
        assert_eq!(Arc::strong_count(&waiter), 1, "a reference is left over");
    });
}

#[test]
fn who_looks_and_finds_it_done_sees_the_result() {
    check(|| {
        let (packet, task) = completed(writes_and_comes);
        if packet.done.has_come() {
            packet.take();
        }
        task.join().unwrap();
    });
}

/// The waiter reads and writes the result before it detaches, as its destructors may.
fn touch_and_detach(packet: &Packet, detach: impl FnOnce(&Packet) -> Owner) {
    if detach(packet) == Owner::Waiter {
        packet.take();
    }
}

#[test]
fn of_one_who_detaches_and_one_who_completes_one_takes_the_result() {
    check(|| {
        let (packet, task) = completed(writes_and_comes);
        touch_and_detach(&packet, |packet| packet.done.detach());
        task.join().unwrap();
        // SAFETY: both are done with it.
        packet
            .result
            .with(|result| assert_eq!(unsafe { *result }, 0));
    });
}

#[test]
fn a_task_that_unwinds_while_it_joins_leaves_the_result_or_takes_it() {
    check(|| {
        let (packet, task) = completed(writes_and_comes);
        let waiter = Waiter::new();
        touch_and_detach(&packet, |packet| packet.begin_to_join(&waiter));
        task.join().unwrap();
        // SAFETY: both are done with it.
        packet
            .result
            .with(|result| assert_eq!(unsafe { *result }, 0));
        assert_eq!(Arc::strong_count(&waiter), 1, "a reference is left over");
    });
}

/// What the waiter did before it detached is seen by the one to whom the result is left.
#[test]
fn the_one_to_whom_a_result_is_left_sees_what_the_waiter_did() {
    check(|| {
        let packet = Arc::new((Packet::new(), UnsafeCell::new(0u32)));
        let theirs = packet.clone();
        let task = thread::spawn(move || {
            if theirs.0.come() == Owner::Completer {
                // SAFETY: the waiter has given it up; loom checks it.
                theirs.1.with(|touched| assert_eq!(unsafe { *touched }, 1));
            }
        });
        // SAFETY: it is the waiter's until it detaches; loom checks it.
        packet.1.with_mut(|touched| unsafe { *touched = 1 });
        let _ = packet.0.done.detach();
        task.join().unwrap();
    });
}

#[test]
fn a_moment_before_its_result_is_noticed() {
    let control = "a_moment_before_its_result_is_noticed";
    must_fail(module_path!(), control, "", || {
        let (packet, task) = completed(|packet| {
            let _ = packet.come();
            packet.write();
        });
        packet.done.wait_as_thread();
        packet.take();
        task.join().unwrap();
    });
}

#[test]
fn a_waiter_that_looks_only_before_it_says_so_is_noticed() {
    let control = "a_waiter_that_looks_only_before_it_says_so_is_noticed";
    must_fail(module_path!(), control, "deadlock", || {
        let (packet, task) = completed(writes_and_comes);
        if !packet.done.has_come() {
            let _must_wait = packet.done.expect(Waiter::new());
            thread::park();
        }
        task.join().unwrap();
    });
}

#[test]
fn a_waiter_that_takes_what_it_has_left_is_noticed() {
    let control = "a_waiter_that_takes_what_it_has_left_is_noticed";
    must_fail(module_path!(), control, "", || {
        let (packet, task) = completed(writes_and_comes);
        if packet.done.detach() == Owner::Completer {
            packet.take();
        }
        task.join().unwrap();
    });
}

const NOT_YET: &str =
    "it succeeds before the moment has come, when the other side has handed nothing over";

#[test]
fn every_ordering_of_a_moment_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "a_thread_that_joins_wakes_up_and_sees_the_result",
            "a_task_that_joins_is_woken_and_sees_the_result",
            "who_looks_and_finds_it_done_sees_the_result",
            "of_one_who_detaches_and_one_who_completes_one_takes_the_result",
            "a_task_that_unwinds_while_it_joins_leaves_the_result_or_takes_it",
            "the_one_to_whom_a_result_is_left_sees_what_the_waiter_did",
        ],
        sites: &[("moment.rs", &[])],
        unnoticed: &[
            Unnoticed {
                weakening: "moment.rs announce exchange loses Acquire",
                why: NOT_YET,
            },
            Unnoticed {
                weakening: "moment.rs detach exchange loses Acquire",
                why: NOT_YET,
            },
        ],
    });
}
