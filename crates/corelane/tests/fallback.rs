//! The fallback in which every task runs on its fiber's own kernel thread, because thread pointers cannot
//! be carried: the basic promises hold there too.

mod common;
#[path = "common/granted.rs"]
mod granted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

use common::{Exclusive, prio, wait_until};
use corelane::{CpuId, CpuSet, JoinError, TaskState, task};
use corelane_os::fiber::Backend;
use corelane_os::thread::{self as os, Policy, Tid, gettid};
use granted::{has_fifo, policy};

/// A runtime whose tasks always run on their own kernel threads.
fn fallback() -> Exclusive {
    common::builder()
        .map(|builder| builder.native_fibers())
        .build()
        .unwrap()
}

#[test]
fn in_the_fallback_a_task_is_one_kernel_thread_for_life() {
    let runtime = fallback();
    assert!(matches!(runtime.status().fiber_backend, Backend::Native(_)));
    assert!(runtime.status().to_string().contains("native"));
    let (cpus, fifo) = (runtime.cpus(), has_fifo(&runtime));
    let handle = runtime.spawn(prio(50), move || {
        let (own, tid) = (task::current().unwrap(), gettid());
        for round in 0..50 {
            let slot = CpuId::new(round % cpus);
            own.set_affinity(&CpuSet::single(cpus, slot)).unwrap();
            task::yield_now();
            assert_eq!((gettid(), task::native(gettid)), (tid, tid));
            let kernel = os::affinity(Tid(0)).unwrap();
            assert_eq!((own.cpu(), kernel.len()), (slot, 1));
        }
        policy()
    });
    let expected = if fifo {
        Policy::Fifo { level: 21 }
    } else {
        Policy::Other
    };
    assert_eq!(handle.join().unwrap(), expected);
    assert_eq!(
        runtime.spawn_background(policy).join().unwrap(),
        Policy::Other
    );
}

#[test]
fn the_fallback_spawns_joins_and_passes_panics_on() {
    let runtime = fallback();
    let outer = runtime.spawn(prio(50), || {
        let low = task::spawn(prio(10), || "low");
        let high = task::spawn(prio(90), || "high");
        (
            low.join().unwrap(),
            high.join().unwrap(),
            task::outside(|| "outside"),
        )
    });
    assert_eq!(outer.join().unwrap(), ("low", "high", "outside"));
    let panics = runtime.spawn(prio(50), || panic!("native {}", "fiber"));
    assert_eq!(
        panics.join().unwrap_err().panic_message(),
        Some("native fiber")
    );
    let many: Vec<_> = (0..500u32)
        .map(|i| runtime.spawn(prio(1 + (i % 90) as u8), move || i))
        .collect();
    many.into_iter()
        .enumerate()
        .for_each(|(i, handle)| assert_eq!(handle.join().unwrap(), i as u32));
}

#[test]
fn the_fallback_yields_in_order_on_one_cpu() {
    let runtime = fallback();
    let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let gate = runtime
        .build_task()
        .priority(prio(60))
        .affinity(only.clone());
    let (inner, shared) = (only.clone(), order.clone());
    let gate = gate.spawn(move || {
        let spawn = |number: u32| {
            let order = shared.clone();
            task::build()
                .priority(prio(50))
                .affinity(inner.clone())
                .spawn(move || {
                    for round in 0..3 {
                        order.lock().unwrap().push((round, number));
                        task::yield_now();
                    }
                })
        };
        (0..3).map(spawn).collect::<Vec<_>>()
    });
    gate.join()
        .unwrap()
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    let expected: Vec<(u32, u32)> = (0..3)
        .flat_map(|round| (0..3).map(move |n| (round, n)))
        .collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

#[test]
fn the_fallback_sleeps_parks_and_keeps_guards() {
    let (runtime, ready) = (fallback(), Arc::new(AtomicBool::new(false)));
    let tell = ready.clone();
    let handle = runtime.spawn(prio(50), move || {
        let start = std::time::Instant::now();
        task::sleep(Duration::from_millis(2));
        assert!(start.elapsed() >= Duration::from_millis(2));
        assert!(!task::park_timeout(Duration::from_micros(500)));
        for _ in 0..50 {
            let guard = corelane::migrate_disable();
            task::sleep(Duration::from_micros(50));
            assert_eq!(task::current().unwrap().cpu(), guard.cpu());
        }
        tell.store(true, SeqCst);
        task::park();
        "woken"
    });
    wait_until("the task to be ready", || ready.load(SeqCst));
    wait_until("the task to park", || {
        handle.task().state() == TaskState::Waiting
    });
    handle.task().unpark();
    assert_eq!(handle.join().unwrap(), "woken");
}

#[test]
fn the_fallback_prefers_the_more_urgent_task_and_cancels() {
    let runtime = fallback();
    let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
    let urgent_ran = Arc::new(AtomicBool::new(false));
    let (seen, inner) = (urgent_ran.clone(), only.clone());
    let low = runtime
        .build_task()
        .priority(prio(10))
        .affinity(only)
        .spawn(move || {
            let ran = seen.clone();
            let urgent = task::build().priority(prio(80)).affinity(inner);
            let urgent = urgent.spawn(move || ran.store(true, SeqCst));
            assert!(
                seen.load(SeqCst),
                "a spawn of a more urgent task is a safe point"
            );
            urgent.join().unwrap();
        });
    low.join().unwrap();
    let parked = runtime.spawn(prio(50), task::park);
    parked.cancel();
    assert!(matches!(parked.join(), Err(JoinError::Cancelled)));
    let report = runtime.shutdown(Duration::from_secs(1));
    assert!(report.abandoned.is_empty(), "{report:?}");
}
