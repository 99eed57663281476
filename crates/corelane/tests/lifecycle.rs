//! The end of a task and of a runtime: bounded, reported, and nothing left behind.

mod common;
#[path = "common/ends.rs"]
mod ends;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

use common::{prio, runtime, wait_until};
use corelane::{ChangeError, CpuId, CpuSet, JoinHandle, SpawnError, TaskState, task};
use corelane_os::thread::{self as os, Policy, Tid};
use ends::*;

#[test]
fn a_dropped_runtime_ends_tasks_in_every_state_and_runs_their_destructors() {
    let (count, made) = drops();
    let runtime = runtime();
    let spawn = |priority, f: fn()| {
        let local = made();
        runtime.spawn(prio(priority), move || {
            let _local = local;
            f();
        })
    };
    let parked = spawn(5, task::park);
    let asleep = spawn(5, || task::sleep(Duration::from_secs(3600)));
    let computing = spawn(1, || {
        loop {
            task::checkpoint();
            std::thread::sleep(Duration::from_micros(20));
        }
    });
    let local = made();
    let joining = runtime.spawn(prio(50), move || {
        let _local = local;
        let _ = task::spawn(prio(40), task::park).join(); // that one may be ended first
        task::park();
    });
    for waits in [&parked, &asleep, &joining] {
        state_is(waits, TaskState::Waiting);
    }
    let start = Instant::now();
    drop(runtime);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "the end is bounded"
    );
    assert_eq!(count.load(SeqCst), 4);
    [parked, asleep, computing, joining]
        .into_iter()
        .for_each(|handle| assert_cancelled(handle.join()));
}

#[test]
fn the_report_counts_what_finished_and_what_was_cancelled() {
    let runtime = runtime();
    let finished: Vec<_> = (0..5).map(|i| runtime.spawn(prio(20), move || i)).collect();
    finished
        .into_iter()
        .for_each(|handle| _ = handle.join().unwrap());
    let panicked = runtime.spawn(prio(20), || std::panic::resume_unwind(Box::new(1)));
    assert!(panicked.join().is_err());
    let parked: Vec<_> = (0..3)
        .map(|_| runtime.spawn(prio(20), task::park))
        .collect();
    parked
        .iter()
        .for_each(|handle| state_is(handle, TaskState::Waiting));
    let background = runtime.spawn_background(task::park);
    state_is(&background, TaskState::Waiting);
    let report = runtime.shutdown(Duration::from_secs(5));
    assert_eq!((report.finished, report.cancelled), (10, 4), "{report:?}");
    assert!(
        report.abandoned.is_empty() && report.took < Duration::from_secs(5),
        "{report:?}"
    );
    parked
        .into_iter()
        .chain([background])
        .for_each(|handle| assert_cancelled(handle.join()));
}

#[test]
fn tasks_that_never_started_are_given_up_with_their_closures() {
    let (count, made) = drops();
    let (runtime, end) = (runtime(), Flag::default());
    let stuck: Vec<_> = (0..runtime.cpus())
        .map(|cpu| occupy(&runtime, cpu, &end))
        .collect();
    let spawn = |i: u32| {
        let local = made();
        let run = move || drop(local);
        if i.is_multiple_of(4) {
            runtime.spawn_background(run)
        } else {
            runtime.spawn(prio(1 + (i % 80) as u8), run)
        }
    };
    let queued: Vec<_> = (0..1000).map(spawn).collect();
    let report = runtime.shutdown(Duration::from_millis(20));
    assert_eq!(report.abandoned.len(), stuck.len(), "{report:?}");
    assert_eq!(count.load(SeqCst), 1000);
    for (i, handle) in queued.into_iter().enumerate() {
        if i % 4 != 0 {
            assert_cancelled(handle.join());
        } else {
            drop(handle.join()); // a lane may have run it before the end
        }
    }
    end.raise();
    stuck.into_iter().for_each(|stuck| drop(stuck.join()));
}

#[test]
fn a_shutdown_without_patience_loses_nobody() {
    for round in 0..30 {
        let (count, made) = drops();
        let runtime = common::builder().fibers(4).build().unwrap();
        let spawn = |i: u32| {
            let local = made();
            let run = move || {
                task::yield_now();
                drop(local);
            };
            if i.is_multiple_of(5) {
                runtime.spawn_background(run)
            } else {
                runtime.spawn(prio(1 + (i % 9) as u8), run)
            }
        };
        let handles: Vec<_> = (0..300).map(spawn).collect();
        let report = runtime.shutdown(Duration::ZERO);
        wait_until("every task to end", || count.load(SeqCst) == 300);
        if report.abandoned.is_empty() {
            handles.into_iter().for_each(|handle| drop(handle.join()));
        }
        assert!(
            report.took < Duration::from_secs(5),
            "round {round}: {report:?}"
        );
    }
}

