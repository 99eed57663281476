//! The background class: below every real-time task, on ordinary threads, spread by stealing.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::Duration;

use common::{prio, runtime, wait_until};
use corelane::{CpuId, CpuSet, Idle, JoinError, JoinHandle, TaskState, task};
use corelane_os::thread::{self, Policy};

/// A flag that one side raises and the other waits for by computing.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn raise(&self) {
        self.0.store(true, SeqCst);
    }

    fn is_raised(&self) -> bool {
        self.0.load(SeqCst)
    }
}

/// A background task that computes without a safe point until `end` is raised.
fn spinner(runtime: &corelane::Runtime, end: &Flag) -> JoinHandle<()> {
    let (end, began) = (end.clone(), Flag::default());
    let begin = began.clone();
    let handle = runtime.spawn_background(move || {
        begin.raise();
        while !end.is_raised() {
            std::hint::spin_loop();
        }
    });
    wait_until("a background task to spin", || began.is_raised());
    handle
}

#[test]
fn a_background_task_runs_on_an_ordinary_thread_and_a_real_time_one_on_a_worker() {
    let runtime = runtime();
    let policy = || thread::policy(thread::gettid()).unwrap();
    assert_eq!(
        runtime.spawn_background(policy).join().unwrap(),
        Policy::Other
    );
    let fifo = runtime
        .status()
        .cpus
        .iter()
        .all(|cpu| cpu.fifo.is_granted());
    let worker = runtime.spawn(prio(1), policy).join().unwrap();
    assert_eq!(
        worker,
        if fifo {
            Policy::Fifo { level: 20 }
        } else {
            Policy::Other
        }
    );
}

#[test]
fn it_yields_sleeps_parks_joins_and_holds_guards_like_any_task() {
    let runtime = runtime();
    let handle = runtime.spawn_background(|| {
        assert!(task::current().unwrap().priority().is_none());
        task::yield_now();
        task::checkpoint();
        task::sleep(Duration::from_millis(2));
        assert!(!task::park_timeout(Duration::from_millis(1)));
        let guard = corelane::migrate_disable();
        task::sleep(Duration::from_millis(1));
        assert_eq!(task::current().unwrap().cpu(), guard.cpu());
        drop(guard);
        task::current().unwrap().unpark();
        task::park();
        let urgent = task::spawn(prio(30), || "urgent").join().unwrap();
        (urgent, task::native(|| 1) + task::outside(|| 2))
    });
    assert_eq!(handle.join().unwrap(), ("urgent", 3));
}

#[test]
fn a_panic_and_a_result_reach_a_real_time_joiner() {
    let runtime = runtime();
    let panics = runtime.spawn_background(|| panic!("below {}", "all"));
    let returns = runtime.spawn_background(|| 5);
    let joiner = runtime.spawn(prio(60), move || {
        (
            panics
                .join()
                .map(|()| 0)
                .unwrap_err()
                .panic_message()
                .map(str::to_owned),
            returns.join(),
        )
    });
    let (message, five) = joiner.join().unwrap();
    assert_eq!((message.as_deref(), five.unwrap()), (Some("below all"), 5));
}

#[test]
fn real_time_tasks_make_progress_on_every_cpu_while_background_tasks_spin() {
    let (runtime, end) = (runtime(), Flag::default());
    let cpus = runtime.cpus();
    let spinners: Vec<_> = (0..cpus).map(|_| spinner(&runtime, &end)).collect();
    for cpu in (0..cpus).map(CpuId::new) {
        let task = runtime
            .build_task()
            .priority(prio(1))
            .affinity(CpuSet::single(cpus, cpu));
        let rounds = task.spawn(|| {
            for _ in 0..20 {
                task::sleep(Duration::from_micros(500));
                task::yield_now();
            }
            20
        });
        assert_eq!(rounds.join().unwrap(), 20);
    }
    assert!(spinners.iter().all(|spinner| !spinner.is_finished()));
    end.raise();
    spinners
        .into_iter()
        .for_each(|spinner| spinner.join().unwrap());
}

