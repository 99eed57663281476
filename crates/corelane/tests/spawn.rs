//! Spawning, joining, panics: a task's result reaches its joiner, whatever happened.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

use common::{prio, runtime};
use corelane::{Cpus, JoinError, Priority, task};

#[test]
fn a_result_reaches_an_ordinary_thread() {
    let runtime = runtime();
    assert_eq!(runtime.spawn(prio(50), || 6 * 7).join().unwrap(), 42);
}

#[test]
fn a_result_reaches_another_task() {
    let runtime = runtime();
    let outer = runtime.spawn(prio(50), || {
        let low = task::spawn(prio(10), || "low");
        let high = task::spawn(prio(90), || "high");
        (low.join().unwrap(), high.join().unwrap())
    });
    assert_eq!(outer.join().unwrap(), ("low", "high"));
}

#[test]
fn a_panic_reaches_the_joiner_with_its_message() {
    let runtime = runtime();
    let error = runtime
        .spawn(prio(50), || panic!("no {}", "luck"))
        .join()
        .unwrap_err();
    assert_eq!(error.panic_message(), Some("no luck"));
}

#[test]
fn a_detached_task_goes_on() {
    let (runtime, count) = (runtime(), Arc::new(AtomicU32::new(0)));
    let counted = count.clone();
    drop(runtime.spawn(prio(50), move || {
        task::sleep(Duration::from_millis(5));
        counted.fetch_add(1, SeqCst);
    }));
    common::wait_until("the detached task to run", || count.load(SeqCst) == 1);
}

#[test]
fn a_task_that_joins_itself_gets_a_typed_error() {
    let runtime = runtime();
    let (send, receive) = std::sync::mpsc::channel();
    let slot = Arc::new(std::sync::Mutex::new(None));
    let own = slot.clone();
    let handle = runtime.spawn(prio(50), move || {
        task::park();
        let handle: corelane::JoinHandle<()> = own.lock().unwrap().take().unwrap();
        send.send(matches!(handle.join(), Err(JoinError::Itself)))
            .unwrap();
    });
    let task = handle.task();
    *slot.lock().unwrap() = Some(handle);
    task.unpark();
    assert!(receive.recv().unwrap());
}

#[test]
fn ten_thousand_tasks_need_no_ten_thousand_fibers() {
    let (runtime, count) = (runtime(), Arc::new(AtomicU32::new(0)));
    let spawn = |_| {
        let count = count.clone();
        runtime.spawn(Priority::MIN, move || count.fetch_add(1, Relaxed))
    };
    let handles: Vec<_> = (0..10_000).map(spawn).collect();
    handles
        .into_iter()
        .for_each(|handle| _ = handle.join().unwrap());
    assert_eq!(count.load(Relaxed), 10_000);
    assert_eq!(runtime.stats().no_fiber, 0);
}

#[test]
fn more_waiting_tasks_than_fibers_make_the_pool_grow() {
    let runtime = common::builder().fibers(2).build().unwrap();
    let handles: Vec<_> = (0..40)
        .map(|i| runtime.spawn(prio(1 + i % 9), task::park))
        .collect();
    let tasks: Vec<_> = handles.iter().map(|handle| handle.task()).collect();
    common::wait_until("every task to be waiting", || {
        tasks
            .iter()
            .all(|task| task.state() == corelane::TaskState::Waiting)
    });
    assert!(runtime.stats().no_fiber > 0);
    tasks.iter().for_each(|task| task.unpark());
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
}

#[test]
fn starving_tasks_are_fed_as_fibers_come_back() {
    const TASKS: u64 = 2_000;
    let runtime = common::builder().fibers(4).build().unwrap();
    let sleep = |_| runtime.spawn(prio(50), || task::sleep(Duration::from_millis(1)));
    let handles: Vec<_> = (0..TASKS).map(sleep).collect();
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    // One miss at its start, one for a fiber that was made, one for a fiber that came back.
    let misses = runtime.stats().no_fiber;
    assert!(misses <= 3 * TASKS, "{misses} misses");
}

#[test]
fn a_join_of_a_less_urgent_task_is_two_switches() {
    const TASKS: u64 = 1_000;
    let one_cpu = common::builder().map(|builder| builder.cpus(Cpus::Count(1)));
    let runtime = one_cpu.build().unwrap();
    let before = runtime.stats().switches;
    let joiner = runtime.spawn(prio(50), || {
        (0..TASKS).for_each(|_| task::spawn(prio(40), || ()).join().unwrap());
    });
    joiner.join().unwrap();
    let switches = runtime.stats().switches - before;
    assert_eq!(switches, 2 * TASKS + 1, "there and back, and the first");
}

#[test]
fn a_destructor_that_panics_after_detaching_harms_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bomb");
        }
    }
    let runtime = runtime();
    let detached = Arc::new(AtomicU32::new(0));
    let seen = detached.clone();
    let handle = runtime.spawn(prio(50), move || {
        while seen.load(SeqCst) == 0 {
            task::sleep(Duration::from_micros(100));
        }
        Bomb
    });
    drop(handle);
    detached.store(1, SeqCst);
    common::wait_until("the bomb to go off", || runtime.stats().finished == 1);
    assert_eq!(runtime.spawn(prio(40), || 1).join().unwrap(), 1);
}