#[test]
fn a_task_that_reaches_no_safe_point_is_abandoned_named_and_demoted() {
    let (runtime, end) = (runtime(), Flag::default());
    let (tell, told) = std::sync::mpsc::channel();
    let seen = end.clone();
    let builder = runtime.build_task().name("runaway").priority(prio(99));
    let runaway = builder.spawn(move || {
        tell.send(os::gettid()).unwrap();
        while !seen.is_raised() {
            std::thread::sleep(Duration::from_micros(100));
        }
        os::policy(Tid(0)).unwrap()
    });
    let tid = told.recv().unwrap();
    let parked = runtime.spawn(prio(10), task::park);
    let id = runaway.task().id();
    let report = runtime.shutdown(Duration::from_millis(30));
    let runaways: Vec<_> = report
        .abandoned
        .iter()
        .filter(|task| task.id == id)
        .collect();
    assert_eq!(runaways.len(), 1, "{report:?}");
    assert_eq!(runaways[0].name.as_deref(), Some("runaway"));
    assert!(report.took >= Duration::from_millis(30) && report.took < Duration::from_secs(10));
    assert_eq!(os::policy(tid).unwrap(), Policy::Other);
    assert!(!runaway.is_finished());
    // The process goes on, with another runtime on the same CPUs, and so does the runaway.
    assert_eq!(common::runtime().spawn(prio(50), || 3).join().unwrap(), 3);
    end.raise();
    assert_eq!(runaway.join().unwrap(), Policy::Other);
    assert_cancelled(parked.join());
}

#[test]
fn a_native_part_that_does_not_return_is_abandoned_and_demoted_too() {
    for fallback in [false, true] {
        let configure = |builder: corelane::Builder| {
            if fallback {
                builder.native_fibers()
            } else {
                builder
            }
        };
        let runtime = common::builder().map(configure).build().unwrap();
        let (end, (tell, told)) = (Flag::default(), std::sync::mpsc::channel());
        let seen = end.clone();
        let builder = runtime.build_task().name("native");
        let native = builder.spawn(move || {
            task::native(|| {
                tell.send(os::gettid()).unwrap();
                while !seen.is_raised() {
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
        });
        let tid = told.recv().unwrap();
        let report = runtime.shutdown(Duration::from_millis(20));
        assert_eq!(report.abandoned.len(), 1, "{report:?}");
        assert_eq!(os::policy(tid).unwrap(), Policy::Other);
        assert!(!native.is_finished());
        end.raise();
    }
}

#[test]
fn a_task_behind_a_runaway_still_ends_once_the_runaway_does() {
    let (count, made) = drops();
    let (runtime, end) = (runtime(), Flag::default());
    let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
    let local = made();
    let behind = runtime
        .build_task()
        .priority(prio(10))
        .affinity(only)
        .spawn(move || {
            let _local = local;
            task::park();
        });
    state_is(&behind, TaskState::Waiting);
    let stuck = occupy(&runtime, 0, &end);
    let report = runtime.shutdown(Duration::from_millis(20));
    assert_eq!(report.abandoned.len(), 2, "{report:?}");
    assert_eq!(count.load(SeqCst), 0);
    end.raise();
    stuck.join().unwrap();
    assert_cancelled(behind.join());
    assert_eq!(count.load(SeqCst), 1);
}

#[test]
fn handles_outlive_the_runtime_and_do_no_harm() {
    let runtime = runtime();
    let (builder, cpus) = (runtime.build_task(), runtime.cpus());
    let done = runtime.spawn(prio(50), || ());
    let parked = runtime.spawn(prio(50), task::park);
    let tasks = [done.task(), parked.task()];
    drop(runtime);
    for task in &tasks {
        task.unpark();
        task.cancel();
        assert_eq!(task.set_priority(prio(3)), Err(ChangeError::Done));
        assert_eq!(
            task.set_affinity(&CpuSet::full(cpus)),
            Err(ChangeError::Done)
        );
        assert_eq!(
            (task.state(), task.priority()),
            (TaskState::Done, Some(prio(50)))
        );
        assert!(format!("{task:?}").contains("Done") && task.cpu().index() < cpus);
    }
    assert_cancelled(builder.clone().spawn(|| 1).join());
    assert_eq!(
        builder.try_spawn(|| 1).unwrap_err(),
        SpawnError::ShuttingDown
    );
    assert_cancelled(parked.join());
}

#[test]
fn destructors_that_wait_are_waited_for() {
    struct Waits(Arc<AtomicU32>);
    impl Drop for Waits {
        fn drop(&mut self) {
            task::sleep(Duration::from_millis(3));
            task::yield_now();
            task::park();
            let own = task::current().unwrap();
            own.unpark();
            task::park();
            self.0.fetch_add(1, SeqCst);
        }
    }
    let (runtime, count) = (runtime(), Arc::new(AtomicU32::new(0)));
    let spawn = |_| {
        let local = Waits(count.clone());
        runtime.spawn(prio(50), move || {
            let _local = local;
            task::park();
        })
    };
    let handles: Vec<JoinHandle<()>> = (0..20).map(spawn).collect();
    handles
        .iter()
        .for_each(|handle| state_is(handle, TaskState::Waiting));
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.abandoned.is_empty(), "{report:?}");
    assert_eq!(count.load(SeqCst), 20);
    handles
        .into_iter()
        .for_each(|handle| assert_cancelled(handle.join()));
}

#[test]
fn spawning_while_the_runtime_ends_gives_a_result_or_a_cancellation_never_a_wait() {
    for round in 0..30 {
        let runtime = common::builder().fibers(8).build().unwrap();
        let begin = Flag::default();
        let spawner = |number: usize| {
            let (builder, begin) = (runtime.build_task(), begin.clone());
            std::thread::spawn(move || {
                wait_until("the start", || begin.is_raised());
                for i in 0.. {
                    match builder
                        .clone()
                        .priority(prio(1 + number as u8))
                        .try_spawn(move || i)
                    {
                        Ok(handle) if i % 8 != 0 => drop(handle.join()),
                        Ok(handle) => drop(handle),
                        Err(error) => return error,
                    }
                }
                unreachable!("the runtime ends")
            })
        };
        let threads: Vec<_> = (0..3).map(spawner).collect();
        let inner = runtime.spawn(prio(50), || -> () {
            loop {
                drop(task::spawn(prio(60), || ()));
                task::sleep(Duration::from_micros(10));
            }
        });
        begin.raise();
        std::thread::sleep(Duration::from_micros(100 * (round % 10)));
        let limit = if round % 2 == 0 {
            Duration::from_secs(2)
        } else {
            Duration::ZERO
        };
        let _ = runtime.shutdown(limit);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), SpawnError::ShuttingDown);
        }
        if limit > Duration::ZERO {
            assert_cancelled(inner.join());
        }
    }
}