#[test]
fn a_spinning_background_task_sends_the_idle_worker_to_sleep() {
    // A worker that would poll for a minute does not, once its CPU's lane has work.
    let polls = Idle::SpinThenPark {
        spin_ns: 60_000_000_000,
    };
    let configure = |builder: corelane::Builder| builder.idle(polls).cpus(corelane::Cpus::Count(1));
    let runtime = common::builder().map(configure).build().unwrap();
    assert_eq!(runtime.stats().parks, 0);
    let end = Flag::default();
    let spinner = spinner(&runtime, &end);
    wait_until("the worker to sleep", || runtime.stats().parks > 0);
    let parks = runtime.stats().parks;
    for round in 0..10 {
        assert_eq!(runtime.spawn(prio(9), move || round).join().unwrap(), round);
    }
    wait_until("the worker to sleep again", || {
        runtime.stats().parks > parks
    });
    end.raise();
    spinner.join().unwrap();
}

#[test]
fn a_lane_that_is_done_takes_over_the_letters_of_one_that_is_busy() {
    let runtime = runtime();
    if runtime.cpus() < 2 {
        return; // nobody to steal from
    }
    let (busy, shorter) = (Flag::default(), Flag::default());
    let long = spinner(&runtime, &busy);
    let others: Vec<_> = (1..runtime.cpus())
        .map(|_| spinner(&runtime, &shorter))
        .collect();
    let queued: Vec<_> = (0..8)
        .map(|i| runtime.spawn_background(move || (i, on_cpu())))
        .collect();
    shorter.raise();
    for (i, handle) in queued.into_iter().enumerate() {
        let (number, cpu) = handle.join().unwrap();
        assert_eq!(number, i);
        assert_ne!(cpu, long.task().cpu());
    }
    assert!(!long.is_finished());
    busy.raise();
    long.join().unwrap();
    others.into_iter().for_each(|other| other.join().unwrap());
}

fn on_cpu() -> CpuId {
    task::current().unwrap().cpu()
}

#[test]
fn a_lane_that_is_done_steals_what_another_has_queued() {
    let runtime = runtime();
    if runtime.cpus() < 2 {
        return; // nobody to steal from
    }
    let [first, second, shorter] = [Flag::default(), Flag::default(), Flag::default()];
    let long = spinner(&runtime, &first);
    let others: Vec<_> = (1..runtime.cpus())
        .map(|_| spinner(&runtime, &shorter))
        .collect();
    // These wait in one inbox; their lane files them all, then runs the spinner that came first.
    let (end, began) = (second.clone(), Flag::default());
    let begin = began.clone();
    let next = runtime.spawn_background(move || {
        begin.raise();
        while !end.is_raised() {
            std::hint::spin_loop();
        }
    });
    let queued: Vec<_> = (0..8)
        .map(|i| runtime.spawn_background(move || i))
        .collect();
    first.raise();
    long.join().unwrap();
    wait_until("the second spinner to run", || began.is_raised());
    shorter.raise();
    for (i, handle) in queued.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), i);
    }
    assert!(!next.is_finished());
    second.raise();
    next.join().unwrap();
    others.into_iter().for_each(|other| other.join().unwrap());
}

#[test]
fn no_lane_sleeps_while_a_task_waits_behind_a_spinner() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    if cpus < 2 {
        return; // the spinner has the only lane
    }
    let end = Flag::default();
    let long = spinner(&runtime, &end);
    // From the spinner's CPU, above it: each task is spawned while the other lanes are on their way to
    // sleep after the one before.
    let here = CpuSet::single(cpus, long.task().cpu());
    let spawns = runtime
        .build_task()
        .priority(prio(9))
        .affinity(here)
        .spawn(move || {
            for round in 0..20_000 {
                let behind = task::spawn_background(|| ());
                for look in 0..20_000 {
                    if behind.is_finished() {
                        break;
                    }
                    if look < 2_000 {
                        std::hint::spin_loop()
                    } else {
                        task::sleep(Duration::from_micros(100))
                    }
                }
                assert!(behind.is_finished(), "task {round} waits behind a spinner");
            }
        });
    spawns.join().unwrap();
    assert!(!long.is_finished());
    end.raise();
    long.join().unwrap();
}

#[test]
fn a_guard_keeps_it_on_its_lane_while_others_steal() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    let moved = Arc::new(AtomicUsize::new(0));
    let spawn = |_| {
        let moved = moved.clone();
        runtime.spawn_background(move || {
            for round in 0..200 {
                let guard = corelane::migrate_disable();
                let (slot, kernel) = (guard.cpu(), thread::current_cpu());
                if round % 20 == 0 {
                    task::sleep(Duration::from_micros(200))
                } else {
                    task::yield_now()
                }
                assert_eq!(on_cpu(), slot);
                assert_eq!(thread::current_cpu(), kernel);
                drop(guard);
                task::yield_now();
                moved.fetch_add(usize::from(on_cpu() != slot), Relaxed);
            }
        })
    };
    let handles: Vec<_> = (0..8 * cpus).map(spawn).collect();
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
}

