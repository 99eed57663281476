//! Counting on every CPU without fighting over a cache line.
//!
//! ```sh
//! cargo run --release -p corelane-examples --bin per_cpu_counters
//! ```
//!
//! A counter that every CPU writes is a cache line that travels with every count. A counter per task
//! does not travel, but there are as many as there are tasks, and whoever wants the sum has to know
//! them all. What a kernel does is to keep one counter per CPU, and to stay on a CPU while working
//! with its counter.
//!
//! [`migrate_disable`] is that: while the guard lives the task stays on its CPU. It is no lock and
//! turns nothing off: a more urgent task still preempts this one, this one may still yield or wait,
//! and comes back to the same CPU. Here each task yields in the middle of its section, with the
//! reference to its CPU's counter in hand, and goes on counting there.
//!
//! Since a section may be interrupted by another task of the same CPU, which counts in the same slot,
//! the slot has to be something that survives that: [`PerCpu`] hands out `&T` and asks for `T: Sync`.
//! An atomic add to a line that no other CPU writes is cheap. A mere count is cheaper still as a
//! `PerCpuCounter`, which needs no locked instruction; the atomic here stands for whatever you keep.
//!
//! The sum is exact: each task counts so many times, wherever it ran.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use corelane::{JoinError, JoinHandle, PerCpu, Priority, Runtime, migrate_disable, task};

const TASKS: usize = 8;
const SECTIONS: u64 = 500;
const COUNTS_PER_SECTION: u64 = 100;

/// Counts in sections; returns how many sections ended on another CPU than they began on.
fn count(counters: &PerCpu<AtomicU64>) -> u64 {
    let mut strayed = 0;
    for _ in 0..SECTIONS {
        let guard = migrate_disable();
        let near = counters.get(&guard);
        for half in [
            COUNTS_PER_SECTION / 2,
            COUNTS_PER_SECTION - COUNTS_PER_SECTION / 2,
        ] {
            // Relaxed: a count; the joins order it before the sum.
            (0..half).for_each(|_| _ = near.fetch_add(1, Relaxed));
            task::yield_now();
        }
        let cpu = task::current().expect("a task counts").cpu();
        strayed += u64::from(cpu != guard.cpu());
    }
    strayed
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::builder().build()?;
    let counters = Arc::new(PerCpu::new(runtime.cpus(), |_| AtomicU64::new(0)));
    let tasks: Vec<JoinHandle<u64>> = (0..TASKS)
        .map(|_| {
            let counters = counters.clone();
            runtime.spawn(Priority::MIN, move || count(&counters))
        })
        .collect();
    let strayed: u64 = tasks
        .into_iter()
        .map(JoinHandle::join)
        .sum::<Result<u64, JoinError>>()?;

    // Relaxed: every counter is at rest since the joins.
    let counted: Vec<u64> = counters
        .iter()
        .map(|(_, counter)| counter.load(Relaxed))
        .collect();
    println!(
        "tasks: {TASKS}, each counts {} times",
        SECTIONS * COUNTS_PER_SECTION
    );
    println!("counted by CPU: {counted:?}");
    println!("sum: {}", counted.iter().sum::<u64>());
    println!("sections that changed their CPU: {strayed}");
    Ok(())
}
