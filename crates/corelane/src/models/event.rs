//! The event ring: what is read was written, whole and in order, and the rest is counted.

use std::sync::Arc;

use corelane_sched::CpuId;
use corelane_sched::primitives::control::{Protocol, Unnoticed, check, every_ordering_matters};
use loom::thread;

use crate::event::{Event, EventKind, EventRing};

fn exit(task: u64) -> EventKind {
    EventKind::Exit { task }
}

fn drain(ring: &EventRing, into: &mut Vec<Event>) {
    ring.drain(CpuId::new(0), into);
}

#[test]
fn events_come_whole_and_in_order_while_the_ring_wraps() {
    check(|| {
        let ring = Arc::new(EventRing::new(1));
        let theirs = ring.clone();
        let writer = thread::spawn(move || (1..=3).for_each(|task| theirs.push(|| exit(task))));
        let mut events = Vec::new();
        drain(&ring, &mut events);
        drain(&ring, &mut events);
        writer.join().unwrap();
        drain(&ring, &mut events);
        let tasks: Vec<u64> = events
            .iter()
            .map(|event| match event.kind {
                EventKind::Exit { task } => task,
                _ => panic!("an event is torn"),
            })
            .collect();
        assert!(tasks.is_sorted_by(|a, b| a < b), "out of order: {tasks:?}");
        assert!(!tasks.contains(&0), "an event is read before it is written");
        assert_eq!(tasks.len() as u64 + ring.dropped(), 3, "an event is lost");
    });
}

#[test]
fn two_readers_take_each_event_once() {
    check(|| {
        let ring = Arc::new(EventRing::new(2));
        ring.push(|| exit(1));
        ring.push(|| exit(2));
        let theirs = ring.clone();
        let reader = thread::spawn(move || {
            let mut events = Vec::new();
            drain(&theirs, &mut events);
            events.len()
        });
        let mut events = Vec::new();
        drain(&ring, &mut events);
        assert_eq!(events.len() + reader.join().unwrap(), 2);
    });
}

const LATER_STORES: &str = "keeps a cell from being written again before it has been read; loom lets no load \
    return a store that comes later in the run, so it cannot show this";

#[test]
fn every_ordering_of_the_event_ring_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "events_come_whole_and_in_order_while_the_ring_wraps",
            "two_readers_take_each_event_once",
        ],
        sites: &[("event.rs", &[])],
        unnoticed: &[
            Unnoticed {
                weakening: "event.rs drain store loses Release",
                why: LATER_STORES,
            },
            Unnoticed {
                weakening: "event.rs write load loses Acquire",
                why: LATER_STORES,
            },
        ],
    });
}
