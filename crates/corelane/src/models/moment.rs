//! A moment: its waiter is woken, once, and sees what came before.
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

use crate::moment::Moment;

/// A moment with the result that it publishes; the waiter is a thread to unpark.
struct Packet {
    result: UnsafeCell<u32>,
    done: Moment<thread::Thread>,
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

    fn come(&self) {
        if let Some(waiter) = self.done.come() {
            waiter.unpark();
        }
    }

    fn take(&self) {
        // SAFETY: the result is the waiter's after the moment; loom checks it.
        let result = self
            .result
            .with_mut(|result| core::mem::take(unsafe { &mut *result }));
        assert_eq!(result, 7);
    }

    fn join_as_task(&self) {
        if self.done.has_come() || !self.done.expect(thread::current()) {
            return;
        }
        while !self.done.has_come() {
            thread::park();
        }
    }
}

fn completed(by: fn(&Packet)) -> (Arc<Packet>, thread::JoinHandle<()>) {
    let packet = Packet::new();
    let theirs = packet.clone();
    (packet, thread::spawn(move || by(&theirs)))
}

fn writes_and_comes(packet: &Packet) {
    packet.write();
    packet.come();
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
        packet.join_as_task();
        packet.take();
        task.join().unwrap();
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

#[test]
fn a_moment_before_its_result_is_noticed() {
    let control = "a_moment_before_its_result_is_noticed";
    must_fail(module_path!(), control, "", || {
        let (packet, task) = completed(|packet| {
            packet.come();
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
            let _must_wait = packet.done.expect(thread::current());
            thread::park();
        }
        task.join().unwrap();
    });
}

const BY_THE_LOCK: &str =
    "the waiter that is handed over is behind a lock, which orders it as well";

#[test]
fn every_ordering_of_a_moment_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "a_thread_that_joins_wakes_up_and_sees_the_result",
            "a_task_that_joins_is_woken_and_sees_the_result",
            "who_looks_and_finds_it_done_sees_the_result",
        ],
        sites: &[("moment.rs", &[])],
        unnoticed: &[
            Unnoticed {
                weakening: "moment.rs come exchange loses Acquire",
                why: BY_THE_LOCK,
            },
            Unnoticed {
                weakening: "moment.rs expect exchange loses Release",
                why: BY_THE_LOCK,
            },
            Unnoticed {
                weakening: "moment.rs wait_as_thread exchange loses Release",
                why: "a thread hands nothing over but its announcement, which is in the word itself",
            },
        ],
    });
}
