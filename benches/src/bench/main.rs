//! Operations of Corelane against their peers, in one run.
//!
//! ```sh
//! cargo xtask bench                        # every row
//! cargo xtask bench yield_now guard        # these rows
//! cargo xtask bench --list
//! ```
//!
//! Each row is an operation, each line a peer that does the same work in the same milliseconds.
//! `benches/README.md` says how verdicts are reached and how a row is added.

mod baselines;
mod cpu_time;
mod cpupri;
mod may_worker;
mod one_cpu;
mod options;
mod report;
mod rows;
mod run;
mod two_cpus;
mod waking;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use baselines::Baseline;
use clap::Parser;
use corelane_benches::{Fact, Plan, Site, Table, Verdict, Watchdog, facts};
use options::Options;
use run::Run;

/// Reading the host and the baselines takes a second or two.
const START_LIMIT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        write_all(io::stdout(), &rows::list());
        return ExitCode::SUCCESS;
    }
    // Before anything that starts a thread.
    let watchdog = Watchdog::start(START_LIMIT).expect("a pipe and a process for the watchdog");
    if let Some(probe) = options.probe {
        probe.run();
        return ExitCode::SUCCESS;
    }
    match bench(&options, &watchdog) {
        Ok(table) if options.quick => drop(table),
        Ok(table) => return verdict(&table),
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Runs the rows and prints what they found.
///
/// # Errors
/// Bad arguments.
fn bench(options: &Options, watchdog: &Watchdog) -> Result<Table, String> {
    let rows = rows::chosen(&options.rows)?;
    let json = options.json.as_deref().map(Json::open).transpose()?;
    let site = Site::survey();
    let facts = facts(&site, &status(&site));
    let baselines = baselines::measure(&site);
    let plan = options.plan();
    let mut run = Run::new(site, plan);
    for row in rows {
        watchdog.expect(row.name, limit(&plan));
        run.perform(row);
    }
    let text = page(&facts, &baselines, &run.table);
    match json {
        Some(json) => json.write(&text, &report::json(&plan, &facts, &baselines, &run.table)),
        None => write_all(io::stdout(), &text),
    }
    Ok(run.table)
}

/// A row takes less than a second for each round, and on a loaded machine a few times that.
fn limit(plan: &Plan) -> Duration {
    START_LIMIT + Duration::from_secs(3) * plan.rounds as u32
}

fn status(site: &Site) -> corelane::Status {
    let runtime = site.runtime(&[site.cpu()]).build();
    let runtime = runtime.expect("a runtime on an allowed CPU");
    runtime.status().clone()
}

/// What people read.
fn page(facts: &[Fact], baselines: &[Baseline], table: &Table) -> String {
    let facts: String = facts.iter().map(|fact| format!("{fact}\n")).collect();
    let baseline = |baseline: &Baseline| match &baseline.cost_ns {
        Ok(cost_ns) => format!("  {:<36} {cost_ns:>9.1} ns\n", baseline.name),
        Err(need) => format!("  {:<36} NOT RUN: {need}\n", baseline.name),
    };
    let baselines: String = baselines.iter().map(baseline).collect();
    format!("{facts}\nthis machine, in this minute:\n{baselines}\n{table}")
}

/// Where the JSON goes.
enum Json {
    Stdout,
    File(std::fs::File),
}

impl Json {
    /// Opens it before anything is measured; a file is emptied when there is something to write.
    fn open(path: &Path) -> Result<Json, String> {
        if path.as_os_str() == "-" {
            return Ok(Json::Stdout);
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(path);
        file.map(Json::File)
            .map_err(|error| format!("cannot write the JSON to `{}`: {error}", path.display()))
    }

    fn write(self, page: &str, value: &serde_json::Value) {
        let text = format!("{value:#}\n");
        match self {
            Json::Stdout => {
                write_all(io::stderr(), page);
                write_all(io::stdout(), &text);
            }
            Json::File(file) => {
                write_all(io::stdout(), page);
                // Pipes and devices have no length to cut.
                let _ = file.set_len(0);
                write_all(file, &text);
            }
        }
    }
}

/// Writes to somebody who may have stopped to read.
fn write_all(mut to: impl Write, text: &str) {
    if let Err(error) = to.write_all(text.as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        panic!("the result cannot be written: {error}");
    }
}

fn verdict(table: &Table) -> ExitCode {
    let claimed = table
        .lines
        .iter()
        .filter(|line| line.claim.target.is_some());
    let verdicts: Vec<Verdict> = claimed.filter_map(|line| line.verdict()).collect();
    if verdicts.contains(&Verdict::FallsShort) {
        return ExitCode::from(1);
    }
    match verdicts.iter().all(|verdict| *verdict == Verdict::Pass) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(3),
    }
}
