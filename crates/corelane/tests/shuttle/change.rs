//! Changing priority and affinity of tasks that are being woken, pulled and pushed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use corelane::{Cpus, task};
use corelane_os_model::Model;

use crate::kit::{builder, end, join, only, pause, prio, runtime, thread};
use crate::order::{Computing, await_running};

/// Two threads turn the order of four computing tasks upside down.
pub(crate) fn priorities() {
    let runtime = builder().build().unwrap();
    let tasks = [40, 30, 20, 10].map(|p| Computing::spawn(&runtime, p));
    let set = |index: usize, to: u8| {
        let task = tasks[index].handle.task();
        move || task.set_priority(prio(to)).expect("it computes")
    };
    let (raise, lower) = (set(3, 50), set(0, 5));
    let other = thread(move || {
        raise();
        lower();
    });
    set(2, 45)();
    set(1, 25)();
    join(other);
    let [lowered, _middle, raised, most] = &tasks;
    await_running(&runtime, &[raised, most]);
    lowered
        .handle
        .task()
        .set_priority(prio(60))
        .expect("it computes");
    await_running(&runtime, &[lowered, most]);
    Computing::stop_all(tasks);
    end(runtime);
}

#[test]
fn the_order_follows_changes_of_priority() {
    Model::new().schedules(150).check(priorities);
}

/// A parked task is raised and woken by two threads at once.
fn raised_while_woken() {
    let runtime = builder().build().unwrap();
    let others = [20, 30].map(|p| Computing::spawn(&runtime, p));
    let parked = Computing::start(runtime.build_task().priority(prio(10)), true);
    let (woken, raised) = (parked.handle.task(), parked.handle.task());
    let wake = thread(move || woken.unpark());
    raised.set_priority(prio(40)).expect("it waits or computes");
    join(wake);
    await_running(&runtime, &[&parked, &others[1]]);
    Computing::stop_all(others.into_iter().chain([parked]));
    end(runtime);
}

#[test]
fn a_task_that_is_raised_while_it_is_woken_runs_at_its_new_priority() {
    Model::new().schedules(200).check(raised_while_woken);
}

/// A task that parks and yields is told to move while it is woken and while others want its CPUs.
pub(crate) fn affinity() {
    let runtime = runtime();
    let has_moved = Arc::new(AtomicBool::new(false));
    let moved = has_moved.clone();
    let wanderer = runtime.spawn(prio(30), move || {
        for _ in 0..4 {
            task::park();
            let me = task::current().expect("a task");
            let was_told = moved.load(SeqCst);
            assert!(
                !was_told || me.cpu().index() == 1,
                "it is where it may not be"
            );
            task::yield_now();
        }
    });
    let others =
        [20, 40].map(|p| runtime.spawn(prio(p), || (0..3).for_each(|_| task::yield_now())));
    let (told, woken) = (wanderer.task(), wanderer.task());
    let mover = thread(move || {
        let answer = told.set_affinity(&only(1));
        has_moved.store(answer.is_ok(), SeqCst);
    });
    while !wanderer.is_finished() {
        woken.unpark();
        pause();
    }
    join(mover);
    wanderer.join().unwrap();
    others.into_iter().for_each(|other| other.join().unwrap());
    end(runtime);
}

#[test]
fn a_task_is_where_it_may_be_once_set_affinity_has_returned() {
    Model::new().schedules(300).check(affinity);
}

/// Two threads move a computing task to different CPUs; a less urgent one gets the CPU that is left.
fn moved_by_two() {
    let runtime = builder().cpus(Cpus::Count(2)).build().unwrap();
    let moved = Computing::spawn(&runtime, 40);
    let task = moved.handle.task();
    let other = thread(move || task.set_affinity(&only(0)).expect("it computes"));
    let less = Computing::spawn(&runtime, 20);
    moved
        .handle
        .task()
        .set_affinity(&only(1))
        .expect("it computes");
    join(other);
    await_running(&runtime, &[&moved, &less]);
    let at = moved.handle.task().cpu().index();
    let running = runtime.snapshot().cpus[at].running;
    assert_eq!(running.map(|(id, _)| id), Some(moved.handle.task().id()));
    assert!(moved.handle.task().affinity() == only(at));
    Computing::stop_all([moved, less]);
    end(runtime);
}

#[test]
fn a_task_moved_by_two_threads_obeys_one_of_them() {
    Model::new().schedules(200).check(moved_by_two);
}
