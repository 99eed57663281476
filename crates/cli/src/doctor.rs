//! `corelane doctor`: each property of the host that real-time work rests on, whether it is
//! granted, why not, and the remedy.

use core::fmt::Write;
use std::process::ExitCode;

use corelane_os::host::{self, Property, Verdict};
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::host::{PropertyJson, asked, word};
use crate::output::{Failure, Output};

#[derive(Serialize)]
struct Report {
    properties: Vec<PropertyJson>,
}

/// Examines the host and says what it found. A refusal is a finding, not a failure.
pub(crate) fn run(arguments: &DoctorArgs) -> Result<ExitCode, Failure> {
    let mut output = Output::open(&arguments.json)?;
    let properties = host::examine(&asked());
    output.text(&text(&properties))?;
    output.json(&Report {
        properties: properties.iter().map(PropertyJson::from).collect(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(properties: &[Property]) -> String {
    let width = properties
        .iter()
        .map(|property| property.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for property in properties {
        push(&mut text, property, width);
    }
    let refused = properties
        .iter()
        .filter(|property| is_refused(property))
        .count();
    let _ = writeln!(text, "\n{} properties, {refused} refused", properties.len());
    text
}

fn is_refused(property: &Property) -> bool {
    matches!(property.verdict, Verdict::Refused { .. })
}

fn push(text: &mut String, property: &Property, width: usize) {
    let (name, asked) = (property.name, &property.asked);
    let _ = writeln!(
        text,
        "{name:<width$}  {:<9}  asked: {asked}",
        word(&property.verdict)
    );
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{:<width$}  {:<9}  {label}: {value}", "", "");
    };
    match &property.verdict {
        Verdict::Granted { detail } | Verdict::NotAsked { detail } => line("found", detail),
        Verdict::Unknown { reason } => line("why", reason),
        Verdict::Refused { reason, remedy } => {
            line("why", reason);
            line("remedy", remedy);
        }
    }
}
