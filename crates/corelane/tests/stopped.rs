//! An ordinary thread that is stopped in the middle of a spawn or an unpark stops no worker.
//!
//! A child process wakes and spawns tasks from two ordinary threads. This process traces the two, stops one
//! of them at random instructions, and waits, while it is stopped, for signs of life from tasks on every CPU
//! of the child: some are woken by timers, some by a third thread. A worker that waited for the stopped
//! thread would never give one. No time is asserted; a wait that does not end fails.

mod common;
#[path = "common/kit.rs"]
mod kit;
#[path = "common/tracer.rs"]
mod tracer;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

use common::{Exclusive, prio, runtime};
use corelane::{JoinHandle, Task, task};
use kit::{Rng, only};
use tracer::{SharedWords, Traced};

/// Blocks in lists that nobody locks: a thread stopped within the system's allocator would hold its lock,
/// and workers that free memory would wait for it. That lock is not the runtime's.
struct LockFree;

#[global_allocator]
static ALLOCATOR: LockFree = LockFree;

const SMALLEST_BITS: u32 = 5;
const CLASSES: usize = 8;
const REGION_BYTES: usize = 64 << 20;

struct Region(std::cell::UnsafeCell<[u8; REGION_BYTES]>);

// SAFETY: the bytes are handed out once each, by an atomic counter.
unsafe impl Sync for Region {}

static REGION: Region = Region(std::cell::UnsafeCell::new([0; REGION_BYTES]));
static USED: AtomicUsize = AtomicUsize::new(4096);
/// `turn << 48 | offset` of the first free block of each class, 0 for none.
static FREE: [AtomicU64; CLASSES] = [const { AtomicU64::new(0) }; CLASSES];
const OFFSET: u64 = (1 << 48) - 1;

fn class_of(layout: Layout) -> Option<usize> {
    let bytes = layout
        .size()
        .max(layout.align())
        .max(1 << SMALLEST_BITS)
        .next_power_of_two();
    let class = (bytes.trailing_zeros() - SMALLEST_BITS) as usize;
    (class < CLASSES).then_some(class)
}

fn block(offset: u64) -> *mut u8 {
    let base = REGION.0.get().cast::<u8>();
    // Blocks are aligned to their size relative to an aligned base.
    base.wrapping_add(base.align_offset(4096))
        .wrapping_add(offset as usize)
}

fn pop(class: usize) -> *mut u8 {
    let list = &FREE[class];
    let mut seen = list.load(SeqCst);
    while seen & OFFSET != 0 {
        let first = block(seen & OFFSET);
        // SAFETY: within the region, aligned; a block that was taken meanwhile holds any value, and the
        // exchange then fails because the turn is another.
        let next = unsafe { (*first.cast::<AtomicU64>()).load(SeqCst) } & OFFSET;
        let turn = (seen & !OFFSET).wrapping_add(1 << 48);
        match list.compare_exchange(seen, turn | next, SeqCst, SeqCst) {
            Ok(_) => return first,
            Err(now) => seen = now,
        }
    }
    let bytes = 1 << (SMALLEST_BITS + class as u32);
    let mut used = USED.load(SeqCst);
    loop {
        let start = used.next_multiple_of(bytes);
        assert!(
            start + bytes + 4096 <= REGION_BYTES,
            "the region is large enough for the test"
        );
        match USED.compare_exchange(used, start + bytes, SeqCst, SeqCst) {
            Ok(_) => return block(start as u64),
            Err(now) => used = now,
        }
    }
}

