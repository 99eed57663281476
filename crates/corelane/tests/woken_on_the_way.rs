//! A task that is woken while it is leaving its CPU is queued there by the one that comes. If it is the more
//! urgent one it runs first: the one that comes has not gone on with its own code yet.
//!
//! Whether a wake falls into that moment is up to chance, so many are made; what must not happen is exact.

mod common;

use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::prio;
use corelane::{Cpus, Event, EventKind, task};
use corelane_os::clock;

const EVENTS: usize = 1 << 20;

/// The moments at which code of `low` ran although `high` was queued on its CPU.
fn moments_out_of_turn(events: &[Event], high: u64, low: u64, moments: &[u64]) -> Vec<u64> {
    let mut queued_at_ns = None;
    let mut wrong = Vec::new();
    for event in events {
        match event.kind {
            EventKind::Wake { task, .. } if task == high => queued_at_ns = Some(event.at_ns),
            EventKind::Switch { task, .. } if task == high => queued_at_ns = None,
            EventKind::Preempt { task, .. } if task == low => {
                let Some(from_ns) = queued_at_ns else {
                    continue;
                };
                let first = moments.partition_point(|at_ns| *at_ns <= from_ns);
                wrong.extend(
                    moments[first..]
                        .iter()
                        .take_while(|at_ns| **at_ns < event.at_ns),
                );
            }
            _ => {}
        }
    }
    wrong
}

#[test]
fn a_task_that_is_woken_on_its_way_out_runs_before_a_less_urgent_one_goes_on() {
    let runtime = common::builder()
        .events(EVENTS)
        .map(|builder| builder.cpus(Cpus::Count(1)))
        .build()
        .unwrap();
    let (ends, moments) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(Vec::new())),
    );
    let low = runtime.spawn(prio(10), {
        let (ends, moments) = (ends.clone(), moments.clone());
        move || {
            let mut own = Vec::with_capacity(1 << 22);
            for round in 0.. {
                task::checkpoint();
                own.push(clock::now_ns());
                if round % 1_000 == 0 {
                    std::thread::sleep(Duration::from_micros(20)); // ordinary threads run as well
                }
                if ends.load(Relaxed) || own.len() == own.capacity() {
                    break;
                }
            }
            *moments.lock().unwrap() = own;
        }
    });
    let high = runtime.spawn(prio(50), {
        let ends = ends.clone();
        move || {
            while !ends.load(Relaxed) {
                task::park();
            }
        }
    });
    let (task, low_id) = (high.task(), low.task().id());
    let until = Instant::now() + Duration::from_millis(800);
    let mut round = 0u32;
    while Instant::now() < until && !low.is_finished() {
        task.unpark();
        round = round.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (0..round >> 25).for_each(|_| std::hint::spin_loop());
    }
    ends.store(true, Relaxed);
    task.unpark();
    low.join().unwrap();
    task.unpark();
    high.join().unwrap();
    let events = runtime.events();
    let moments = moments.lock().unwrap();
    let wakes = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Wake { task: id, .. } if id == task.id()));
    let wakes = wakes.count();
    let wrong = moments_out_of_turn(&events, task.id(), low_id, &moments);
    assert!(wakes > 0, "nothing was woken");
    assert!(
        wrong.is_empty(),
        "{} of {wakes} wakes waited for a less urgent task",
        wrong.len()
    );
}
