//! The pool of fibers: it grows when it runs dry, and says so when it cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use corelane::{BuildError, JoinError, JoinHandle, Runtime, task};
use corelane_os_model::Model;

use crate::kit::{Census, builder, end, join, prio, thread};

/// More tasks than fibers, all of which must have started before one ends.
pub(crate) fn growth() {
    const TASKS: usize = 4;
    let runtime = builder().fibers(1).build().unwrap();
    let started = Arc::new(AtomicUsize::new(0));
    let all_meet = || {
        let started = started.clone();
        move || {
            started.fetch_add(1, SeqCst);
            task::park();
            started.load(SeqCst)
        }
    };
    let realtime = [10, 20, 30].map(|p| runtime.spawn(prio(p), all_meet()));
    let background = runtime.spawn_background(all_meet());
    crate::kit::eventually("all have started", || started.load(SeqCst) == TASKS);
    let all = realtime.into_iter().chain([background]);
    let handles: Vec<JoinHandle<usize>> = all.collect();
    handles.iter().for_each(|handle| handle.task().unpark());
    for handle in handles {
        assert_eq!(handle.join().unwrap(), TASKS);
    }
    end(runtime);
}

#[test]
fn an_exhausted_pool_grows() {
    Model::new().schedules(300).check(growth);
}

/// As many fibers as there are, held by tasks that wait for those that get none.
fn refused() {
    let runtime = builder().fibers(1).build().unwrap();
    let holder = runtime.spawn(prio(50), task::park);
    crate::kit::eventually("it has a fiber", || runtime.stats().started == 1);
    let census = Census::default();
    let spawn = |runtime: &Runtime, p| {
        let citizen = census.citizen();
        runtime.spawn(prio(p), move || drop(citizen))
    };
    let builder = runtime.build_task().priority(prio(60));
    let other = thread(move || builder.spawn(|| ()).join());
    let [first, second] = [40, 30].map(|p| spawn(&runtime, p));
    let background = runtime.spawn_background(|| ());
    for answer in [join(other), first.join(), second.join(), background.join()] {
        assert!(matches!(answer, Err(JoinError::NoFiber(_))), "{answer:?}");
    }
    assert_eq!(
        census.count(),
        0,
        "the closure of a refused task is dropped"
    );
    holder.task().unpark();
    holder.join().unwrap();
    end(runtime);
}

#[test]
fn a_task_for_which_no_fiber_can_be_had_says_so_when_joined() {
    Model::new().fibers_max(1).schedules(300).check(refused);
}

/// Fewer fibers than the runtime is to start with.
fn too_few_to_build() {
    let error = builder().fibers(4).build().map(|_| ());
    assert!(matches!(error, Err(BuildError::Fiber(_))), "{error:?}");
    // What it had claimed and started is there for the next.
    let runtime = builder().fibers(3).build().expect("three are granted");
    assert_eq!(runtime.spawn(prio(10), || 1).join().unwrap(), 1);
    end(runtime);
}

#[test]
fn a_build_that_fails_leaves_nothing_behind() {
    Model::new()
        .fibers_max(3)
        .schedules(100)
        .check(too_few_to_build);
}

/// Fewer fibers than tasks, and tasks that soon end: each gets a fiber or a refusal, whoever is first.
fn contended() {
    let runtime = builder().fibers(1).build().unwrap();
    let spawn = |p| runtime.spawn(prio(p), task::yield_now);
    let realtime: Vec<JoinHandle<()>> = [10, 30, 20].map(spawn).into_iter().collect();
    let background = runtime.spawn_background(|| ());
    let mut ran = 0;
    for handle in realtime.into_iter().chain([background]) {
        match handle.join() {
            Ok(()) => ran += 1,
            Err(error) => assert!(matches!(error, JoinError::NoFiber(_)), "{error:?}"),
        }
    }
    assert!(ran >= 1, "the fiber that there is was used");
    end(runtime);
}

#[test]
fn contended_fibers_leave_nobody_waiting() {
    Model::new()
        .fibers_max(2)
        .hasty()
        .schedules(300)
        .check(contended);
}
