//! Nothing is left behind: threads, descriptors, mappings and heap, counted over twenty runtimes.

mod common;
#[path = "common/ends.rs"]
mod ends;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering::*};
use std::time::Duration;

use common::prio;
use corelane::task;
use ends::*;

/// Counts what is allocated, so that a runtime that keeps itself in memory is noticed.
struct Counting;

static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: every block comes from the system's allocator and goes back to it with the layout of the caller,
// who keeps the contract; the count neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller passes a block of `alloc`, which is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

/// The C library keeps freed thread stacks and a malloc arena per thread, in changing numbers of mappings. The
/// count is made in a process in which it does neither.
const TUNABLES: &str = "glibc.pthread.stack_cache_size=0:glibc.malloc.arena_max=1";
/// Mappings may differ by this much: the one arena splits when it grows. A runtime has dozens.
const MAPPINGS_TOLERANCE: usize = 4;
/// Bytes may grow by this much: buffers of the test harness. One runtime that stays is more.
const BYTES_TOLERANCE: i64 = 16 * 1024;

#[test]
fn twenty_runtimes_leave_no_thread_no_descriptor_no_mapping_and_no_memory_behind() {
    if std::env::var("GLIBC_TUNABLES").as_deref() != Ok(TUNABLES) {
        let name = "twenty_runtimes_leave_no_thread_no_descriptor_no_mapping_and_no_memory_behind";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again
            .args(["--exact", name, "--test-threads=1"])
            .env("GLIBC_TUNABLES", TUNABLES);
        // Its streams are ours: a pipe would stay open as long as its watchdog lives.
        assert!(again.status().unwrap().success(), "see what it printed");
        return;
    }
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
