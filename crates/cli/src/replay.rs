//! `corelane replay`: a published example, step by step, through the real scheduler code.
//!
//! For each step: what happened, who runs and who waits on each CPU, the set bits of the article's
//! `pri_active` (priority plus two; 0 for an idle CPU), and the CPUs that have a task to give.

use core::fmt::{Display, Write};
use std::process::ExitCode;

use corelane_sim::journal::{self, JournalCpu, JournalReport, JournalStep, JournalTask};

use crate::args::{Example, ReplayArgs};
use crate::output::{Failure, Output};

/// Replays the example; exit code 1 when it does not end as it must.
pub(crate) fn run(arguments: &ReplayArgs) -> Result<ExitCode, Failure> {
    let mut output = Output::open(&arguments.json)?;
    let report = match arguments.example {
        Example::Journal => journal::replay(),
    };
    output.text(&text(&report))?;
    output.json(&report)?;
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The width of a CPU's column.
const CELL: usize = 14;

fn text(report: &JournalReport) -> String {
    let mut text = String::new();
    for step in &report.steps {
        push(&mut text, step);
    }
    let running = report
        .last
        .running
        .iter()
        .map(|cpu| format!("{} {}", cpu.task, cpu.priority));
    let _ = writeln!(
        text,
        "at the end: {}",
        running.collect::<Vec<_>>().join(", ")
    );
    text += match report.ok {
        true => "ok: the four highest priorities run, and every invariant holds\n",
        false => "NOT OK: the four highest priorities do not run, or an invariant is broken\n",
    };
    text
}

fn push(text: &mut String, step: &JournalStep) {
    let _ = writeln!(text, "step {}: {}", step.step, step.event);
    row(
        text,
        "",
        (0..step.cpus.len()).map(|cpu| format!("CPU {cpu}")),
    );
    row(text, "running", step.cpus.iter().map(running));
    let depth = step
        .cpus
        .iter()
        .map(|cpu| cpu.queued.len())
        .max()
        .unwrap_or(0);
    for place in 0..depth {
        let waiting = |cpu: &JournalCpu| cpu.queued.get(place).map_or(String::new(), task);
        row(
            text,
            if place == 0 { "queued" } else { "" },
            step.cpus.iter().map(waiting),
        );
    }
    let (active, overloaded) = (list(&step.pri_active), list(&step.overloaded));
    let _ = writeln!(text, "  {:<12}{active}", "pri_active");
    let _ = writeln!(text, "  {:<12}CPU {overloaded}\n", "overloaded");
}

fn running(cpu: &JournalCpu) -> String {
    cpu.running.as_ref().map_or("-".to_owned(), task)
}

fn task(task: &JournalTask) -> String {
    format!("{} {}", task.task, task.priority)
}

fn row(text: &mut String, label: &str, cells: impl Iterator<Item = String>) {
    let cells: String = cells.map(|cell| format!("{cell:<CELL$}")).collect();
    let _ = writeln!(text, "{}", format!("  {label:<12}{cells}").trim_end());
}

fn list(values: &[impl Display]) -> String {
    match values {
        [] => "-".to_owned(),
        _ => values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}
