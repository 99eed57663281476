//! The end of a task and of a runtime: bounded, reported, and nothing left behind.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

use common::{Exclusive, prio, runtime, wait_until};
use corelane::{ChangeError, CpuId, CpuSet, JoinError, JoinHandle, SpawnError, TaskState, task};
use corelane_os::thread::{self as os, Policy, Tid};

/// Counts what is allocated, so that a runtime that keeps itself in memory is noticed.
struct Counting;

static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: forwards to the system's allocator and counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts how often it was dropped.
#[derive(Clone)]
struct Drops(Arc<AtomicU32>);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Makes values whose drops are counted.
fn drops() -> (Arc<AtomicU32>, impl Fn() -> Drops + Clone) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    (count, move || Drops(counted.clone()))
}

/// A flag that one side raises and the other waits for.
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

fn assert_cancelled<T>(result: Result<T, JoinError>) {
    match result {
        Err(JoinError::Cancelled) => {}
        Err(error) => panic!("cancelled, not {error}"),
        Ok(_) => panic!("a cancelled task returned"),
    }
}

fn state_is(handle: &JoinHandle<()>, state: TaskState) {
    wait_until("a task to reach a state", || handle.task().state() == state);
}

/// Occupies a CPU until `end` is raised, without a safe point. The carrier sleeps in the kernel in between,
/// so that the host is not starved.
fn occupy(runtime: &Exclusive, cpu: usize, end: &Flag) -> JoinHandle<()> {
    let (began, end) = (Flag::default(), end.clone());
    let begin = began.clone();
    let only = CpuSet::single(runtime.cpus(), CpuId::new(cpu));
    let builder = runtime
        .build_task()
        .name("stuck")
        .priority(prio(90))
        .affinity(only);
    let handle = builder.spawn(move || {
        begin.raise();
        while !end.is_raised() {
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    wait_until("a CPU to be occupied", || began.is_raised());
    handle
}

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
fn a_cancelled_task_ends_wherever_it_is() {
    let runtime = runtime();
    let computing = runtime.spawn(prio(10), || {
        loop {
            task::checkpoint();
            std::thread::sleep(Duration::from_micros(20));
        }
    });
    let yielding = runtime.spawn(prio(10), || {
        loop {
            task::yield_now();
            std::thread::sleep(Duration::from_micros(20));
        }
    });
    let parked = runtime.spawn(prio(50), task::park);
    let timed = runtime.spawn(prio(50), || {
        _ = task::park_timeout(Duration::from_secs(3600))
    });
    let asleep = runtime.spawn(prio(50), || task::sleep(Duration::from_secs(3600)));
    let joining = runtime.spawn(prio(50), || {
        task::spawn(prio(40), task::park).join().unwrap()
    });
    for waits in [&parked, &timed, &asleep, &joining] {
        state_is(waits, TaskState::Waiting);
    }
    let tasks: [JoinHandle<()>; 6] = [computing, yielding, parked, timed, asleep, joining];
    for handle in tasks {
        handle.cancel();
        handle.cancel();
        assert_cancelled(handle.join());
    }
    wait_until("the end of all to be counted", || {
        runtime.stats().cancelled == 6
    });
}

#[test]
fn a_task_cancelled_before_its_first_run_never_runs() {
    let (count, made) = drops();
    let (runtime, end, ran) = (runtime(), Flag::default(), Flag::default());
    let stuck: Vec<_> = (0..runtime.cpus())
        .map(|cpu| occupy(&runtime, cpu, &end))
        .collect();
    let (run, local) = (ran.clone(), made());
    let queued = runtime.spawn(prio(5), move || {
        let _local = local;
        run.raise();
    });
    queued.cancel();
    end.raise();
    assert_cancelled(queued.join());
    assert_eq!((ran.is_raised(), count.load(SeqCst)), (false, 1));
    stuck.into_iter().for_each(|stuck| stuck.join().unwrap());
}

#[test]
fn a_cancellation_that_comes_while_the_task_unwinds_is_not_lost() {
    struct Sleeps(Flag);
    impl Drop for Sleeps {
        fn drop(&mut self) {
            self.0.raise();
            task::sleep(Duration::from_millis(20)); // consumes the wake that comes with the cancellation
        }
    }
    let (runtime, unwinding) = (runtime(), Flag::default());
    let guard = Sleeps(unwinding.clone());
    let handle = runtime.spawn(prio(50), move || {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _guard = guard;
            std::panic::resume_unwind(Box::new(1));
        }));
        task::park();
    });
    wait_until("the destructor to sleep", || unwinding.is_raised());
    handle.cancel();
    assert_cancelled(handle.join());
}