#[test]
fn it_is_cancelled_wherever_it_waits_and_where_it_computes() {
    let runtime = runtime();
    let waits = [
        runtime.spawn_background(task::park),
        runtime.spawn_background(|| task::sleep(Duration::from_secs(3600))),
        runtime.spawn_background(|| task::spawn(prio(5), task::park).join().unwrap()),
    ];
    wait_until("three to wait", || {
        waits
            .iter()
            .all(|handle| handle.task().state() == TaskState::Waiting)
    });
    for handle in waits {
        handle.cancel();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
    }
    let computing = Flag::default();
    let compute = computing.clone();
    let computes = runtime.spawn_background(move || -> () {
        compute.raise();
        loop {
            task::checkpoint();
        }
    });
    wait_until("one to compute", || computing.is_raised());
    computes.cancel();
    assert!(matches!(computes.join(), Err(JoinError::Cancelled)));
}

#[test]
fn one_that_is_cancelled_before_it_starts_never_runs() {
    let (runtime, end) = (runtime(), Flag::default());
    let spinners: Vec<_> = (0..runtime.cpus())
        .map(|_| spinner(&runtime, &end))
        .collect();
    let ran = Flag::default();
    let run = ran.clone();
    let queued = runtime.spawn_background(move || run.raise());
    queued.cancel();
    end.raise();
    assert!(matches!(queued.join(), Err(JoinError::Cancelled)));
    assert!(!ran.is_raised());
    spinners
        .into_iter()
        .for_each(|spinner| spinner.join().unwrap());
}

#[test]
fn one_that_waited_for_a_fiber_still_runs_in_its_lane() {
    // Background tasks wait for fibers while real-time tasks give theirs back: none may end up on a worker.
    for _ in 0..8 {
        let runtime = common::builder().fibers(1).build().unwrap();
        let spawn = |_| {
            runtime.spawn_background(|| {
                let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
                task::sleep(Duration::from_millis(1));
                name
            })
        };
        let background: Vec<_> = (0..100).map(spawn).collect();
        while !background.iter().all(JoinHandle::is_finished) {
            runtime.spawn(prio(9), || ()).join().unwrap();
        }
        for handle in background {
            let name = handle.join().unwrap();
            assert!(
                name.starts_with("corelane-b"),
                "a background task ran on {name}"
            );
        }
    }
}

#[test]
fn nobody_waits_for_a_background_task_queued_behind_a_runaway_that_outlives_the_runtime() {
    let (runtime, end) = (runtime(), Flag::default());
    let parked = runtime.spawn_background(task::park);
    wait_until("one to park", || {
        parked.task().state() == TaskState::Waiting
    });
    let spinners: Vec<_> = (0..runtime.cpus())
        .map(|_| spinner(&runtime, &end))
        .collect();
    let queued: Vec<_> = (0..50).map(|_| runtime.spawn_background(|| ())).collect();
    let report = runtime.shutdown(Duration::from_millis(50));
    // What had started is abandoned: the runaways, and the one that cannot get a lane to unwind on.
    assert_eq!(report.abandoned.len(), spinners.len() + 1, "{report:?}");
    for handle in queued {
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
    }
    assert!(!spinners.iter().any(JoinHandle::is_finished));
    end.raise();
    spinners
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    assert!(matches!(parked.join(), Err(JoinError::Cancelled)));
}

#[test]
fn a_task_with_a_guard_that_yields_lets_its_lane_run_others() {
    let runtime = common::builder()
        .map(|builder| builder.cpus(corelane::Cpus::Count(1)))
        .build()
        .unwrap();
    let (set, seen) = (Flag::default(), Flag::default());
    let (wanted, begun) = (set.clone(), seen.clone());
    let yielder = runtime.spawn_background(move || {
        let _guard = corelane::migrate_disable();
        while !wanted.is_raised() {
            begun.raise();
            task::yield_now();
        }
    });
    wait_until("the yielder to run", || seen.is_raised());
    runtime
        .spawn_background(move || set.raise())
        .join()
        .unwrap();
    yielder.join().unwrap();
}
