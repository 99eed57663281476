//! Migrate-disable: a task that holds a guard stays on its CPU, whatever it waits for and whoever pushes.

mod common;
#[path = "common/kit.rs"]
mod kit;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{prio, runtime, wait_until};
use corelane::{
    ChangeError, CpuSet, MigrateGuard, PerCpu, Task, TaskState, migrate_disable, task,
    try_migrate_disable,
};
use kit::{Rng, assert_home, breathe, every, has_two_cpus, kernel_cpus, occupy_until, only};

#[test]
fn a_held_task_never_moves_while_others_churn() {
    const TASKS: usize = 8;
    let runtime = runtime();
    let (kernel, peers) = (
        kernel_cpus(&runtime),
        Arc::new(Mutex::new(Vec::<Task>::new())),
    );
    let moves = Arc::new(AtomicU64::new(0));
    let live = |me: usize| {
        let (kernel, peers, moves) = (kernel.clone(), peers.clone(), moves.clone());
        move || {
            let (mut rng, mut last) = (Rng::new(me as u64), None);
            for _ in 0..400 {
                let guard = migrate_disable();
                moves.fetch_add(
                    u64::from(last.is_some_and(|last| last != guard.cpu())),
                    Relaxed,
                );
                last = Some(guard.cpu());
                for _ in 0..4 {
                    let inner = (rng.below(2) == 0).then(migrate_disable);
                    wait_somehow(&mut rng, &peers);
                    assert_home(&guard, &kernel);
                    drop(inner);
                    assert_home(&guard, &kernel);
                }
                drop(guard);
                wait_somehow(&mut rng, &peers);
            }
        }
    };
    let handles: Vec<_> = (0..TASKS)
        .map(|me| runtime.spawn(prio(10 + 10 * me as u8), live(me)))
        .collect();
    *peers.lock().unwrap() = handles.iter().map(|handle| handle.task()).collect();
    let mut rng = Rng::new(77);
    while !handles.iter().all(|handle| handle.is_finished()) {
        let handle = &handles[rng.below(TASKS)];
        let _ = handle.task().set_priority(prio(1 + rng.below(99) as u8));
        handles[rng.below(TASKS)].task().unpark();
        std::thread::sleep(Duration::from_micros(20));
    }
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    println!(
        "{} moves between guards, {:?}",
        moves.load(Relaxed),
        runtime.stats()
    );
    assert!(
        runtime.cpus() == 1 || moves.load(Relaxed) > 0,
        "nothing would have moved anyway"
    );
}

/// Yields, sleeps, parks, wakes others, or runs on.
fn wait_somehow(rng: &mut Rng, peers: &Mutex<Vec<Task>>) {
    match rng.below(6) {
        0 => task::yield_now(),
        1 => task::sleep(Duration::from_micros(rng.below(80) as u64)),
        2 => _ = task::park_timeout(Duration::from_micros(50)),
        3 => {
            let peer = peers.lock().unwrap().get(rng.below(8)).cloned();
            if let Some(peer) = peer {
                peer.unpark();
            }
        }
        4 => breathe(),
        _ => task::checkpoint(),
    }
}

#[test]
fn a_guard_outside_a_task_is_refused() {
    assert!(try_migrate_disable().is_none());
}

#[test]
fn a_forgotten_guard_is_counted_and_released_when_the_task_ends() {
    let runtime = common::builder().fibers(1).build().unwrap();
    let here = only(&runtime, 0);
    let leaky = runtime.build_task().affinity(here.clone()).spawn(|| {
        std::mem::forget(migrate_disable());
        std::mem::forget(migrate_disable());
    });
    leaky.join().unwrap();
    wait_until("the task to end", || runtime.stats().finished == 1);
    assert_eq!(runtime.stats().leaked_guards, 2);
    // The same fiber serves the next task, which holds nothing.
    let cpus = every(&runtime);
    let next = runtime.build_task().affinity(here).spawn(move || {
        for cpu in cpus.iter() {
            let only = CpuSet::single(cpus.count(), cpu);
            task::current().unwrap().set_affinity(&only).unwrap();
            assert_eq!(task::current().unwrap().cpu(), cpu);
        }
    });
    next.join().unwrap();
    assert_eq!(runtime.stats().leaked_guards, 2);
}

thread_local! {
    static KEPT: RefCell<Option<MigrateGuard>> = const { RefCell::new(None) };
}