#[test]
fn a_cancellation_answered_where_a_task_must_not_unwind_is_seen_at_the_next_checkpoint() {
    let runtime = runtime();
    let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
    for _ in 0..200 {
        let (seen, inner) = (Flag::default(), only.clone());
        let see = seen.clone();
        // A wake that preempts is a safe point, not a point of cancellation. The peer is above and cancels.
        let low = runtime
            .build_task()
            .priority(prio(10))
            .affinity(only.clone())
            .spawn(move || {
                let own = task::current().unwrap();
                let peer = task::build()
                    .priority(prio(20))
                    .affinity(inner)
                    .spawn(move || {
                        task::park();
                        own.cancel();
                    });
                peer.task().unpark();
                see.raise();
                loop {
                    task::checkpoint();
                    std::thread::sleep(Duration::from_micros(10));
                }
            });
        assert_cancelled(low.join());
        assert!(seen.is_raised(), "a wake unwound its caller");
    }
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

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory)
        .expect("procfs is mounted")
        .count()
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .expect("procfs is mounted")
        .lines()
        .count()
}

/// Builds a runtime, uses it in many ways, and ends it with work left.
fn cycle() {
    let runtime = common::builder().fibers(16).build().unwrap();
    let handles: Vec<_> = (0..40u8)
        .map(|i| {
            runtime.spawn(prio(1 + i), move || {
                task::sleep(Duration::from_micros(100));
                let _guard = corelane::migrate_disable();
                task::yield_now();
                if i.is_multiple_of(10) {
                    task::native(|| 1) + task::outside(|| 2)
                } else {
                    3
                }
            })
        })
        .collect();
    let background = runtime.spawn_background(|| task::sleep(Duration::from_micros(50)));
    handles
        .into_iter()
        .for_each(|handle| assert_eq!(handle.join().unwrap(), 3));
    background.join().unwrap();
    let left: Vec<_> = (0..10)
        .map(|_| runtime.spawn(prio(7), task::park))
        .collect();
    drop(runtime.spawn_background(task::park));
    let queued = runtime.spawn(prio(1), || ());
    drop(runtime);
    left.iter().for_each(|handle| handle.task().cancel());
    drop(queued.join());
    left.into_iter()
        .for_each(|handle| assert_cancelled(handle.join()));
}

/// Mappings may differ by this much: the C library keeps up to a few freed thread stacks for reuse, and
/// each of its malloc arenas (at most eight per CPU, never given back) splits when it grows.
const MAPPINGS_TOLERANCE: usize = 24;
/// Bytes may grow by this much: buffers of the test harness. One runtime that stays is more.
const BYTES_TOLERANCE: i64 = 16 * 1024;

#[test]
fn twenty_runtimes_leave_no_thread_no_descriptor_no_mapping_and_no_memory_behind() {
    (0..5).for_each(|_| cycle()); // the first ones fill caches and create arenas
    let count = || {
        (
            entries("/proc/self/task"),
            entries("/proc/self/fd"),
            mappings(),
        )
    };
    let (before, bytes) = (count(), LIVE_BYTES.load(Relaxed));
    (0..20).for_each(|_| cycle());
    let (after, grown) = (count(), LIVE_BYTES.load(Relaxed) - bytes);
    assert_eq!(
        (after.0, after.1),
        (before.0, before.1),
        "threads and descriptors"
    );
    assert!(
        after.2 <= before.2 + MAPPINGS_TOLERANCE,
        "mappings: {} to {}",
        before.2,
        after.2
    );
    assert!(grown <= BYTES_TOLERANCE, "{grown} bytes are left");
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
