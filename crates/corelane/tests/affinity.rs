//! Changing where a live task may run, whatever it is doing, from threads and from tasks.

mod common;
#[path = "common/kit.rs"]
mod kit;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Exclusive, prio, runtime, wait_until};
use corelane::{ChangeError, CpuId, CpuSet, Runtime, SpawnError, Task, TaskState, task};
use kit::{Rng, breathe, every, has_two_cpus, occupy_until, only};

/// A set of the CPUs of which `bits` has a bit.
fn set(cpus: usize, bits: u64) -> CpuSet {
    let mut set = CpuSet::empty(cpus);
    (0..cpus)
        .filter(|cpu| bits >> cpu & 1 == 1)
        .for_each(|cpu| set.insert(CpuId::new(cpu)));
    set
}

fn here() -> usize {
    task::current().unwrap().cpu().index()
}

/// The kernel's number of the caller's CPU.
fn kernel_here() -> usize {
    // SAFETY: the call takes no pointer.
    unsafe { libc::sched_getcpu() as usize }
}

#[test]
fn bad_sets_are_refused() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    let beyond = CpuSet::single(cpus + 1, CpuId::new(cpus));
    let spawn = |set: CpuSet| runtime.build_task().affinity(set).try_spawn(|| ());
    assert_eq!(
        spawn(CpuSet::empty(cpus)).unwrap_err(),
        SpawnError::EmptyAffinity
    );
    assert_eq!(
        spawn(beyond.clone()).unwrap_err(),
        SpawnError::ForeignCpu { cpus }
    );
    let handle = runtime.spawn(prio(50), task::park);
    let task = handle.task();
    assert_eq!(
        task.set_affinity(&CpuSet::empty(cpus)),
        Err(ChangeError::EmptyAffinity)
    );
    assert_eq!(
        task.set_affinity(&beyond),
        Err(ChangeError::ForeignCpu { cpus })
    );
    task.unpark();
    handle.join().unwrap();
    wait_until("the task to end", || task.state() == TaskState::Done);
    assert_eq!(task.set_affinity(&every(&runtime)), Err(ChangeError::Done));
}

#[test]
fn a_task_that_changes_itself_is_there_when_the_call_returns() {
    let runtime = runtime();
    let (cpus, kernel) = (runtime.cpus(), kernel_cpus(&runtime));
    let handle = runtime.spawn(prio(50), move || {
        for round in 0..1000 {
            let cpu = round % cpus;
            task::current()
                .unwrap()
                .set_affinity(&set(cpus, 1 << cpu))
                .unwrap();
            assert_eq!((here(), kernel_here()), (cpu, kernel[cpu]));
        }
    });
    handle.join().unwrap();
}

fn kernel_cpus(runtime: &Runtime) -> Vec<usize> {
    every(runtime)
        .iter()
        .map(|cpu| runtime.kernel_cpu(cpu))
        .collect()
}

#[test]
fn a_running_task_moves_at_its_next_safe_point_and_the_caller_waits_for_it() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let (asked, returned) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (is_asked, has_returned) = (asked.clone(), returned.clone());
    let handle = runtime
        .build_task()
        .priority(prio(50))
        .affinity(only(&runtime, 0))
        .spawn(move || {
            while !is_asked.load(SeqCst) {
                breathe();
            }
            for _ in 0..100 {
                breathe(); // no safe point
                assert!(
                    !has_returned.load(SeqCst),
                    "the call returned while the task was on a forbidden CPU"
                );
            }
            task::checkpoint();
            here()
        });
    let task = handle.task();
    wait_until("the task to run", || task.state() == TaskState::Running);
    let to = only(&runtime, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            task.set_affinity(&to).unwrap();
            returned.store(true, SeqCst);
        });
        wait_until("the change to be asked for", || task.affinity() == to);
        asked.store(true, SeqCst);
    });
    assert_eq!(handle.join().unwrap(), 1);
}

#[test]
fn a_queued_task_moves_at_once() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    let over = Arc::new(AtomicBool::new(false));
    let until = over.clone();
    let busy = runtime
        .build_task()
        .priority(prio(90))
        .affinity(only(&runtime, 0));
    let busy = busy.spawn(move || occupy_until(|| until.load(SeqCst)));
    wait_until("the CPU to be busy", || {
        busy.task().state() == TaskState::Running
    });
    let queued: Vec<_> = (0..4)
        .map(|_| {
            runtime
                .build_task()
                .priority(prio(50))
                .affinity(only(&runtime, 0))
                .spawn(here)
        })
        .collect();
    wait_until("four tasks to be queued", || {
        runtime.snapshot().cpus[0].queued == 4
    });
    for (index, handle) in queued.into_iter().enumerate() {
        let to = if index % 2 == 0 {
            only(&runtime, 1)
        } else {
            every(&runtime)
        };
        handle.task().set_affinity(&to).unwrap();
        assert_eq!(
            handle.join().unwrap(),
            1,
            "it runs although its old CPU is busy"
        );
    }
    over.store(true, SeqCst);
    busy.join().unwrap();
}

