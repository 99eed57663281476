//! In steady state the runtime neither allocates nor enters the kernel, and a task is one allocation.
//!
//! Allocations are counted by this binary's global allocator. System calls are counted from outside: a child
//! process makes its steps between two marks, a system call that nothing else makes, while this process
//! traces its workers and counts what they do in between. Neither asks the runtime anything. Each observer
//! is also shown a slip, one allocation or one system call among the steps, and must see exactly that.

mod common;
#[path = "common/kit.rs"]
mod kit;
#[path = "common/steps.rs"]
mod steps;
#[path = "common/tracer.rs"]
mod tracer;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::*};

use common::prio;
use corelane::{CpuSet, Cpus, task};
use kit::{breathe, has_two_cpus, only};
use steps::{
    SPAWNS, Watch, patient, spawn_and_join, timers, wake_across, wake_on_one_cpu, with_a_slip,
    yield_and_hold,
};
use tracer::{SharedWords, Stop, Traced, wait_for};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The kernel's numbers of the threads that are watched, 0 in unused places.
///
/// Others do what they like: those that ordinary threads start take their time on a busy host.
static WATCHED: [AtomicI32; 2] = [const { AtomicI32::new(0) }; 2];
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static RELEASES: AtomicU64 = AtomicU64::new(0);

/// The kernel's number of the thread that carries the caller, from the kernel.
fn carrier() -> i32 {
    // SAFETY: the call takes no argument.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

fn count(counter: &AtomicU64) {
    let is_watched = |tid| WATCHED.iter().any(|watched| watched.load(SeqCst) == tid);
    if !WATCHED.iter().all(|watched| watched.load(SeqCst) == 0) && is_watched(carrier()) {
        counter.fetch_add(1, Relaxed);
    }
}

// SAFETY: every block comes from the system's allocator and goes back to it with the layout of the caller,
// who keeps the contract; the counters neither allocate nor panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(&RELEASES);
        // SAFETY: passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[derive(Clone)]
struct CountAllocations;

impl Watch for CountAllocations {
    fn begin(&self) {
        let free =
            |place: &&AtomicI32| place.compare_exchange(0, carrier(), SeqCst, SeqCst).is_ok();
        assert!(
            WATCHED.iter().find(free).is_some(),
            "two are watched at most"
        );
    }

    fn end(&self) {
        let own = |place: &&AtomicI32| place.compare_exchange(carrier(), 0, SeqCst, SeqCst).is_ok();
        assert!(
            WATCHED.iter().find(own).is_some(),
            "the steps end on the thread on which they began"
        );
    }
}

/// Allocations and releases of the watched threads since the last call.
fn counted() -> (u64, u64) {
    (ALLOCATIONS.swap(0, SeqCst), RELEASES.swap(0, SeqCst))
}

#[test]
fn the_allocator_of_this_test_counts() {
    let runtime = patient();
    with_a_slip(&runtime, CountAllocations, || {
        drop(std::hint::black_box(Box::new(7)));
    });
    assert_eq!(counted(), (1, 1));
}

#[test]
fn switches_guards_and_wakes_allocate_nothing() {
    let runtime = patient();
    yield_and_hold(&runtime, CountAllocations);
    assert_eq!(counted(), (0, 0), "yields and guards");
    wake_on_one_cpu(&runtime, CountAllocations);
    assert_eq!(counted(), (0, 0), "wakes on one CPU");
    if has_two_cpus(&runtime) {
        wake_across(&runtime, CountAllocations);
        assert_eq!(counted(), (0, 0), "wakes of a polling CPU");
    }
}

#[test]
fn timers_allocate_nothing() {
    timers(&patient(), CountAllocations);
    assert_eq!(counted(), (0, 0));
}

/// The task, with its closure and its result; `docs/hotpath.md` says it, too.
const ALLOCATIONS_PER_SPAWN: u64 = 1;

#[test]
fn a_spawn_allocates_once_and_a_join_gives_it_back() {
    let runtime = patient();
    assert!(
        runtime.cpus() <= 64,
        "a larger affinity would allocate, too"
    );
    spawn_and_join(&runtime, CountAllocations);
    let all = 2 * SPAWNS * ALLOCATIONS_PER_SPAWN;
    assert_eq!(counted(), (all, all));
}

/// Allocations for each spawn and join of `closure`, above and below the spawner.
fn allocations_per_task<T: Send + 'static>(
    closure: impl FnOnce() -> T + Clone + Send + 'static,
) -> u64 {
    const TASKS: u64 = 2_000;
    let builder = common::builder();
    let runtime = builder
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
    let (allocations, releases) = counted();
    assert_eq!(allocations, releases);
    assert_eq!(allocations % TASKS, 0, "{allocations} for {TASKS} tasks");
    allocations / TASKS
}

#[test]
fn a_task_is_one_allocation_and_what_does_not_fit_into_it_one_more_each() {
    let (fits, large) = ([1u64; 12], [1u64; 13]);
    assert_eq!(allocations_per_task(|| ()), 1);
    assert_eq!(allocations_per_task(move || fits[3]), 1);
    assert_eq!(allocations_per_task(|| [1u64; 11]), 1);
    assert_eq!(allocations_per_task(move || large[3]), 2);
    assert_eq!(allocations_per_task(|| [1u64; 13]), 2);
    assert_eq!(allocations_per_task(move || large), 3);
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

/// A system call that the runtime never makes; the child makes it once, for the observer to see.
const SLIP: libc::c_long = libc::SYS_getpgrp;

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
    spawn_and_join(&runtime, Mark);
    timers(&runtime, Mark);
    with_a_slip(&runtime, Mark, || {
        // SAFETY: the call takes no argument.
        let _ = unsafe { libc::syscall(SLIP) };
    });
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
fn switches_guards_wakes_spawns_and_timers_make_no_system_call() {
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
    // Five sections on the first CPU, and one on the first two.
    let wanted: BTreeMap<i32, usize> = match tids[..] {
        [only] => BTreeMap::from([(only, 10)]),
        [first, second, ..] => BTreeMap::from([(first, 12), (second, 2)]),
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
        [(tids[0], SLIP as u64)],
        "nothing but the deliberate slip: system calls of workers (thread, number)"
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
