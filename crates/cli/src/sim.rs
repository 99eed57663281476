//! `corelane sim`: random load on virtual CPUs, with every invariant recomputed at each rest.
//!
//! The run is a function of its arguments: whoever sees a violation can give the seed to somebody
//! else, who sees it, too.

use core::fmt::Write;
use std::process::ExitCode;

use corelane_sim::churn::{self, ChurnReport};

use crate::args::SimArgs;
use crate::output::{Failure, Output};

/// Runs the simulation; exit code 1 when an invariant was broken.
pub(crate) fn run(arguments: &SimArgs) -> Result<ExitCode, Failure> {
    let mut output = Output::open(&arguments.json)?;
    let report = churn::run(arguments.cpus as usize, arguments.seed, arguments.events);
    output.text(&text(&report, arguments.events))?;
    output.json(&report)?;
    Ok(if report.violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(report: &ChurnReport, events_asked: u64) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &dyn core::fmt::Display| {
        let _ = writeln!(text, "{label:<12} {value}");
    };
    line("cpus", &report.cpus);
    line("seed", &report.seed);
    line("events", &report.events);
    line("migrations", &report.migrations);
    line("pushes", &report.pushes);
    line("requests", &report.requests);
    line("trace hash", &report.trace_hash);
    line("violations", &report.violations);
    if let Some(violation) = &report.first_violation {
        line("first", violation);
    }
    let _ = writeln!(
        text,
        "to repeat: corelane sim --cpus {} --seed {} --events {events_asked}",
        report.cpus, report.seed
    );
    text
}

#[cfg(test)]
mod tests {
    use corelane_sim::Sabotage;

    use super::*;

    #[test]
    fn a_violation_is_shown_with_the_arguments_that_repeat_it() {
        let broken = churn::run_with(8, 3, 50_000, Sabotage::NoPush);
        let text = text(&broken, 50_000);
        assert!(broken.violations > 0, "{text}");
        assert!(
            text.contains(
                broken
                    .first_violation
                    .as_deref()
                    .expect("a violation has words")
            )
        );
        assert!(
            text.contains("corelane sim --cpus 8 --seed 3 --events 50000"),
            "{text}"
        );
    }
}
