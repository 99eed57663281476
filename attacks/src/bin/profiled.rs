//! A sampling profiler: SIGPROF every millisecond of computing, and a handler that walks the stack by unwind
//! tables, as `pprof` does. Samples must lead from the busy function to
//! the task's closure, also on a fiber that was carried from CPU to CPU.
//!
//! # Unsafe
//! What is raw: a signal handler that unwinds the stack it interrupted, into a buffer that it owns by a flag.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use corelane::task;
use corelane_attacks::{number, prio, runtime};

const SAMPLES_MAX: usize = 4000;
const FRAMES_MAX: usize = 48;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static BUSY: AtomicBool = AtomicBool::new(false);
static MISSED: AtomicUsize = AtomicUsize::new(0);
static FRAMES: [[AtomicUsize; FRAMES_MAX]; SAMPLES_MAX] =
    [const { [const { AtomicUsize::new(0) }; FRAMES_MAX] }; SAMPLES_MAX];

extern "C" fn sample(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if BUSY.swap(true, SeqCst) || TAKEN.load(SeqCst) == SAMPLES_MAX {
        MISSED.fetch_add(1, SeqCst); // another thread is taking a sample
        return;
    }
    let sample = &FRAMES[TAKEN.load(SeqCst)];
    let mut depth = 0;
    // SAFETY: one thread at a time by the flag, which is what "unsynchronized" asks for.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            sample[depth].store(frame.ip() as usize, SeqCst);
            depth += 1;
            depth < FRAMES_MAX
        });
    }
    TAKEN.fetch_add(1, SeqCst);
    BUSY.store(false, SeqCst);
}

fn start_sampling() {
    backtrace::trace(|_| false); // loads what the unwinder loads lazily
    let time = libc::timeval {
        tv_sec: 0,
        tv_usec: 1000,
    };
    let timer = libc::itimerval {
        it_interval: time,
        it_value: time,
    };
    // SAFETY: a zeroed sigaction is valid; the handler has the signature of SA_SIGINFO.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = sample as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        assert_eq!(
            libc::sigaction(libc::SIGPROF, &action, std::ptr::null_mut()),
            0
        );
        assert_eq!(
            libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut()),
            0
        );
    }
}

fn stop_sampling() {
    // SAFETY: a zeroed timer is disarmed.
    unsafe {
        let timer: libc::itimerval = std::mem::zeroed();
        libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut());
    }
    std::thread::sleep(Duration::from_millis(20));
}

#[inline(never)]
fn the_busy_function(from: u64) -> u64 {
    black_box((0..2000u64).fold(from, |sum, i| black_box(sum.wrapping_mul(31) ^ i)))
}

#[inline(never)]
fn the_closure_of_the_task(end: Instant) {
    let mut value = 1;
    while Instant::now() < end {
        (0..20).for_each(|_| value = the_busy_function(value));
        task::yield_now();
        if value.is_multiple_of(16) {
            std::thread::sleep(Duration::from_micros(100)); // for the host's other threads
        }
    }
}

/// How many samples have a function of that name in them.
fn samples_with(name: &str) -> usize {
    let mut known: BTreeMap<usize, bool> = BTreeMap::new();
    let mut has_name = |ip: usize| {
        *known.entry(ip).or_insert_with(|| {
            let mut found = false;
            backtrace::resolve(ip as *mut _, |symbol| {
                found |= symbol
                    .name()
                    .is_some_and(|symbol| symbol.to_string().contains(name));
            });
            found
        })
    };
    let taken = TAKEN.load(SeqCst);
    let frames = |sample: &[AtomicUsize; FRAMES_MAX]| sample.each_ref().map(|ip| ip.load(SeqCst));
    FRAMES[..taken]
        .iter()
        .filter(|sample| frames(sample).into_iter().any(|ip| ip != 0 && has_name(ip)))
        .count()
}

fn main() {
    let runtime = runtime();
    start_sampling();
    let end = Instant::now() + Duration::from_millis(number("ms", 1500));
    let tasks: Vec<_> = (0..6)
        .map(|_| runtime.spawn(prio(30), move || the_closure_of_the_task(end)))
        .collect();
    tasks
        .into_iter()
        .for_each(|task| task.join().expect("it only computes"));
    stop_sampling();
    let (taken, missed) = (TAKEN.load(SeqCst), MISSED.load(SeqCst));
    let (busy, closure) = (
        samples_with("the_busy_function"),
        samples_with("the_closure_of_the_task"),
    );
    let fibers = samples_with("corelane::fibers::live");
    println!("{taken} samples, {missed} missed; busy {busy}, closure {closure}, fiber {fibers}");
    assert!(
        busy > 0 && closure >= busy,
        "every walk from the busy function reaches the closure"
    );
    assert!(fibers > 0, "and the fiber it is on");
    drop(runtime);
    println!("intact");
}
