//! In steady state the runtime neither allocates nor enters the kernel, and a task is one allocation.
//!
//! Allocations are counted by this binary's global allocator. System calls are counted from outside: a child
//! process makes its steps between two marks, a system call that nothing else makes, while this process
//! traces its workers and counts what they do in between.

mod common;
#[path = "common/kit.rs"]
mod kit;
#[path = "common/tracer.rs"]
mod tracer;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use common::{Exclusive, prio};
use corelane::{CpuSet, Cpus, Idle, PerCpu, Task, migrate_disable, task};
use kit::{breathe, has_two_cpus, only};
use tracer::{SharedWords, Stop, Traced, wait_for};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ARMED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if ARMED.load(Relaxed) {
        CALLS.fetch_add(1, Relaxed);
    }
}

// SAFETY: the system's allocator, with a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count();
        // SAFETY: passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// A worker with nothing to run polls for longer than any of these tests takes.
fn patient() -> Exclusive {
    let idle = Idle::SpinThenPark {
        spin_ns: 2_000_000_000,
    };
    common::builder()
        .map(|builder| builder.idle(idle))
        .build()
        .unwrap()
}

/// Lets the watched steps begin once the thread that spawned the tasks only waits for them.
#[derive(Clone, Default)]
struct Start(Arc<AtomicBool>);

impl Start {
    fn give(&self) {
        self.0.store(true, SeqCst);
    }

