//! Closures and results of any size and alignment: each arrives whole and is dropped exactly once.

mod common;
#[path = "common/ends.rs"]
mod ends;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::*};

use common::{Exclusive, prio, runtime, wait_until};
use corelane::{CpuId, CpuSet, JoinHandle, task};
use ends::*;

/// A payload of `N` bytes whose drops are counted.
struct Load<const N: usize> {
    bytes: [u8; N],
    _drops: Drops,
}

impl<const N: usize> Load<N> {
    fn new(drops: Drops) -> Load<N> {
        let bytes = core::array::from_fn(|i| (i * 7 + N) as u8);
        Load {
            bytes,
            _drops: drops,
        }
    }

    fn is_whole(&self) -> bool {
        (0..N).all(|i| self.bytes[i] == (i * 7 + N) as u8)
    }
}

#[repr(align(64))]
struct Wide(Drops, u8);

#[repr(align(256))]
struct Page(Drops, u8);

fn is_aligned<T>(value: &T) -> bool {
    core::ptr::from_ref(value)
        .addr()
        .is_multiple_of(align_of::<T>())
}

/// A closure of more than `N` bytes that returns its load.
fn carries<const N: usize>(runtime: &Exclusive) {
    let (count, make) = drops();
    let (inward, outward) = (Load::<N>::new(make()), make());
    let handle = runtime.spawn(prio(50), move || {
        assert!(inward.is_whole());
        Load::<N>::new(outward)
    });
    let load = handle.join().unwrap();
    assert!(load.is_whole());
    assert_eq!(count.load(SeqCst), 1, "the closure's load of {N} bytes");
    drop(load);
    assert_eq!(count.load(SeqCst), 2, "the result's load of {N} bytes");
}

#[test]
fn payloads_around_the_size_that_a_task_holds_arrive_whole() {
    let runtime = runtime();
    carries::<0>(&runtime);
    carries::<1>(&runtime);
    carries::<63>(&runtime);
    carries::<80>(&runtime);
    carries::<87>(&runtime);
    carries::<88>(&runtime);
    carries::<89>(&runtime);
    carries::<96>(&runtime);
    carries::<97>(&runtime);
    carries::<1000>(&runtime);
    carries::<8192>(&runtime);
}

#[test]
fn payloads_keep_their_alignment_in_the_closure_and_in_the_result() {
    let (runtime, (count, make)) = (runtime(), drops());
    let (wide, page, third) = (Wide(make(), 1), Page(make(), 2), make());
    let handle = runtime.spawn(prio(50), move || {
        assert!(is_aligned(&wide) && is_aligned(&page));
        (Wide(wide.0.clone(), wide.1 + page.1), Page(third, 4))
    });
    let (wide, page) = handle.join().unwrap();
    assert!(is_aligned(&wide) && is_aligned(&page));
    assert_eq!((wide.1, page.1, count.load(SeqCst)), (3, 4, 2));
    let last = page.0;
    drop(wide);
    assert_eq!(count.load(SeqCst), 3);
    drop(last);
    assert_eq!(count.load(SeqCst), 4);
    let sixteen = runtime.spawn(prio(50), || u128::MAX / 3);
    assert_eq!(sixteen.join().unwrap(), u128::MAX / 3);
}

#[test]
fn payloads_without_a_size_are_dropped_too() {
    static DROPPED: AtomicU32 = AtomicU32::new(0);
    struct Nothing;
    impl Drop for Nothing {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    assert_eq!(size_of::<Nothing>(), 0);
    let (runtime, nothing) = (runtime(), Nothing);
    let handle = runtime.spawn(prio(50), move || {
        let _inward = nothing;
        Nothing
    });
    let result = handle.join().unwrap();
    assert_eq!(DROPPED.load(SeqCst), 1);
    drop(result);
    assert_eq!(DROPPED.load(SeqCst), 2);
}

/// Detaches before the task ends, after it has ended, and at about the same time.
fn detaches<T: Send + 'static>(runtime: &Exclusive, make: impl Fn() -> T + Clone + Send + 'static) {
    let gate = Flag::default();
    let (opened, early) = (gate.clone(), make.clone());
    drop(runtime.spawn(prio(50), move || {
        while !opened.is_raised() {
            task::sleep(std::time::Duration::from_millis(1));
        }
        early()
    }));
    gate.raise();
    let late = make.clone();
    let handle = runtime.spawn(prio(50), late);
    wait_until("the task to end", || handle.is_finished());
    drop(handle);
    for _ in 0..500 {
        drop(runtime.spawn(prio(50), make.clone()));
    }
}