#[test]
fn a_waiting_task_wakes_where_it_may_run() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) {
        return;
    }
    for round in 0..200 {
        let (from, to) = (round % 2, 1 - round % 2);
        let build = runtime
            .build_task()
            .priority(prio(50))
            .affinity(only(&runtime, from));
        let handle = build.spawn(move || {
            if round % 4 < 2 {
                task::park()
            } else {
                task::sleep(Duration::from_millis(2))
            }
            here()
        });
        wait_until("the task to wait", || {
            handle.task().state() != TaskState::Runnable
        });
        let changed = handle.task().set_affinity(&only(&runtime, to));
        // One that sleeps may end before, or while the call is under way; one that is parked cannot.
        let has_ended = handle.task().state() == TaskState::Done;
        assert!(round % 4 >= 2 || changed.is_ok() && !has_ended, "{round}");
        handle.task().unpark();
        let at = handle.join().unwrap();
        assert!(at == to || has_ended, "round {round}: on CPU {at}");
    }
}

/// Where a task might legally be since its last look.
struct Window {
    now: u64,
    /// The set that a call under way asks for.
    next: Option<u64>,
    seen: u64,
}

struct Watched {
    window: Mutex<Window>,
    /// One changer at a time.
    turn: Mutex<()>,
    task: Mutex<Option<Task>>,
    looks: AtomicU64,
}

impl Watched {
    fn new(all: u64) -> Watched {
        Watched {
            window: Mutex::new(Window {
                now: all,
                next: None,
                seen: all,
            }),
            turn: Mutex::default(),
            task: Mutex::default(),
            looks: AtomicU64::new(0),
        }
    }

    /// Called by an ordinary thread, or by another task.
    fn change(&self, cpus: usize, bits: u64) {
        let Ok(_turn) = self.turn.try_lock() else {
            return;
        };
        let Some(task) = self.task.lock().unwrap().clone() else {
            return;
        };
        {
            let mut window = self.window.lock().unwrap();
            (window.next, window.seen) = (Some(bits), window.seen | bits);
        }
        let changed = task.set_affinity(&set(cpus, bits));
        assert!(
            matches!(changed, Ok(()) | Err(ChangeError::Done)),
            "{changed:?}"
        );
        let mut window = self.window.lock().unwrap();
        (window.now, window.next) = (bits, None);
    }

    /// Called by the task after each safe point: where it is must have been allowed since the last call,
    /// and once the change has returned, the old set no longer counts.
    fn look(&self) {
        let mut window = self.window.lock().unwrap();
        let here = here();
        assert!(
            window.seen >> here & 1 == 1,
            "on CPU {here}, allowed since the last look: {:b}",
            window.seen
        );
        window.seen = window.now | window.next.unwrap_or(0);
        let may = window.seen;
        assert!(
            may >> here & 1 == 1,
            "on CPU {here} after the change to {may:b} has returned"
        );
        self.looks.fetch_add(1, Relaxed);
    }
}

fn wait_somehow(rng: &mut Rng) {
    match rng.below(6) {
        0 => task::yield_now(),
        1 => task::sleep(Duration::from_micros(rng.below(60) as u64)),
        2 | 3 => _ = task::park_timeout(Duration::from_micros(rng.below(60) as u64)),
        4 => breathe(),
        _ => task::checkpoint(),
    }
}

const TASKS: usize = 6;

/// Tasks that check where they are after each safe point.
fn watch_all(
    runtime: &Exclusive,
    over: &Arc<AtomicBool>,
    act: impl Fn(&mut Rng, &[Watched]) + Send + Sync + Clone + 'static,
) -> (Arc<Vec<Watched>>, Vec<corelane::JoinHandle<()>>) {
    let all = (1 << runtime.cpus()) - 1;
    let watched: Arc<Vec<Watched>> = Arc::new((0..TASKS).map(|_| Watched::new(all)).collect());
    let spawn = |me: usize| {
        let (watched, over, act) = (watched.clone(), over.clone(), act.clone());
        runtime.spawn(prio(20 + 10 * me as u8), move || {
            *watched[me].task.lock().unwrap() = task::current();
            let mut rng = Rng::new(me as u64);
            while !over.load(SeqCst) {
                wait_somehow(&mut rng);
                watched[me].look();
                act(&mut rng, &watched);
            }
        })
    };
    let handles = (0..TASKS).map(spawn).collect();
    (watched, handles)
}

