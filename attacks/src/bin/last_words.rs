//! A task ends the process, or is cancelled: by a panic (fatal with `panic=abort`), by `abort`, by a fault, or
//! by a runtime that is dropped or shut down. Others run and wait meanwhile.

use std::time::Duration;

use corelane::{CpuId, CpuSet, JoinError, JoinHandle, Runtime, TaskBuilder, TaskState, task};
use corelane_attacks::{churn, prio, runtime};

fn fault() {
    let nowhere = std::hint::black_box(std::ptr::without_provenance::<u64>(8));
    // SAFETY: none; the fault is the point.
    std::hint::black_box(unsafe { nowhere.read_volatile() });
}

/// A task that waits, one that sleeps, and one that computes with safe points.
fn bystanders(runtime: &Runtime) {
    drop(
        runtime
            .build_task()
            .name("parked")
            .priority(prio(70))
            .spawn(task::park),
    );
    drop(runtime.spawn(prio(70), || task::sleep(Duration::from_secs(3600))));
    drop(runtime.spawn(prio(5), || {
        loop {
            task::yield_now();
            std::thread::sleep(Duration::from_micros(100));
        }
    }));
    std::thread::sleep(Duration::from_millis(10));
}

/// Cancels waiting tasks, then drops the runtime with others that wait.
fn cancel(runtime: Runtime) {
    // More than the pool has fibers, for those that are lost where nothing unwinds.
    for _ in 0..40 {
        let cancelled = runtime.build_task().name("cancelled").priority(prio(50));
        let waiting = cancelled.spawn(task::park);
        // One that never started would have no fiber to lose.
        while waiting.task().state() != TaskState::Waiting {
            std::thread::sleep(Duration::from_micros(100));
        }
        waiting.task().cancel();
        assert!(matches!(waiting.join(), Err(JoinError::Cancelled)));
    }
    let joiner = runtime.spawn(prio(50), || task::spawn(prio(40), task::park).join());
    let in_native = runtime.spawn(prio(50), || {
        task::native(|| std::thread::sleep(Duration::from_millis(1)));
        task::park();
    });
    let lane = runtime.spawn_background(task::park);
    std::thread::sleep(Duration::from_millis(20));
    let report = runtime.shutdown(Duration::from_secs(10));
    assert!(report.abandoned.is_empty(), "{report:?}");
    assert!(matches!(joiner.join(), Err(JoinError::Cancelled) | Ok(_)));
    assert!(matches!(in_native.join(), Err(JoinError::Cancelled)));
    assert!(matches!(lane.join(), Err(JoinError::Cancelled)));
}

/// A safe point wherever it is dropped.
struct Yields;

impl Drop for Yields {
    fn drop(&mut self) {
        task::yield_now();
    }
}

/// A spawner is held up, by the task that it spawns, until the runtime's threads are told to return. Then it
/// gives up what is queued, and is cancelled itself, while closures of others are dropped on its stack.
fn held_up(runtime: Runtime) {
    const LIMIT: Duration = Duration::from_millis(20);
    let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
    let on_one_cpu =
        |builder: TaskBuilder, value| builder.affinity(only.clone()).priority(prio(value));
    let (tell, told) = std::sync::mpsc::channel::<JoinHandle<()>>();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let stuck = on_one_cpu(runtime.build_task(), 90);
    let unstarted: Vec<_> = (0..8)
        .map(|_| on_one_cpu(runtime.build_task(), 5))
        .collect();
    let spawner = on_one_cpu(runtime.build_task(), 50).spawn(move || {
        for builder in unstarted {
            let yields = Yields;
            let _ = tell.send(builder.spawn(move || drop(yields)));
        }
        drop(tell);
        let _ = stuck.spawn(move || released.recv());
    });
    let joiners: Vec<JoinHandle<()>> = told.iter().collect();
    // The time is that of the shutdown: its limit, the grace of unwinding, and half of the grace of threads.
    let release_late = std::thread::spawn(move || {
        std::thread::sleep(LIMIT + Duration::from_millis(300));
        drop(release);
    });
    let report = runtime.shutdown(LIMIT);
    release_late.join().expect("it only sleeps");
    println!("{report:?}");
    for joiner in joiners {
        assert!(matches!(joiner.join(), Err(JoinError::Cancelled)));
    }
    let _ = spawner.join();
}

fn main() {
    let runtime = runtime();
    bystanders(&runtime);
    let doomed = runtime.build_task().name("doomed").priority(prio(50));
    let end: fn() = match std::env::args().nth(1).as_deref() {
        Some("panic") => || panic!("as asked"),
        Some("abort") => || std::process::abort(),
        Some("fault") => fault,
        Some("exit") => || std::process::exit(7),
        Some("native-abort") => || task::native(|| std::process::abort()),
        Some("cancel") => {
            cancel(runtime);
            println!("intact");
            return;
        }
        Some("held-up") => {
            held_up(runtime);
            println!("intact");
            return;
        }
        Some("calm") => {
            println!("{} rounds", churn(&runtime, Duration::from_millis(300)));
            drop(runtime);
            println!("intact");
            return;
        }
        other => panic!("an end is named first, not {other:?}"),
    };
    let ended = doomed.spawn(end).join();
    println!("joined: {ended:?}");
}
