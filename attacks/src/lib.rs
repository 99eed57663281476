//! What the victims share: a runtime as the command line asks for it, and work that notices corruption.
//!
//! A victim is a small program that one attack needs as a process of its own: because it ends the process,
//! because it replaces the allocator or the signal handlers of the whole process, or because a tool looks
//! at it from outside. The tests that run the victims are in `tests/`.

pub mod embedder;
pub mod heap;

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use corelane::{Builder, CpuId, CpuSet, Idle, JoinHandle, Priority, Runtime, task};

/// Whether the command line has this word.
pub fn asked(word: &str) -> bool {
    std::env::args().skip(1).any(|argument| argument == word)
}

/// The number that follows `key=` on the command line.
///
/// # Panics
/// If what follows is no number.
pub fn number(key: &str, otherwise: u64) -> u64 {
    let value = |argument: String| {
        let value = argument.strip_prefix(key)?.strip_prefix('=')?.to_owned();
        Some(value.parse().expect("a number follows the key"))
    };
    std::env::args()
        .skip(1)
        .find_map(value)
        .unwrap_or(otherwise)
}

/// A runtime on all CPUs; with `native` on the command line its fibers are not carried. It sleeps when it
/// is idle: victims share their CPUs with the tools that look at them.
pub fn builder() -> Builder {
    let builder = Runtime::builder()
        .idle(Idle::SpinThenPark { spin_ns: 10_000 })
        .fibers(16);
    if asked("native") {
        builder.native_fibers()
    } else {
        builder
    }
}

/// The runtime of [`builder`].
///
/// # Panics
/// If it cannot be built.
pub fn runtime() -> Runtime {
    let runtime = builder()
        .build()
        .expect("a runtime on all CPUs of this process");
    println!("fibers: {}", runtime.status().fiber_backend);
    runtime
}

/// The priority of that value.
///
/// # Panics
/// Outside 1..=99.
pub fn prio(value: u8) -> Priority {
    Priority::new(value).expect("a priority between 1 and 99")
}

/// The set of one CPU slot.
pub fn only(cpus: usize, cpu: usize) -> CpuSet {
    CpuSet::single(cpus, CpuId::new(cpu))
}

/// Uses up the stack.
#[inline(never)]
pub fn dig(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX {
        0
    } else {
        dig(depth + 1) + frame[3]
    }
}

thread_local!(static OWN: Cell<u64> = const { Cell::new(0) });

/// Work whose every value is checked after each safe point: integers, floating point, memory on the stack and
/// on the heap, a thread-local.
///
/// # Panics
/// If anything is not what it was.
pub fn churn_once(seed: u64) -> u64 {
    OWN.set(seed);
    let stack = black_box([seed; 32]);
    let heap: Vec<u64> = (0..64).map(|i| i ^ seed).collect();
    let float = black_box(seed as f64 * 0.5);
    rest(seed);
    assert_eq!(OWN.get(), seed, "the thread-local is this task's");
    assert!(
        stack.iter().all(|&value| value == seed),
        "the stack is this task's"
    );
    assert!(
        heap.iter().zip(0..).all(|(&value, i)| value == i ^ seed),
        "the heap is intact"
    );
    assert_eq!(
        black_box(float) * 2.0,
        seed as f64,
        "the registers are this task's"
    );
    heap[7] ^ 7 ^ seed
}

/// One way or another of giving up the CPU.
fn rest(seed: u64) {
    match seed % 7 {
        0 => task::sleep(Duration::from_micros(50)),
        1 => assert_eq!(task::native(|| black_box(seed)), seed),
        2 => assert_eq!(task::spawn(prio(60), || black_box(3)).join().ok(), Some(3)),
        3 => assert_eq!(task::spawn_background(|| black_box(4)).join().ok(), Some(4)),
        _ => task::yield_now(),
    }
}

/// Runs [`churn_once`] in several tasks for so long, on all CPUs and between them; returns how often.
///
/// # Panics
/// If a task finds corruption.
pub fn churn(runtime: &Runtime, time: Duration) -> u64 {
    let rounds = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + time;
    let start = |number: u64| -> JoinHandle<()> {
        let rounds = rounds.clone();
        runtime.spawn(prio(20 + (number % 3) as u8), move || {
            let mut seed = number * 1_000_003;
            while Instant::now() < end {
                assert_eq!(churn_once(seed), 0);
                rounds.fetch_add(1, SeqCst);
                seed += 1;
                if seed.is_multiple_of(32) {
                    std::thread::sleep(Duration::from_micros(100)); // for the host's other threads
                }
            }
        })
    };
    let tasks: Vec<_> = (1..=8).map(start).collect();
    tasks
        .into_iter()
        .for_each(|task| task.join().expect("nothing is corrupt"));
    rounds.load(SeqCst)
}
