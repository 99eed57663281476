//! `corelane latency`: how long a wake takes, in the executor and in the kernel, in one run.
//!
//! A latency by itself says little: the same program is three times slower on the next host, and
//! slower again when a neighbour wakes up. The question that can be answered is how the executor
//! compares with plain real-time threads of this kernel, on this host, now. So both arms run the
//! same scenarios in alternating short blocks, on the same CPUs, at the same levels, with the same
//! waker and the same timestamps: t0 just before the call that wakes, t1 as the first act of the
//! woken.
//!
//! What makes the comparison fair, and what it leaves out:
//!
//! - The executor's runtime is built once per scenario, on the target's CPU alone, and asleep while
//!   the kernel's blocks run: its worker spins at most from one wake to the next. The waker's CPU
//!   belongs to the waker in both arms. Building it anew for each block would measure cold stacks
//!   and a timer margin that is not learnt yet.
//! - CPU time is that of the whole process over wall time, in both arms: it holds the waker and
//!   whatever the arm needs besides.
//! - Without SCHED_FIFO both arms run in the ordinary class, and the report says so.
//! - A ratio is the median of the ratios within each round ([`statistics`]).

mod arm;
mod exchange;
mod executor;
mod histogram;
mod kernel;
mod plan;
mod progress;
mod release;
mod report;
mod scenario;
mod site;
mod stamp;
mod statistics;
mod time_text;
mod victim;
mod waker;
mod watchdog;

use std::process::ExitCode;
use std::time::Duration;

use corelane_os::cpuset::KernelCpuSet;
use corelane_os::host::{self, Property, Verdict};
use corelane_os::memory;
use corelane_os::thread::{self, Tid};
use corelane_os::topology::Topology;

use crate::args::LatencyArgs;
use crate::host::asked;
use crate::output::{Failure, Output};
use arm::{Arm, ArmName, Block};
use executor::Executor;
use kernel::Kernel;
use plan::Plan;
use progress::{Progress, say};
use report::{Facts, Outcome, Report};
use scenario::Scenario;
use site::{NOT_REALTIME, Realtime, Site};
use stamp::Stamp;
use statistics::Comparison;
use watchdog::Watchdog;

/// Measures and reports.
pub(crate) fn run(arguments: &LatencyArgs) -> Result<ExitCode, Failure> {
    let mut output = Output::open(&arguments.json)?;
    // First of all: from here on there may be threads.
    let _watchdog = Watchdog::start(arguments.duration * 3 + Duration::from_secs(30))
        .map_err(|error| Failure::Run(format!("the watchdog could not start: {error}")))?;
    let report = measure(arguments).map_err(Failure::Run)?;
    output.text(&report.text())?;
    output.json(&report.json())?;
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: &LatencyArgs) -> Result<Report, String> {
    let topology = Topology::discover().map_err(|error| error.to_string())?;
    let properties = host::examine(&asked());
    // Refused or granted: `properties` tells.
    let _ = memory::lock_on_fault();
    let (missing, possible) = sort_out(topology.cpus().len());
    let plan = Plan::new(arguments.duration, arguments.interval, possible.len());
    let site = site(&topology, &properties, plan);
    warn(&properties, site.realtime, &missing);
    let stolen_before_ns = host::stolen_ns();
    let mut results = missing;
    results.extend(compare_all(&site, &possible));
    results.sort_by_key(|&(scenario, _)| scenario);
    let stolen_ns = host::stolen_ns()
        .zip(stolen_before_ns)
        .map(|(after, before)| after.saturating_sub(before));
    let facts = Facts {
        cpus: topology.cpu_set(),
        site,
        stolen_ns,
        properties,
    };
    Ok(Report { facts, results })
}

type Outcomes = Vec<(Scenario, Outcome)>;

/// What this host cannot run, with reasons, and what it can.
fn sort_out(cpus: usize) -> (Outcomes, Vec<Scenario>) {
    let (mut missing, mut possible) = (Vec::new(), Vec::new());
    for scenario in Scenario::ALL {
        match scenario.missing(cpus) {
            Some(reason) => missing.push((scenario, Outcome::Skipped(reason))),
            None => possible.push(scenario),
        }
    }
    (missing, possible)
}

/// The first CPU wakes, the last one is woken: device interrupts mostly go to the first.
fn site(topology: &Topology, properties: &[Property], plan: Plan) -> Site {
    let cpus = topology.cpus();
    let fifo = properties
        .iter()
        .find(|property| property.name == "fifo policy");
    let granted = fifo.is_some_and(|fifo| matches!(fifo.verdict, Verdict::Granted { .. }));
    Site {
        waker_cpu: cpus[0].kernel,
        target_cpu: cpus[cpus.len() - 1].kernel,
        realtime: if granted {
            Realtime::Fifo
        } else {
            Realtime::Refused
        },
        stamp: Stamp::choose(),
        plan,
    }
}

/// Says loudly, before ten seconds of waiting, what this run cannot show.
fn warn(properties: &[Property], realtime: Realtime, missing: &Outcomes) {
    if realtime == Realtime::Refused {
        say(&format!("{NOT_REALTIME}\n"));
        for property in properties
            .iter()
            .filter(|property| property.name.starts_with("fifo"))
        {
            say(&format!("  {}: {}\n", property.name, property.verdict));
        }
    }
    for (scenario, result) in missing {
        if let Outcome::Skipped(reason) = result {
            say(&format!("{} is skipped: {reason}\n", scenario.name()));
        }
    }
}

fn compare_all(site: &Site, scenarios: &[Scenario]) -> Outcomes {
    let progress = Progress::new();
    let measured = |comparison| Outcome::Measured(Box::new(comparison));
    let compare_one = |&scenario: &Scenario| {
        let compared = compare(site, scenario, &progress);
        (scenario, compared.map_or_else(Outcome::Skipped, measured))
    };
    let results = scenarios.iter().map(compare_one).collect();
    progress.done();
    results
}

/// Measures one scenario in both arms.
fn compare(site: &Site, scenario: Scenario, progress: &Progress) -> Result<Comparison, String> {
    let mut executor = Executor::new(*site, scenario)?;
    let mut kernel = Kernel {
        site: *site,
        scenario,
    };
    let mut comparison = Comparison::new();
    for round in 0..site.plan.rounds {
        progress.round(scenario, round, site.plan.rounds);
        let mut blocks = Vec::new();
        for name in Plan::order(round) {
            let arm: &mut dyn Arm = match name {
                ArmName::Executor => &mut executor,
                ArmName::Kernel => &mut kernel,
            };
            blocks.push((name, aside(site, || Block::measure(arm, site.plan.block))?));
            std::thread::sleep(site.plan.pause);
        }
        comparison.add_round(&blocks);
    }
    executor.end()?;
    match comparison.rounds() {
        0 => Err("no round had samples in both arms".to_owned()),
        _ => Ok(comparison),
    }
}

/// Runs a block with the collecting thread kept off the target's CPU, where a victim would starve it
/// before it has started the waker.
fn aside<T>(site: &Site, block: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let refused = |errno| format!("the affinity of the collecting thread: {errno}");
    let before = thread::affinity(Tid(0)).map_err(refused)?;
    thread::set_affinity(Tid(0), &KernelCpuSet::single(site.waker_cpu)).map_err(refused)?;
    let outcome = block();
    thread::set_affinity(Tid(0), &before).map_err(refused)?;
    outcome
}
