//! The result, as a page for people and as JSON.

use core::fmt::Write;

use corelane_os::cpuset::KernelCpuSet;
use corelane_os::host::{Property, Verdict};
use serde::Serialize;

use super::histogram;
use super::scenario::Scenario;
use super::site::{NOT_REALTIME, Realtime, Site};
use super::statistics::{Comparison, Series};
use super::time_text::time;
use crate::host::PropertyJson;

/// What became of a scenario.
pub(super) enum Outcome {
    Measured(Box<Comparison>),
    /// Not measured, and why.
    Skipped(String),
}

/// The host during the run.
pub(super) struct Facts {
    pub(super) cpus: KernelCpuSet,
    pub(super) site: Site,
    pub(super) stolen_ns: Option<u64>,
    pub(super) properties: Vec<Property>,
}

/// Everything that was found.
pub(super) struct Report {
    pub(super) facts: Facts,
    pub(super) results: Vec<(Scenario, Outcome)>,
}

#[derive(Serialize)]
pub(super) struct ReportJson {
    host: HostJson,
    scenarios: Vec<ScenarioJson>,
}

#[derive(Serialize)]
struct HostJson {
    cpus: Vec<u32>,
    waker_cpu: u32,
    target_cpu: u32,
    policy: &'static str,
    timestamps: &'static str,
    interval_ns: u64,
    stolen_ns: Option<u64>,
    properties: Vec<PropertyJson>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ScenarioJson {
    Measured {
        name: &'static str,
        executor: SeriesJson,
        kernel: SeriesJson,
        ratio_p50: Option<f64>,
        ratio_p99: Option<f64>,
        rounds: usize,
    },
    Skipped {
        name: &'static str,
        skipped: String,
    },
}

#[derive(Serialize)]
struct SeriesJson {
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    max_ns: u64,
    samples: u64,
    cpu_share: f64,
}

impl From<&Series> for SeriesJson {
    fn from(series: &Series) -> SeriesJson {
        SeriesJson {
            p50_ns: series.quantile_ns(0.5),
            p99_ns: series.quantile_ns(0.99),
            p999_ns: series.quantile_ns(0.999),
            max_ns: series.histogram().max(),
            samples: series.histogram().len(),
            cpu_share: series.cpu_share(),
        }
    }
}

impl Report {
    /// The result as JSON.
    pub(super) fn json(&self) -> ReportJson {
        let scenario = |(scenario, result): &(Scenario, Outcome)| match result {
            Outcome::Measured(comparison) => ScenarioJson::Measured {
                name: scenario.name(),
                executor: SeriesJson::from(&comparison.executor),
                kernel: SeriesJson::from(&comparison.kernel),
                ratio_p50: comparison.ratio_p50(),
                ratio_p99: comparison.ratio_p99(),
                rounds: comparison.rounds(),
            },
            Outcome::Skipped(reason) => ScenarioJson::Skipped {
                name: scenario.name(),
                skipped: reason.clone(),
            },
        };
        ReportJson {
            host: self.facts.json(),
            scenarios: self.results.iter().map(scenario).collect(),
        }
    }

    /// The result as a page.
    pub(super) fn text(&self) -> String {
        let mut text = match self.facts.site.realtime {
            Realtime::Fifo => String::new(),
            Realtime::Refused => format!("{NOT_REALTIME}\n\n"),
        };
        text += &table(&self.results);
        let plan = self.facts.site.plan;
        let _ = writeln!(
            text,
            "The arms alternate in blocks of {}; the executor's worker sleeps during the kernel's.",
            time(plan.block.as_nanos() as u64)
        );
        for (scenario, result) in &self.results {
            if let Outcome::Measured(comparison) = result {
                let (executor, kernel) = (
                    comparison.executor.histogram(),
                    comparison.kernel.histogram(),
                );
                let _ = writeln!(text, "\n{}: {}", scenario.name(), scenario.page());
                text += &histogram::draw(("executor", executor), ("kernel", kernel));
            }
        }
        text += &self.facts.text();
        text
    }
}

fn rounds(count: usize) -> String {
    format!("{count} {}", if count == 1 { "round" } else { "rounds" })
}

fn table(results: &[(Scenario, Outcome)]) -> String {
    let mut text = format!(
        "{:<15} {:<9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>6}\n",
        "scenario", "arm", "p50", "p99", "p99.9", "max", "samples", "cpu"
    );
    let mut skipped = String::new();
    for (scenario, result) in results {
        match result {
            Outcome::Measured(comparison) => push(&mut text, *scenario, comparison),
            Outcome::Skipped(reason) => {
                let _ = writeln!(skipped, "{} was skipped: {reason}", scenario.name());
            }
        }
    }
    text +=
        "ratio: executor / kernel, the median over the rounds of the ratios within each round.\n";
    text +=
        "cpu: CPU time of the process, the waker's included, over wall time; 1.00 is one CPU.\n";
    text + &skipped
}

fn push(text: &mut String, scenario: Scenario, comparison: &Comparison) {
    let arms = [
        (scenario.name(), "executor", &comparison.executor),
        ("", "kernel", &comparison.kernel),
    ];
    for (name, arm, series) in arms {
        let quantile = |quantile| time(series.quantile_ns(quantile));
        let _ = writeln!(
            text,
            "{name:<15} {arm:<9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>6.2}",
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            time(series.histogram().max()),
            series.histogram().len(),
            series.cpu_share(),
        );
    }
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
    let (p50, p99) = (ratio(comparison.ratio_p50()), ratio(comparison.ratio_p99()));
    let rounds = rounds(comparison.rounds());
    let _ = writeln!(
        text,
        "{:<15} {:<9} {p50:>9} {p99:>9}  ({rounds})",
        "", "ratio"
    );
}

impl Facts {
    fn json(&self) -> HostJson {
        HostJson {
            cpus: self.cpus.iter().map(|cpu| cpu.0).collect(),
            waker_cpu: self.site.waker_cpu.0,
            target_cpu: self.site.target_cpu.0,
            policy: self.site.realtime.name(),
            timestamps: self.site.stamp.name(),
            interval_ns: self.site.plan.interval.as_nanos() as u64,
            stolen_ns: self.stolen_ns,
            properties: self.properties.iter().map(PropertyJson::from).collect(),
        }
    }

    fn text(&self) -> String {
        let (site, mut text) = (&self.site, String::from("\nhost\n"));
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "  {label:<14} {value}");
        };
        let (waker, target) = (site.waker_cpu, site.target_cpu);
        line(
            "cpus",
            &format!(
                "{}; waker on CPU {waker}, target on CPU {target}",
                self.cpus
            ),
        );
        line("policy", &format!("{} in both arms", site.realtime.name()));
        line("timestamps", &format!("{} in both arms", site.stamp.name()));
        let stolen = self
            .stolen_ns
            .map_or("the host does not tell".to_owned(), time);
        line(
            "stolen time",
            &format!("{stolen} during the run, all CPUs of the machine together"),
        );
        line("granted", &self.granted());
        for property in &self.properties {
            if let Verdict::Refused { reason, remedy } = &property.verdict {
                line("not granted", &format!("{}: {reason}", property.name));
                line("", &format!("remedy: {remedy}"));
            }
        }
        text
    }

    fn granted(&self) -> String {
        let granted = self.properties.iter().filter_map(|property| {
            matches!(property.verdict, Verdict::Granted { .. }).then_some(property.name)
        });
        granted.collect::<Vec<_>>().join(", ")
    }
}