thread_local! {
    static LOCAL: RefCell<Vec<Drops>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn thread_locals_of_fibers_are_destroyed_with_the_runtime() {
    let (count, made) = drops();
    let runtime = common::builder().fibers(8).build().unwrap();
    let spawn = |i: u32| {
        let local = made();
        let keep = move || LOCAL.with(|kept| kept.borrow_mut().push(local));
        if i.is_multiple_of(2) {
            runtime.spawn(prio(50), keep)
        } else {
            runtime.spawn_background(keep)
        }
    };
    let handles: Vec<_> = (0..40).map(spawn).collect();
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    assert_eq!(count.load(SeqCst), 0);
    drop(runtime);
    assert_eq!(count.load(SeqCst), 40);
}

#[test]
fn thousands_of_spawns_into_one_runtime_after_the_other_all_end() {
    let (count, made) = drops();
    for round in 0..20u32 {
        let runtime = common::builder().fibers(8).build().unwrap();
        for i in 0..500u32 {
            let local = made();
            let run = move || {
                let _local = local;
                if i.is_multiple_of(50) {
                    task::sleep(Duration::from_secs(3600));
                }
            };
            drop(runtime.spawn(prio(1 + (i % 99) as u8), run));
        }
        drop(runtime);
        assert_eq!(count.load(SeqCst), (round + 1) * 500);
    }
}

#[test]
fn two_runtimes_on_different_cpus_wake_and_join_each_others_tasks() {
    drop(runtime());
    let build = |slot: usize| {
        let all = os::affinity(Tid(0)).unwrap();
        let kernel = all.iter().nth(slot)?.0 as usize;
        let cpus = corelane::Cpus::Kernel(vec![kernel]);
        Some(
            corelane::Runtime::builder()
                .cpus(cpus)
                .fibers(8)
                .build()
                .unwrap(),
        )
    };
    let (Some(left), Some(right)) = (build(0), build(1)) else {
        return;
    };
    let parked = right.spawn(prio(30), || {
        task::park();
        "woken"
    });
    let spawner = right.build_task();
    let across = left.spawn(prio(50), move || {
        let sibling = spawner
            .priority(prio(99))
            .spawn(|| task::current().unwrap().cpu());
        parked.task().set_priority(prio(70)).unwrap();
        parked.task().unpark();
        (parked.join().unwrap(), sibling.join().unwrap())
    });
    assert_eq!(across.join().unwrap(), ("woken", CpuId::new(0)));
    let waiting = left.spawn(prio(50), task::park);
    let joiner = right.spawn(prio(50), move || waiting.join());
    drop(left);
    assert_cancelled(joiner.join().unwrap());
    drop(right);
}