#[test]
fn a_result_that_nobody_reads_is_dropped_once_whoever_comes_last() {
    let (runtime, (count, make)) = (runtime(), drops());
    let (small, big) = (make.clone(), make.clone());
    detaches(&runtime, small);
    detaches(&runtime, move || Load::<500>::new(big()));
    detaches(&runtime, move || Wide(make(), 0));
    wait_until("every result to be dropped", || {
        count.load(SeqCst) == 3 * 502
    });
    wait_until("every task to end", || runtime.stats().finished == 3 * 502);
    assert_eq!(count.load(SeqCst), 3 * 502);
}

#[test]
fn a_task_that_detaches_another_on_its_own_cpu_drops_nothing_twice() {
    let (runtime, (count, make)) = (runtime(), drops());
    let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
    let inner = only.clone();
    let outer = runtime
        .build_task()
        .priority(prio(50))
        .affinity(only)
        .spawn(move || {
            for priority in [prio(40), prio(50), prio(60)] {
                for _ in 0..100 {
                    let result = make();
                    let builder = task::build().priority(priority).affinity(inner.clone());
                    drop(builder.spawn(move || result));
                }
            }
        });
    outer.join().unwrap();
    wait_until("every task to end", || runtime.stats().finished == 301);
    assert_eq!(count.load(SeqCst), 300);
}

#[test]
fn a_detached_results_destructor_may_do_what_tasks_do() {
    struct Busy(Arc<AtomicU32>);
    impl Drop for Busy {
        fn drop(&mut self) {
            let count = self.0.clone();
            let above = task::spawn(prio(70), move || count.fetch_add(1, SeqCst));
            assert_eq!(above.join().unwrap(), 0);
            task::sleep(std::time::Duration::from_micros(100));
            core::mem::forget(corelane::migrate_disable());
            self.0.fetch_add(1, SeqCst);
        }
    }
    let (runtime, count) = (runtime(), Arc::new(AtomicU32::new(0)));
    let (busy, gate) = (Busy(count.clone()), Flag::default());
    let opened = gate.clone();
    drop(runtime.spawn(prio(50), move || {
        while !opened.is_raised() {
            task::sleep(std::time::Duration::from_millis(1));
        }
        busy
    }));
    gate.raise();
    wait_until("both tasks to end", || runtime.stats().finished == 2);
    assert_eq!(count.load(SeqCst), 2);
    wait_until("its guard to be released", || {
        runtime.stats().leaked_guards == 1
    });
}

#[test]
fn a_wake_by_a_detached_results_destructor_lets_the_more_urgent_task_run_first() {
    struct Wakes(corelane::Task, Arc<AtomicU32>, Flag);
    impl Drop for Wakes {
        fn drop(&mut self) {
            self.0.unpark();
            assert_eq!(self.1.load(SeqCst), 1, "it ran inside the wake");
            self.2.raise();
        }
    }
    let (runtime, woken, done) = (runtime(), Arc::new(AtomicU32::new(0)), Flag::default());
    let build = |value| {
        let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
        runtime.build_task().priority(prio(value)).affinity(only)
    };
    let counted = woken.clone();
    let high = build(60).spawn(move || {
        task::park();
        counted.fetch_add(1, SeqCst);
    });
    state_is(&high, corelane::TaskState::Waiting);
    let wakes = Wakes(high.task(), woken, done.clone());
    let outer = build(50).spawn({
        let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
        move || {
            drop(
                task::build()
                    .priority(prio(40))
                    .affinity(only)
                    .spawn(move || wakes),
            )
        }
    });
    outer.join().unwrap();
    wait_until("the destructor to have looked", || done.is_raised());
    high.join().unwrap();
}