#[test]
fn a_storm_from_threads_never_finds_a_task_on_a_forbidden_cpu() {
    let runtime = runtime();
    let (cpus, over) = (runtime.cpus(), Arc::new(AtomicBool::new(false)));
    let (watched, handles) = watch_all(&runtime, &over, |_, _| ());
    let changes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (watched, changes) = (&watched, &changes);
            scope.spawn(move || {
                let mut rng = Rng::new(1000 + thread);
                for _ in 0..2_500 {
                    let bits = 1 + rng.below((1 << cpus) - 1) as u64;
                    watched[rng.below(TASKS)].change(cpus, bits);
                    changes.fetch_add(1, Relaxed);
                }
            });
        }
    });
    over.store(true, SeqCst);
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    let looks: u64 = watched
        .iter()
        .map(|watched| watched.looks.load(Relaxed))
        .sum();
    println!(
        "{} changes, {looks} looks, {:?}",
        changes.load(Relaxed),
        runtime.stats()
    );
    assert_eq!(changes.load(Relaxed), 10_000);
}

#[test]
fn a_storm_from_tasks_and_threads_on_priority_and_affinity() {
    let runtime = runtime();
    let (cpus, over) = (runtime.cpus(), Arc::new(AtomicBool::new(false)));
    let changes = Arc::new(AtomicU64::new(0));
    let count = changes.clone();
    let (watched, handles) = watch_all(&runtime, &over, move |rng, watched| {
        if rng.below(4) == 0 {
            let bits = 1 + rng.below((1 << cpus) - 1) as u64;
            watched[rng.below(TASKS)].change(cpus, bits);
            count.fetch_add(1, Relaxed);
        }
        if rng.below(4) == 0 {
            let other = watched[rng.below(TASKS)].task.lock().unwrap().clone();
            if let Some(task) = other {
                let _ = task.set_priority(prio(1 + rng.below(99) as u8)); // it may have ended
                task.unpark();
            }
            count.fetch_add(1, Relaxed);
        }
    });
    let mut rng = Rng::new(3);
    while changes.load(Relaxed) < 10_000 {
        let target = &watched[rng.below(TASKS)];
        target.change(cpus, 1 + rng.below((1 << cpus) - 1) as u64);
        let task = target.task.lock().unwrap().clone();
        if let Some(task) = task {
            task.set_priority(prio(1 + rng.below(99) as u8)).unwrap();
        }
        changes.fetch_add(2, Relaxed);
    }
    // Nobody is left behind on a single CPU that another task keeps busy: all may go anywhere.
    watched
        .iter()
        .for_each(|watched| watched.change(cpus, (1 << cpus) - 1));
    over.store(true, SeqCst);
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    println!("{} changes, {:?}", changes.load(Relaxed), runtime.stats());
}

#[test]
fn changes_of_one_task_from_everywhere_end_with_the_last() {
    let runtime = runtime();
    let (cpus, kernel) = (runtime.cpus(), kernel_cpus(&runtime));
    let (steps, at) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (step, seen) = (steps.clone(), at.clone());
    let handle = runtime.spawn(prio(50), move || {
        let mut rng = Rng::new(8);
        let own = task::current().unwrap();
        while step.load(SeqCst) < 2 {
            wait_somehow(&mut rng);
            if step.load(SeqCst) == 0 {
                own.set_affinity(&set(cpus, 1 + rng.below((1 << cpus) - 1) as u64))
                    .unwrap();
            }
            assert_eq!(kernel_here(), kernel[here()]);
            seen.store(here(), SeqCst);
        }
    });
    let task = handle.task();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let task = &task;
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for _ in 0..2_000 {
                    task.set_affinity(&set(cpus, 1 + rng.below((1 << cpus) - 1) as u64))
                        .unwrap();
                }
            });
        }
    });
    steps.store(1, SeqCst);
    for round in 0..200 {
        let cpu = round % cpus;
        // Its own last call may still be on its way in the first rounds; the loop below is then longer.
        task.set_affinity(&set(cpus, 1 << cpu)).unwrap();
        wait_until("the task to be seen where it may be", || {
            at.load(SeqCst) == cpu || task.affinity() != set(cpus, 1 << cpu)
        });
    }
    assert_eq!(task.affinity(), set(cpus, 1 << (199 % cpus)));
    steps.store(2, SeqCst);
    handle.join().unwrap();
}