#[test]
fn a_guard_kept_in_a_thread_local_after_its_task_is_harmless() {
    let runtime = common::builder().fibers(1).build().unwrap();
    let build = || runtime.build_task().affinity(only(&runtime, 0));
    let keep = build().spawn(|| KEPT.set(Some(migrate_disable())));
    keep.join().unwrap();
    wait_until("the task to end", || runtime.stats().finished == 1);
    assert_eq!(runtime.stats().leaked_guards, 1);
    let next = build().spawn(|| {
        let own = migrate_disable();
        let old = KEPT.take();
        let found = old.is_some();
        drop(old); // releases nothing of ours
        task::yield_now();
        assert_eq!(task::current().unwrap().cpu(), own.cpu());
        let cpu = own.cpu();
        drop(own);
        KEPT.set(Some(migrate_disable())); // dropped when the fiber's thread ends
        (found, cpu)
    });
    assert!(next.join().unwrap().0, "both tasks ran on the one fiber");
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.abandoned.is_empty());
}

#[test]
fn a_per_cpu_value_is_reached_through_a_guard() {
    let runtime = runtime();
    let hits = Arc::new(PerCpu::new(runtime.cpus(), |_| AtomicU64::new(0)));
    let count = |_| {
        let hits = hits.clone();
        runtime.spawn(prio(50), move || {
            for _ in 0..1000 {
                let guard = migrate_disable();
                let mine = hits.get(&guard);
                // Not a read-modify-write of the machine: only tasks of this CPU come here, one at a time.
                mine.store(mine.load(Relaxed) + 1, Relaxed);
                drop(guard);
                task::yield_now();
            }
        })
    };
    let handles: Vec<_> = (0..4).map(count).collect();
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    assert_eq!(
        hits.iter().map(|(_, hits)| hits.load(Relaxed)).sum::<u64>(),
        4000
    );
}

#[test]
fn a_task_that_excludes_the_cpu_it_is_held_to_is_told() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let cpus = runtime.cpus();
    let handle = runtime.spawn(prio(50), move || {
        let own = task::current().unwrap();
        let guard = migrate_disable();
        let mut others = CpuSet::full(cpus);
        others.remove(guard.cpu());
        assert_eq!(own.set_affinity(&others), Err(ChangeError::Held));
        assert_eq!(
            own.affinity(),
            CpuSet::full(cpus),
            "a refused change changes nothing"
        );
        assert_eq!(own.set_affinity(&CpuSet::single(cpus, guard.cpu())), Ok(()));
        drop(guard);
        own.set_affinity(&others).unwrap();
        assert!(others.contains(own.cpu()));
    });
    handle.join().unwrap();
}

/// A change of affinity from outside, in its own thread; says when it has returned.
fn change_meanwhile<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    task: Task,
    affinity: CpuSet,
) -> Arc<AtomicBool> {
    let returned = Arc::new(AtomicBool::new(false));
    let done = returned.clone();
    scope.spawn(move || {
        task.set_affinity(&affinity).unwrap();
        done.store(true, SeqCst);
    });
    returned
}

#[test]
fn a_change_of_affinity_waits_for_the_guard_of_a_running_task() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let steps = Arc::new(AtomicUsize::new(0));
    let step = steps.clone();
    let handle = runtime
        .build_task()
        .priority(prio(50))
        .affinity(only(&runtime, 0))
        .spawn(move || {
            let guard = migrate_disable();
            step.store(1, SeqCst);
            occupy_until(|| step.load(SeqCst) >= 2);
            assert_eq!(task::current().unwrap().cpu().index(), 0);
            drop(guard); // a safe point: somebody waits for it
            assert_eq!(task::current().unwrap().cpu().index(), 1);
        });
    wait_until("the guard to be held", || steps.load(SeqCst) == 1);
    std::thread::scope(|scope| {
        let switches = runtime.stats().switches;
        let returned = change_meanwhile(scope, handle.task(), only(&runtime, 1));
        wait_until("the CPU to have looked at the task", || {
            runtime.stats().switches > switches
        });
        assert!(!returned.load(SeqCst), "the guard is held");
        steps.store(2, SeqCst);
        wait_until("the change to return", || returned.load(SeqCst));
    });
    handle.join().unwrap();
}