// SAFETY: a block belongs to its class for ever, and is in the list or with one owner.
unsafe impl GlobalAlloc for LockFree {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some(class) => pop(class),
            // SAFETY: passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: passed on: `alloc` has done the same.
            return unsafe { System.dealloc(at, layout) };
        };
        let (list, offset) = (&FREE[class], (at as usize - block(0) as usize) as u64);
        let mut seen = list.load(SeqCst);
        loop {
            // SAFETY: the block is the caller's until the exchange, and large enough.
            unsafe { (*at.cast::<AtomicU64>()).store(seen & OFFSET, SeqCst) };
            let turn = (seen & !OFFSET).wrapping_add(1 << 48);
            match list.compare_exchange(seen, turn | offset, SeqCst, SeqCst) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

const CPUS: usize = 0;
const OVER: usize = 1;
const UNPARKER: usize = 2;
const SPAWNER: usize = 3;
const SPAWNED: usize = 4;
const WOKEN: usize = 5;
const ENDED: usize = 6;
/// Two signs of life for each CPU: a timer's and a thread's.
const BEATS: usize = 16;
const CPUS_MAX: usize = 8;

/// The body of the child; does nothing in an ordinary run.
#[test]
fn the_process_whose_threads_are_stopped() {
    let Some(words) = SharedWords::of_parent("the_process_whose_threads_are_stopped") else {
        return;
    };
    let (words, runtime) = (Arc::new(words), runtime());
    let cpus = runtime.cpus().min(CPUS_MAX);
    let timed: Vec<_> = (0..cpus)
        .map(|cpu| beat_by_timer(&runtime, &words, cpu))
        .collect();
    let woken: Vec<_> = (0..cpus)
        .map(|cpu| beat_by_wake(&runtime, &words, cpu))
        .collect();
    let sleepers: Vec<_> = [60, 65, 85, 90]
        .map(|value| sleeper(&runtime, &words, value))
        .into();
    std::thread::scope(|scope| {
        let woken: Vec<Task> = woken.iter().map(JoinHandle::task).collect();
        let sleepers: Vec<Task> = sleepers.iter().map(JoinHandle::task).collect();
        scope.spawn(|| wake_regularly(&words, woken));
        scope.spawn(|| unpark_all(&words, sleepers));
        scope.spawn(|| spawn_all(&words, &runtime));
        words.word(CPUS).store(cpus as u64, SeqCst);
    });
    let tasks = timed
        .iter()
        .chain(&woken)
        .chain(&sleepers)
        .map(JoinHandle::task);
    tasks.for_each(|task| task.unpark());
    let all = timed.into_iter().chain(woken).chain(sleepers);
    all.for_each(|handle| handle.join().unwrap());
    let spawned = words.word(SPAWNED).load(SeqCst);
    common::wait_until("every spawned task to end", || {
        runtime.stats().finished >= spawned + 2 * cpus as u64 + 4
    });
}

fn is_over(words: &SharedWords) -> bool {
    words.word(OVER).load(SeqCst) != 0
}

fn beat_by_timer(runtime: &Exclusive, words: &Arc<SharedWords>, cpu: usize) -> JoinHandle<()> {
    let words = words.clone();
    runtime
        .build_task()
        .priority(prio(80))
        .affinity(only(runtime, cpu))
        .spawn(move || {
            while !is_over(&words) {
                task::sleep(Duration::from_micros(200));
                words.word(BEATS + cpu).fetch_add(1, SeqCst);
            }
        })
}

fn beat_by_wake(runtime: &Exclusive, words: &Arc<SharedWords>, cpu: usize) -> JoinHandle<()> {
    let words = words.clone();
    runtime
        .build_task()
        .priority(prio(70))
        .affinity(only(runtime, cpu))
        .spawn(move || {
            while !is_over(&words) {
                task::park();
                words.word(BEATS + CPUS_MAX + cpu).fetch_add(1, SeqCst);
            }
        })
}

fn sleeper(runtime: &Exclusive, words: &Arc<SharedWords>, value: u8) -> JoinHandle<()> {
    let words = words.clone();
    runtime.spawn(prio(value), move || {
        while !is_over(&words) {
            task::park();
            words.word(WOKEN).fetch_add(1, SeqCst);
        }
    })
}

fn wake_regularly(words: &SharedWords, tasks: Vec<Task>) {
    while !is_over(words) {
        tasks.iter().for_each(Task::unpark);
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn unpark_all(words: &SharedWords, tasks: Vec<Task>) {
    // SAFETY: the call takes no pointer.
    words
        .word(UNPARKER)
        .store(unsafe { libc::gettid() } as u64, SeqCst);
    while !is_over(words) {
        tasks.iter().for_each(Task::unpark);
    }
}

fn spawn_all(words: &Arc<SharedWords>, runtime: &Exclusive) {
    // SAFETY: the call takes no pointer.
    words
        .word(SPAWNER)
        .store(unsafe { libc::gettid() } as u64, SeqCst);
    while !is_over(words) {
        let spawned = words.word(SPAWNED).fetch_add(1, SeqCst);
        let ended = words.clone();
        drop(runtime.spawn(prio(50), move || ended.word(ENDED).fetch_add(1, SeqCst)));
        // Threads that are not preempted by the workers could fill the memory.
        while spawned.saturating_sub(words.word(ENDED).load(SeqCst)) > 1000 && !is_over(words) {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Waits until `condition` holds; the watchdog of the runtime is in the other process.
fn wait_for_child(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The child, ended whatever happens to the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        // Threads that are traced must be waited for one by one before the process is.
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL) } > 0 {}
    }
}

const ROUNDS: usize = 240;

#[test]
fn a_thread_that_is_stopped_in_mid_call_stops_no_worker() {
    let words = SharedWords::new();
    let mut child = Ended(words.start_child("the_process_whose_threads_are_stopped"));
    wait_for_child("the child to start", || {
        [CPUS, UNPARKER, SPAWNER]
            .iter()
            .all(|word| words.word(*word).load(SeqCst) != 0)
    });
    let tid = |word: usize| words.word(word).load(SeqCst) as i32;
    let victims = match [UNPARKER, SPAWNER].map(|word| Traced::seize(tid(word))) {
        [Ok(unparker), Ok(spawner)] => [unparker, spawner],
        [Err(error), _] | [_, Err(error)] => {
            return eprintln!("skipped: this host refuses to trace a child: {error}");
        }
    };
    let beats: Vec<usize> = (0..words.word(CPUS).load(SeqCst) as usize)
        .flat_map(|cpu| [BEATS + cpu, BEATS + CPUS_MAX + cpu])
        .collect();
    let (mut rng, start) = (Rng::new(9), Instant::now());
    let mut rounds = 0;
    while rounds < ROUNDS && start.elapsed() < Duration::from_secs(12) {
        stop_once(&words, &victims[rounds % 2], &beats, &mut rng);
        rounds += 1;
    }
    println!(
        "stopped {rounds} times; {} wakes, {} spawns",
        words.word(WOKEN).load(SeqCst),
        words.word(SPAWNED).load(SeqCst)
    );
    victims.iter().for_each(Traced::halt);
    victims.into_iter().for_each(Traced::release);
    words.word(OVER).store(1, SeqCst);
    assert!(
        child.0.wait().unwrap().success(),
        "no task of the child was lost"
    );
}

/// Stops a thread somewhere, and waits for signs of life while it is stopped.
fn stop_once(words: &SharedWords, victim: &Traced, beats: &[usize], rng: &mut Rng) {
    std::thread::sleep(Duration::from_micros(rng.below(2_000) as u64));
    victim.halt();
    victim.step(rng.below(200));
    let seen: Vec<u64> = beats
        .iter()
        .map(|beat| words.word(*beat).load(SeqCst))
        .collect();
    std::thread::sleep(Duration::from_millis(20));
    for (beat, seen) in beats.iter().zip(seen) {
        wait_for_child("a sign of life while a thread is stopped", || {
            words.word(*beat).load(SeqCst) > seen + 2
        });
    }
    victim.go();
}
