//! What a debugger looks at: one task runs, one is suspended, one is in a native part, for ever.

use std::hint::black_box;
use std::time::Duration;

use corelane::task;
use corelane_attacks::{prio, runtime};

#[inline(never)]
fn the_running_task_computes() {
    loop {
        (0..100).for_each(|i| std::thread::sleep(Duration::from_micros(black_box(i))));
        task::checkpoint();
    }
}

#[inline(never)]
fn the_suspended_task_waits(value: u64) {
    task::park();
    black_box(value);
}

#[inline(never)]
fn the_native_part_sleeps() {
    std::thread::sleep(Duration::from_secs(3600));
}

fn main() {
    let runtime = runtime();
    let _suspended = runtime.spawn(prio(60), || the_suspended_task_waits(1));
    let _native = runtime.spawn(prio(60), || task::native(the_native_part_sleeps));
    std::thread::sleep(Duration::from_millis(20));
    let _running = runtime.spawn(prio(50), the_running_task_computes);
    std::thread::sleep(Duration::from_millis(20));
    println!("begun");
    std::thread::sleep(Duration::from_secs(3600));
}