#[test]
fn a_change_of_affinity_waits_for_the_guard_of_a_parked_task() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let steps = Arc::new(AtomicUsize::new(0));
    let step = steps.clone();
    let handle = runtime
        .build_task()
        .priority(prio(50))
        .affinity(only(&runtime, 0))
        .spawn(move || {
            let guard = migrate_disable();
            task::park();
            assert_eq!(task::current().unwrap().cpu().index(), 0);
            step.store(1, SeqCst);
            while step.load(SeqCst) < 2 {
                breathe(); // no safe point
            }
            drop(guard);
            assert_eq!(task::current().unwrap().cpu().index(), 1);
        });
    wait_until("the task to park", || {
        handle.task().state() == TaskState::Waiting
    });
    std::thread::scope(|scope| {
        let returned = change_meanwhile(scope, handle.task(), only(&runtime, 1));
        wait_until("the change to be asked for", || {
            handle.task().affinity() == only(&runtime, 1)
        });
        std::thread::sleep(Duration::from_millis(2));
        handle.task().unpark();
        wait_until("the task to run", || steps.load(SeqCst) == 1);
        assert!(!returned.load(SeqCst), "the guard is held");
        steps.store(2, SeqCst);
        wait_until("the change to return", || returned.load(SeqCst));
    });
    handle.join().unwrap();
}

#[test]
fn the_last_of_several_changes_wins_while_a_guard_is_held() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let over = Arc::new(AtomicBool::new(false));
    let until = over.clone();
    let handle = runtime
        .build_task()
        .priority(prio(50))
        .affinity(only(&runtime, 0))
        .spawn(move || {
            let guard = migrate_disable();
            occupy_until(|| until.load(SeqCst));
            drop(guard);
            task::current().unwrap().cpu().index()
        });
    wait_until("the task to run", || {
        handle.task().state() == TaskState::Running
    });
    std::thread::scope(|scope| {
        let first = change_meanwhile(scope, handle.task(), only(&runtime, 1));
        wait_until("the change to be asked for", || {
            handle.task().affinity() == only(&runtime, 1)
        });
        // Allows its CPU again: nobody waits any more.
        handle.task().set_affinity(&every(&runtime)).unwrap();
        wait_until("the first change to return too", || first.load(SeqCst));
    });
    over.store(true, SeqCst);
    handle.join().unwrap();
}

#[test]
fn a_held_task_that_changes_itself_does_not_wait_for_itself() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let (over, cpus) = (Arc::new(AtomicBool::new(false)), runtime.cpus());
    let until = over.clone();
    let handle = runtime.spawn(prio(50), move || {
        let own = task::current().unwrap();
        while !until.load(SeqCst) {
            let guard = migrate_disable();
            for _ in 0..20 {
                own.set_affinity(&CpuSet::single(cpus, guard.cpu()))
                    .unwrap();
                breathe();
            }
            drop(guard);
            task::yield_now();
        }
    });
    // Changes from outside fall into the middle of its own calls and exclude its CPU.
    for round in 0..400 {
        handle
            .task()
            .set_affinity(&only(&runtime, round % 2))
            .unwrap();
    }
    over.store(true, SeqCst);
    handle.join().unwrap();
}

#[test]
fn a_task_that_waits_long_for_a_guard_looks_seldom() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let on = |cpu| {
        runtime
            .build_task()
            .priority(prio(50))
            .affinity(only(&runtime, cpu))
    };
    let holder = on(0).spawn(|| {
        let _guard = migrate_disable();
        task::park();
    });
    wait_until("the task to park", || {
        holder.task().state() == TaskState::Waiting
    });
    let (task, to) = (holder.task(), only(&runtime, 1));
    let changer = on(1).spawn(move || task.set_affinity(&to));
    wait_until("the change to be asked for", || {
        holder.task().affinity() == only(&runtime, 1)
    });
    let (start, before) = (Instant::now(), runtime.stats().timers);
    std::thread::sleep(Duration::from_millis(100));
    let looks = runtime.stats().timers - before;
    let elapsed_ms = start.elapsed().as_millis() as u64;
    holder.task().unpark();
    holder.join().unwrap();
    changer.join().unwrap().unwrap();
    // Looks that follow each other sooner than a worker falls asleep would keep its CPU spinning.
    assert!(looks <= 10 + elapsed_ms, "{looks} looks in {elapsed_ms} ms");
}