    fn wait(&self) {
        while !self.0.load(SeqCst) {
            task::yield_now();
            breathe();
        }
        // The thread that gave it has gone to sleep by then, or is about to.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// What happens before and after the steps that are watched.
trait Watch: Send + 'static {
    /// Called by each task whose worker is watched.
    fn begin(&self);
    fn end(&self);
}

const STEPS: u64 = 100_000;

/// Two tasks of one CPU that give way to each other and hold guards.
fn yield_and_hold(runtime: &Exclusive, watch: impl Watch) {
    let hits = Arc::new(PerCpu::new(runtime.cpus(), |_| AtomicU64::new(0)));
    let (turns, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let build = || {
        runtime
            .build_task()
            .priority(prio(50))
            .affinity(only(runtime, 0))
    };
    let (turn, until) = (turns.clone(), over.clone());
    let peer = build().spawn(move || {
        while !until.load(SeqCst) {
            turn.fetch_add(1, Relaxed);
            task::yield_now();
        }
    });
    let start = Start::default();
    let go = start.clone();
    let main = build().spawn(move || {
        go.wait();
        (0..100).for_each(|_| task::yield_now());
        watch.begin();
        for _ in 0..STEPS {
            let guard = migrate_disable();
            let inner = migrate_disable();
            hits.get(&guard).fetch_add(1, Relaxed);
            task::yield_now();
            drop(inner);
            task::checkpoint();
            drop(guard);
        }
        watch.end();
        over.store(true, SeqCst);
    });
    start.give();
    main.join().unwrap();
    peer.join().unwrap();
    assert!(turns.load(Relaxed) >= STEPS, "each yield gave way");
}

const VOLLEYS: u64 = 10_000;

/// Two tasks on two CPUs that wake each other, each CPU polling while the other runs.
fn wake_across(runtime: &Exclusive, watch: impl Watch + Clone) {
    let mark_ends = |watch: &_, round: u64| match round {
        100 => Watch::begin(watch),
        round if round == VOLLEYS + 100 => Watch::end(watch),
        _ => {}
    };
    let other_watch = watch.clone();
    let turn = Arc::new(AtomicU64::new(0));
    let build = |cpu| {
        runtime
            .build_task()
            .priority(prio(50))
            .affinity(only(runtime, cpu))
    };
    let (send, receive) = std::sync::mpsc::channel::<Task>();
    let turns = turn.clone();
    let pong = build(1).spawn(move || {
        let ping = receive.recv().unwrap();
        for round in 0..VOLLEYS + 200 {
            mark_ends(&other_watch, round);
            while turns.load(SeqCst) != 2 * round + 1 {
                task::park();
            }
            turns.store(2 * round + 2, SeqCst);
            ping.unpark();
        }
    });
    let (turns, partner) = (turn.clone(), pong.task());
    let start = Start::default();
    let go = start.clone();
    let ping = build(0).spawn(move || {
        go.wait();
        for round in 0..VOLLEYS + 200 {
            mark_ends(&watch, round);
            while turns.load(SeqCst) != 2 * round {
                task::park();
            }
            turns.store(2 * round + 1, SeqCst);
            partner.unpark();
        }
    });
    send.send(ping.task()).unwrap();
    start.give();
    ping.join().unwrap();
    pong.join().unwrap();
    let slots = runtime.stats().wakes_slot;
    assert!(slots > VOLLEYS, "{slots} wakes went to a polling CPU");
}

/// A task that is woken by one above it on the same CPU, which preempts.
fn wake_on_one_cpu(runtime: &Exclusive, watch: impl Watch) {
    let build = |value| {
        runtime
            .build_task()
            .priority(prio(value))
            .affinity(only(runtime, 0))
    };
    let woken = Arc::new(AtomicU64::new(0));
    let (seen, total) = (woken.clone(), VOLLEYS + 101);
    let high = build(60).spawn(move || {
        while seen.fetch_add(1, SeqCst) < total {
            task::park();
        }
    });
    let partner = high.task();
    let start = Start::default();
    let go = start.clone();
    let low = build(50).spawn(move || {
        go.wait();
        (0..100).for_each(|_| partner.unpark());
        watch.begin();
        (0..VOLLEYS).for_each(|_| partner.unpark());
        watch.end();
        partner.unpark(); // this one lets it end
    });
    start.give();
    low.join().unwrap();
    high.join().unwrap();
    assert_eq!(woken.load(SeqCst), total + 1, "each wake preempted");
}

#[derive(Clone)]
struct CountAllocations;

impl Watch for CountAllocations {
    fn begin(&self) {
        CALLS.store(0, SeqCst);
        ARMED.store(true, SeqCst);
    }

    fn end(&self) {
        ARMED.store(false, SeqCst);
    }
}

#[test]
fn the_allocator_of_this_test_counts() {
    CountAllocations.begin();
    drop(std::hint::black_box(Box::new(7)));
    CountAllocations.end();
    assert!(CALLS.load(SeqCst) >= 2);
}

#[test]
fn switches_guards_and_wakes_allocate_nothing() {
    let runtime = patient();
    yield_and_hold(&runtime, CountAllocations);
    assert_eq!(CALLS.load(SeqCst), 0, "yields and guards");
    wake_on_one_cpu(&runtime, CountAllocations);
    assert_eq!(CALLS.load(SeqCst), 0, "wakes on one CPU");
    if has_two_cpus(&runtime) {
        wake_across(&runtime, CountAllocations);
        assert_eq!(CALLS.load(SeqCst), 0, "wakes of a polling CPU");
    }
}

/// Calls of the allocator for each spawn and join of `closure`, above and below the spawner.
fn calls_per_task<T: Send + 'static>(closure: impl FnOnce() -> T + Clone + Send + 'static) -> u64 {
    const TASKS: u64 = 2_000;
    let runtime = common::builder()
        .map(|builder| builder.cpus(Cpus::Count(1)))
        .build()
        .unwrap();
    let spawner = runtime.spawn(prio(50), move || {
        let run = |value| drop(task::spawn(prio(value), closure.clone()).join().unwrap());
        (0..100).for_each(|_| [60, 50, 40].into_iter().for_each(run));
        CountAllocations.begin();
        (0..TASKS / 2).for_each(|_| [60, 40].into_iter().for_each(run));
        CountAllocations.end();
    });
    spawner.join().unwrap();
    let calls = CALLS.load(SeqCst);
    assert_eq!(calls % TASKS, 0, "{calls} calls for {TASKS} tasks");
    calls / TASKS
}

#[test]
fn a_task_is_one_allocation_and_what_does_not_fit_into_it_one_more_each() {
    const ONE: u64 = 2; // to make it and to free it
    let (fits, large) = ([1u64; 12], [1u64; 13]);
    assert_eq!(calls_per_task(|| ()), ONE);
    assert_eq!(calls_per_task(move || fits[3]), ONE);
    assert_eq!(calls_per_task(|| [1u64; 11]), ONE);
    assert_eq!(calls_per_task(move || large[3]), 2 * ONE);
    assert_eq!(calls_per_task(|| [1u64; 13]), 2 * ONE);
    assert_eq!(calls_per_task(move || large), 3 * ONE);
}

const CPUS: usize = 0;
const GO: usize = 1;
/// The kernel's numbers of the workers' threads, by CPU slot.
const WORKERS: usize = 8;

/// The first and the last watched step are marked by a system call that nothing else makes.
#[derive(Clone)]
struct Mark;

impl Watch for Mark {
    fn begin(&self) {
        // SAFETY: the call takes no argument.
        let _ = unsafe { libc::syscall(libc::SYS_getppid) };
    }

