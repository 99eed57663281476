//! In steady state no worker sleeps: what the kernel itself counts.
//!
//! A system call that does not block costs little, one that blocks costs the CPU. The kernel counts how often
//! a thread gave up its CPU of its own accord (*voluntary*) and how often it was taken from it (*involuntary*).
//! The first must not happen during the steps. It is read twice: exactly, around the steps, by the task
//! that makes them, for the thread it is on; and for the whole run by an ordinary thread, from `/proc`,
//! where it may not exceed the sleeps that the test made on purpose by more than a handful.
//!
//! Involuntary switches are the host's doing (other real-time threads, the fair server, a lack of privilege),
//! so they are printed and not judged.

mod common;
#[path = "common/kit.rs"]
mod kit;
#[path = "common/steps.rs"]
mod steps;

use std::fs;
use std::sync::atomic::Ordering::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Exclusive, prio};
use kit::{has_two_cpus, only};
use steps::{
    SLEEPS, Watch, patient, spawn_and_join, timers, wake_across, wake_on_one_cpu, with_a_slip,
    yield_and_hold,
};

/// How often a thread has lost its CPU.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Switches {
    voluntary: i64,
    involuntary: i64,
}

impl std::ops::Sub for Switches {
    type Output = Switches;

    fn sub(self, before: Switches) -> Switches {
        Switches {
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
        }
    }
}

/// The kernel's counts of the calling thread: the carrier, if a task calls.
fn own() -> Switches {
    // SAFETY: plain data, for which zeroes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to a local.
    let done = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    assert_eq!(done, 0, "getrusage: {}", std::io::Error::last_os_error());
    Switches {
        voluntary: usage.ru_nvcsw,
        involuntary: usage.ru_nivcsw,
    }
}

/// The kernel's counts of any thread of this process.
fn of_thread(tid: i32) -> Switches {
    let status = fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap();
    let count = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("the kernel counts switches")
            .trim()
            .parse()
            .unwrap()
    };
    Switches {
        voluntary: count("voluntary_ctxt_switches:"),
        involuntary: count("nonvoluntary_ctxt_switches:"),
    }
}

/// What the threads that made watched steps lost their CPU for meanwhile: thread, then before or after.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Vec<(i32, Switches)>>>);

impl Watch for Counts {
    fn begin(&self) {
        let mut notes = self.0.lock().unwrap();
        // SAFETY: the call takes no argument.
        let tid = unsafe { libc::gettid() };
        notes.push((tid, own())); // read last: to wait for the lock is no step
    }

    fn end(&self) {
        let now = own(); // read first: as above
        // SAFETY: the call takes no argument.
        let tid = unsafe { libc::gettid() };
        let mut notes = self.0.lock().unwrap();
        let before = notes.iter_mut().find(|(noted, _)| *noted == tid);
        let (_, count) = before.expect("the steps end on the thread on which they began");
        *count = now - *count;
    }
}

/// The voluntary switches during the steps, one number for each thread that made some.
fn voluntary(what: &str, steps: impl FnOnce(Counts)) -> Vec<i64> {
    let counts = Counts::default();
    steps(counts.clone());
    let counts = counts.0.lock().unwrap();
    println!("{what}: {counts:?}");
    counts.iter().map(|(_, count)| count.voluntary).collect()
}

#[test]
fn steady_steps_never_give_up_the_cpu() {
    let runtime = patient();
    let yields = voluntary("yields and guards", |watch| yield_and_hold(&runtime, watch));
    assert_eq!(yields, [0]);
    let wakes = voluntary("wakes on one CPU", |watch| wake_on_one_cpu(&runtime, watch));
    assert_eq!(wakes, [0]);
    let spawns = voluntary("spawns and joins", |watch| spawn_and_join(&runtime, watch));
    assert_eq!(spawns, [0]);
    let sleeps = voluntary("timers", |watch| timers(&runtime, watch));
    assert_eq!(sleeps, [0]);
    if has_two_cpus(&runtime) {
        let volleys = voluntary("wakes of a polling CPU", |watch| {
            wake_across(&runtime, watch)
        });
        assert_eq!(volleys, [0, 0]);
    }
}

#[test]
fn a_sleep_among_the_steps_is_counted() {
    let runtime = patient();
    let nap = || std::thread::sleep(Duration::from_millis(1));
    let seen = voluntary("yields and a nap", |watch| {
        with_a_slip(&runtime, watch, nap)
    });
    assert!(seen.len() == 1 && seen[0] >= 1, "{seen:?}");
}

/// The first CPU's worker thread, as a task sees it that runs there.
fn first_worker(runtime: &Exclusive) -> i32 {
    let builder = runtime.build_task().priority(prio(90));
    // SAFETY: the call takes no argument.
    let task = builder
        .affinity(only(runtime, 0))
        .spawn(|| unsafe { libc::gettid() });
    task.join().unwrap()
}

/// A host so busy that an ordinary thread comes late by seconds makes a worker park between the parts.
const PARKS_MAX: i64 = 8;

#[test]
fn seen_by_an_ordinary_thread_a_worker_sleeps_only_where_the_test_does() {
    let runtime = patient();
    let worker = first_worker(&runtime);
    let (before, sleeps) = (of_thread(worker), SLEEPS.load(SeqCst));
    yield_and_hold(&runtime, Counts::default());
    wake_on_one_cpu(&runtime, Counts::default());
    spawn_and_join(&runtime, Counts::default());
    timers(&runtime, Counts::default());
    let (lost, sleeps) = (of_thread(worker) - before, SLEEPS.load(SeqCst) - sleeps);
    println!("{lost:?}, the test slept {sleeps} times");
    assert!(sleeps > 0 && lost.voluntary > 0, "the observer sees sleeps");
    assert!(
        lost.voluntary <= sleeps as i64 + PARKS_MAX,
        "{lost:?}, but the test slept {sleeps} times only"
    );
}
