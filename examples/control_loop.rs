//! A control loop at 1 kHz that shares its CPUs with a logger and with background work.
//!
//! ```sh
//! cargo run --release -p corelane-examples --bin control_loop
//! ```
//!
//! A control loop has to run every millisecond, and the rest of the program must not be able to
//! delay it: neither the logger that turns its records into text, nor the computation that uses up
//! whatever is left of the machine. With threads that takes a real-time policy per thread, a careful
//! choice of locks and a CPU set aside. Here it takes three priorities.
//!
//! - `control` has priority 80. Its releases are absolute times, start + n periods, so that one late
//!   release does not shift all later ones. A release that is more than a whole period late is
//!   *missed* and skipped: a controller that computed twice at once would act on old data.
//! - `logger` has priority 20 and looks every 10 ms at what was recorded. The control loop never
//!   waits for it: a record is an element of an array with one writer and one reader, and the
//!   writer's index is published by a release store.
//! - The background work runs below every real-time task, on ordinary threads. It has no say in when
//!   anything else runs.
//!
//! What to expect: with `SCHED_FIFO` granted the release error is a few tens of microseconds on an
//! idle host, and nothing is missed. Without it the program is the same and the numbers are those
//! of ordinary threads; the first line says which of the two it is. To compare your host with plain
//! kernel threads, run `corelane latency`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

use corelane::{Priority, Runtime, task};

const PERIOD: Duration = Duration::from_millis(1);
const PERIODS: usize = 200;
const LOOK: Duration = Duration::from_millis(10);
/// In the record of a release that was skipped.
const MISSED: u32 = u32::MAX;

/// The release errors in nanoseconds, written by the control loop and read by the logger.
struct Records {
    errors_ns: [AtomicU32; PERIODS],
    written: AtomicUsize,
}

impl Records {
    fn new() -> Records {
        Records {
            errors_ns: [const { AtomicU32::new(0) }; PERIODS],
            written: AtomicUsize::new(0),
        }
    }

    /// Called by the one writer. Never waits.
    fn write(&self, index: usize, error_ns: u32) {
        self.errors_ns[index].store(error_ns, Relaxed); // Relaxed: published by the next line.
        self.written.store(index + 1, Release); // Release: pairs with `read_from`.
    }

    /// The records that were written since the first `read` ones.
    fn read_from(&self, read: usize) -> Vec<u32> {
        let written = self.written.load(Acquire); // Acquire: pairs with `write`.
        // Relaxed: ordered by the line above.
        self.errors_ns[read..written]
            .iter()
            .map(|error_ns| error_ns.load(Relaxed))
            .collect()
    }
}

fn control(records: &Records) {
    let start = Instant::now() + PERIOD;
    for (index, period) in (0..PERIODS as u32).enumerate() {
        let release = start + period * PERIOD;
        task::sleep_until(release);
        let error = release.elapsed();
        let error_ns = if error > PERIOD {
            MISSED
        } else {
            error.as_nanos() as u32
        };
        // The controller itself would stand here, unless the release was missed.
        records.write(index, error_ns);
    }
}

fn log(records: &Records) -> Vec<u32> {
    let mut errors_ns = Vec::with_capacity(PERIODS);
    while errors_ns.len() < PERIODS {
        task::sleep(LOOK);
        errors_ns.extend(records.read_from(errors_ns.len()));
    }
    errors_ns
}

/// Collatz steps, for as long as anybody wants them.
fn compute(stop: &AtomicBool) -> u64 {
    let mut steps = 0;
    // Relaxed: the flag carries nothing but itself.
    for first in (1_u64..).take_while(|_| !stop.load(Relaxed)) {
        let next = |&n: &u64| Some(if n % 2 == 0 { n / 2 } else { 3 * n + 1 });
        steps += std::iter::successors(Some(first), next)
            .take_while(|&n| n != 1)
            .count() as u64;
        task::checkpoint();
    }
    steps
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::builder().build()?;
    let class = if runtime.status().is_realtime() {
        "SCHED_FIFO"
    } else {
        "ordinary threads"
    };
    println!("workers: {} x {class}", runtime.cpus());

    let (records, stop) = (Arc::new(Records::new()), Arc::new(AtomicBool::new(false)));
    let background = runtime.spawn_background({
        let stop = stop.clone();
        move || compute(&stop)
    });
    let logger = runtime
        .build_task()
        .name("logger")
        .priority(Priority::new(20)?);
    let logger = logger.spawn({
        let records = records.clone();
        move || log(&records)
    });
    let controller = runtime
        .build_task()
        .name("control")
        .priority(Priority::new(80)?);
    controller.spawn(move || control(&records)).join()?;
    let mut errors_ns = logger.join()?;
    stop.store(true, Relaxed); // Relaxed: the flag carries nothing but itself.
    let steps = background.join()?;

    errors_ns.sort_unstable();
    let missed = errors_ns
        .iter()
        .filter(|&&error_ns| error_ns == MISSED)
        .count();
    let us = |share: f64| match errors_ns[((PERIODS - 1) as f64 * share) as usize] {
        MISSED => "missed".to_owned(),
        error_ns => format!("{:.1} us", f64::from(error_ns) / 1e3),
    };
    println!("periods: {PERIODS} of {PERIOD:?}, missed: {missed}");
    println!(
        "release error: median {}, p99 {}, worst {}",
        us(0.5),
        us(0.99),
        us(1.0)
    );
    println!("logged: {} records", errors_ns.len());
    println!("background: {steps} steps");
    Ok(())
}