    fn end(&self) {
        self.begin();
    }
}

/// The body of the child; does nothing in an ordinary run.
#[test]
fn the_process_that_is_watched() {
    let Some(words) = SharedWords::of_parent("the_process_that_is_watched") else {
        return;
    };
    let (words, runtime) = (Arc::new(words), patient());
    let report = |cpu: usize| {
        let words = words.clone();
        let own: CpuSet = only(&runtime, cpu);
        runtime
            .build_task()
            .priority(prio(90))
            .affinity(own)
            .spawn(move || {
                // SAFETY: the call takes no argument. It names the carrier: the task runs on its thread.
                words
                    .word(WORKERS + cpu)
                    .store(unsafe { libc::gettid() } as u64, SeqCst);
                while words.word(GO).load(SeqCst) == 0 {
                    breathe();
                }
            })
    };
    let reports: Vec<_> = (0..runtime.cpus()).map(report).collect();
    words.word(CPUS).store(runtime.cpus() as u64, SeqCst);
    reports
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    yield_and_hold(&runtime, Mark);
    wake_on_one_cpu(&runtime, Mark);
    if runtime.cpus() > 1 {
        wake_across(&runtime, Mark);
    }
}

/// What each worker did between its own marks, and outside.
#[derive(Default, Debug)]
struct Observed {
    marks: BTreeMap<i32, usize>,
    inside: Vec<(i32, u64)>,
    outside: usize,
}

impl Observed {
    fn note(&mut self, tid: i32, number: u64) {
        let marks = self.marks.entry(tid).or_default();
        if number == libc::SYS_getppid as u64 {
            *marks += 1;
        } else if *marks % 2 == 1 {
            self.inside.push((tid, number));
        } else {
            self.outside += 1;
        }
    }
}

#[test]
fn switches_guards_and_wakes_make_no_system_call() {
    let words = SharedWords::new();
    let mut child = words.start_child("the_process_that_is_watched");
    let tids = loop {
        let cpus = words.word(CPUS).load(SeqCst) as usize;
        let tids: Vec<i32> = (0..cpus)
            .map(|cpu| words.word(WORKERS + cpu).load(SeqCst) as i32)
            .collect();
        if cpus > 0 && tids.iter().all(|tid| *tid != 0) {
            break tids;
        }
        assert_eq!(child.try_wait().unwrap(), None, "the child runs");
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    let traced: Result<Vec<Traced>, _> = tids.iter().map(|tid| Traced::seize(*tid)).collect();
    let Ok(traced) = traced else {
        words.word(GO).store(1, SeqCst);
        child.wait().unwrap();
        return eprintln!("skipped: this host refuses to trace a child");
    };
    for thread in &traced {
        thread.halt();
        thread.go_to_syscall(0);
    }
    words.word(GO).store(1, SeqCst);
    let observed = observe(&traced);
    assert!(child.wait().unwrap().success());
    println!(
        "marks {:?}, {} system calls outside",
        observed.marks, observed.outside
    );
    // Two sections on the first CPU, and one on the first two.
    let wanted: BTreeMap<i32, usize> = match tids[..] {
        [only] => BTreeMap::from([(only, 4)]),
        [first, second, ..] => BTreeMap::from([(first, 6), (second, 2)]),
        [] => unreachable!("a runtime has a CPU"),
    };
    assert_eq!(
        observed
            .marks
            .into_iter()
            .filter(|(_, marks)| *marks > 0)
            .collect::<BTreeMap<_, _>>(),
        wanted
    );
    assert!(observed.outside > 0, "the observer sees system calls");
    assert_eq!(
        observed.inside,
        [],
        "system calls of workers (thread, number)"
    );
}

/// Follows the workers until they have ended.
fn observe(traced: &[Traced]) -> Observed {
    let (mut observed, mut live) = (Observed::default(), traced.len());
    while live > 0 {
        let (tid, stop) = wait_for(-1);
        let signal = match stop {
            Stop::Gone if traced.iter().any(|thread| thread.0 == tid) => {
                live -= 1;
                continue;
            }
            Stop::Gone => continue,
            Stop::SyscallEntry(number) => {
                observed.note(tid, number);
                0
            }
            Stop::SyscallExit | Stop::Halted => 0,
            Stop::Signal(signal) => signal,
        };
        Traced(tid).go_to_syscall(signal);
    }
    observed
}
