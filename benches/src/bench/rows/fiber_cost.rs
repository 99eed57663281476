//! What a task that waits keeps: resident memory and kernel threads.
//!
//! A fiber of this executor is a kernel thread that lends its stack and its identity, so it costs what a
//! thread costs and should not cost more. Ours: so many parked tasks, each on its own fiber. Peer: as many
//! parked `std::thread`s with stacks of the same size. In both arms each has run its first lines and is
//! alive when it is counted, so the same pages have been touched.
//!
//! A process that has once had threads keeps their stacks for the next ones, so each block is a process of
//! its own: this program again, which prints what it kept. Everything that the process has more than
//! before counts, the runtime's own threads and tables included, divided by the number of tasks. Kernel
//! stacks are not resident memory of the process; the count of threads stands for them.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use corelane::{Priority, task};
use corelane_benches::{Block, Claim, Load, Plan, Site, Unit};

use crate::rows::Row;
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "fiber_cost",
    about: "resident memory and kernel threads of a waiting task: std::thread, same stack",
    compare,
};

const TASKS: usize = 256;
const STACK_BYTES: usize = 256 * 1024;

fn compare(run: &mut Run) {
    let peer = "std::thread, same stack size";
    let claims = [
        Claim::count(peer, Unit::Bytes).case("resident memory"),
        Claim::count(peer, Unit::Threads).case("kernel threads"),
    ];
    let plan = Plan {
        rounds: run.plan.share(4),
        load: Load::Operations(TASKS as u64),
        ..run.plan
    };
    let mut ours = |_| measured(Probe::Fibers);
    let mut peer = |_| measured(Probe::Threads);
    run.compare_each(claims, &[], &plan, &mut ours, &mut peer);
}

/// Runs a probe in a process of its own.
fn measured(probe: Probe) -> Block<2> {
    let start = Instant::now();
    let name = probe.to_possible_value().expect("no probe is skipped");
    let program = std::env::current_exe().expect("a program knows its path");
    let output = Command::new(program)
        .args(["--probe", name.get_name()])
        .stderr(Stdio::inherit())
        .output()
        .expect("this program can be started again");
    assert!(output.status.success(), "the probe {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next().expect("two numbers").expect("a number");
    Block {
        costs: [next(), next()],
        length_ns: start.elapsed().as_nanos() as u64,
        interruptions: 0,
    }
}

/// What a process of its own keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Probe {
    Fibers,
    Threads,
}

impl Probe {
    /// Prints the resident bytes and the kernel threads of a waiting task or thread. The process ends
    /// without ending them.
    pub(crate) fn run(self) {
        let before = Kept::now();
        let waiting = Arc::new(AtomicUsize::new(0));
        let runtime = match self {
            Probe::Fibers => Some(fibers(&waiting)),
            Probe::Threads => {
                threads(&waiting);
                None
            }
        };
        // Acquire: pairs with `wait`. A probe that hangs here is ended by its watchdog.
        while waiting.load(Acquire) < TASKS {
            std::thread::sleep(Duration::from_millis(1));
        }
        // The last one has counted itself and is about to park.
        std::thread::sleep(Duration::from_millis(5));
        let after = Kept::now();
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / TASKS as f64;
        println!(
            "{} {}",
            each(after.bytes, before.bytes),
            each(after.threads, before.threads)
        );
        // Its tasks wait for ever; the end of the process ends them.
        std::mem::forget(runtime);
    }
}

fn fibers(waiting: &Arc<AtomicUsize>) -> corelane::Runtime {
    let site = Site::survey();
    let builder = site.runtime(&[site.cpu()]);
    let runtime = builder.fibers(TASKS).stack_size(STACK_BYTES).build();
    let runtime = runtime.expect("a runtime on one CPU");
    for _ in 0..TASKS {
        let waiting = waiting.clone();
        drop(runtime.spawn(Priority::MIN, move || wait(&waiting, task::park)));
    }
    runtime
}

fn threads(waiting: &Arc<AtomicUsize>) {
    // The same survey, so that both processes have done the same before.
    Site::survey();
    for _ in 0..TASKS {
        let waiting = waiting.clone();
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let started = thread.spawn(move || wait(&waiting, std::thread::park));
        started.expect("a thread can be started");
    }
}

fn wait(waiting: &AtomicUsize, park: impl Fn()) {
    waiting.fetch_add(1, Release); // Release: pairs with `Probe::run`.
    loop {
        park();
    }
}

/// What a process has.
struct Kept {
    bytes: u64,
    threads: u64,
}

impl Kept {
    fn now() -> Kept {
        // The sum over the mappings is exact; the counter in `status` lags behind.
        let kib = number_at("/proc/self/smaps_rollup", "Rss:");
        Kept {
            bytes: kib * 1024,
            threads: number_at("/proc/self/status", "Threads:"),
        }
    }
}

/// The number behind `key` in a file of the kernel.
fn number_at(path: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let rest = text.lines().find_map(|line| line.strip_prefix(key));
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{path} has no number at {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_resident_and_has_a_thread() {
        let kept = Kept::now();
        assert!(kept.bytes > 0 && kept.threads > 0);
    }
}