fn panics_with(payload: impl Any + Send + Debug) -> impl FnOnce() -> [u64; 40] + Send {
    move || std::panic::panic_any(payload)
}

#[test]
fn a_panic_of_a_task_with_a_large_result_keeps_its_payload() {
    let (runtime, (count, make)) = (runtime(), drops());
    let guard = make();
    let handle = runtime.spawn(prio(50), move || {
        let _guard = guard;
        panics_with([7u16; 100])()
    });
    let corelane::JoinError::Panicked(payload) = handle.join().unwrap_err() else {
        panic!("it panicked");
    };
    assert_eq!(*payload.downcast::<[u16; 100]>().unwrap(), [7; 100]);
    assert_eq!(count.load(SeqCst), 1);
}

#[test]
fn what_is_given_up_unrun_is_dropped_and_told() {
    let (runtime, (count, make)) = (runtime(), drops());
    let end = Flag::default();
    let stuck: Vec<_> = (0..runtime.cpus())
        .map(|cpu| occupy(&runtime, cpu, &end))
        .collect();
    let small = make();
    let small = runtime.spawn(prio(5), move || small);
    let (big, wide) = (Load::<700>::new(make()), Wide(make(), 0));
    let big = runtime.spawn(prio(5), move || (big, wide));
    let detached = make();
    let detached = runtime.spawn(prio(5), move || detached);
    [small.task(), big.task(), detached.task()]
        .iter()
        .for_each(|task| task.cancel());
    drop(detached);
    end.raise();
    assert_cancelled(small.join());
    assert_cancelled(big.join());
    wait_until("all that was carried to be dropped", || {
        count.load(SeqCst) == 4
    });
    stuck.into_iter().for_each(|stuck| stuck.join().unwrap());
}

/// What a task spawns while it unwinds at the end of its runtime.
type Late = (JoinHandle<Drops>, JoinHandle<[u64; 90]>);

struct SpawnsLate(std::sync::mpsc::Sender<Late>, Drops);

impl Drop for SpawnsLate {
    fn drop(&mut self) {
        let late = self.1.clone();
        let small = task::spawn(prio(50), move || late);
        let big = task::spawn_background(|| [1; 90]);
        self.0.send((small, big)).unwrap();
    }
}

#[test]
fn a_spawn_after_the_end_drops_the_closure_and_tells() {
    let (runtime, (count, make)) = (runtime(), drops());
    let (send, receive) = std::sync::mpsc::channel();
    let late = SpawnsLate(send, make());
    let waits = runtime.spawn(prio(50), move || {
        let _late = late;
        task::park();
    });
    state_is(&waits, corelane::TaskState::Waiting);
    drop(runtime);
    assert_cancelled(waits.join());
    let (small, big) = receive.recv().unwrap();
    assert_cancelled(small.join());
    assert_cancelled(big.join());
    assert_eq!(count.load(SeqCst), 2);
}

#[test]
fn a_joiner_that_is_cancelled_leaves_the_result_to_the_task() {
    let (runtime, (count, make)) = (runtime(), drops());
    for round in 1..=200 {
        let result = make();
        let inner = runtime.spawn(prio(50), move || {
            task::park();
            result
        });
        let ends = inner.task();
        let outer = runtime.spawn(prio(50), move || _ = inner.join());
        state_is(&outer, corelane::TaskState::Waiting);
        outer.cancel();
        ends.unpark(); // the end and the cancellation race
        drop(outer.join());
        wait_until("the result to be dropped", || count.load(SeqCst) == round);
    }
}
