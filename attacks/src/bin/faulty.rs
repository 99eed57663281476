//! A task has the faults that memory checkers find, so that it shows whether they still find them on a fiber.
//!
//! # Unsafe
//! What is raw: each of the faults, on purpose.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};

use corelane::task;
use corelane_attacks::{prio, runtime};

fn read_after_free() {
    let block = Box::into_raw(Box::new([1u64; 8]));
    task::yield_now();
    // SAFETY: from a box; the second read is the fault.
    let value = unsafe {
        drop(Box::from_raw(black_box(block)));
        black_box(block).cast::<u64>().add(3).read_volatile()
    };
    black_box(value);
}

fn write_past_the_heap() {
    let mut block = vec![1u8; 40];
    task::yield_now();
    // SAFETY: none, the write is the fault.
    unsafe {
        black_box(block.as_mut_ptr())
            .add(black_box(40))
            .write_volatile(2)
    };
}

#[inline(never)]
fn write_past_the_stack() {
    let mut frame = black_box([1u8; 40]);
    task::yield_now();
    // SAFETY: none, the write is the fault.
    unsafe {
        black_box(frame.as_mut_ptr())
            .add(black_box(41))
            .write_volatile(2)
    };
    black_box(frame);
}

fn use_without_a_value() {
    let block: Box<std::mem::MaybeUninit<[u64; 8]>> = Box::new_uninit();
    task::yield_now();
    // SAFETY: none, the read is the fault.
    if black_box(unsafe { black_box(&block).as_ptr().cast::<u64>().read_volatile() }) == 7 {
        println!("by chance");
    }
}

/// No fault: unwinds through frames that a checker has marked, several times, between suspensions.
fn unwind() {
    for round in 0..50u64 {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let frame = black_box([round; 16]);
            task::yield_now();
            std::panic::resume_unwind(Box::new(frame[3]));
        }));
        assert_eq!(unwound.unwrap_err().downcast_ref::<u64>(), Some(&round));
    }
}

/// No fault: what only the stack of a suspended task knows is not lost when the process exits.
fn hold_and_wait() {
    let held = black_box(Box::new([3u64; 1000]));
    task::park();
    black_box(held);
}

fn main() {
    let runtime = runtime();
    let fault = match std::env::args().nth(1).as_deref() {
        Some("read-after-free") => read_after_free,
        Some("write-past-the-heap") => write_past_the_heap,
        Some("write-past-the-stack") => write_past_the_stack,
        Some("use-without-a-value") => use_without_a_value,
        Some("unwind") => unwind,
        Some("exit-while-held") => {
            drop(runtime.spawn(prio(60), hold_and_wait));
            std::thread::sleep(std::time::Duration::from_millis(200));
            std::process::exit(0);
        }
        other => panic!("a fault is named first, not {other:?}"),
    };
    let tasks: Vec<_> = (0..3).map(|_| runtime.spawn(prio(50), fault)).collect();
    tasks
        .into_iter()
        .for_each(|task| task.join().expect("it only has a fault"));
    drop(runtime);
    println!("ended");
}
