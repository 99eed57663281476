//! Where results go, and what happens when they cannot.
//!
//! A reader may close the pipe after ten lines, and a path may be a directory. The first is no
//! error: the reader has what it wanted. The second must be known before ten seconds of measuring,
//! not after them, so [`Output::open`] opens the file first. It is emptied only when there is
//! something to write.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::JsonArg;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Bad arguments: exit code 2.
    Usage(String),
    /// Everything else: exit code 1.
    Run(String),
}

impl Failure {
    /// Prints the one line of the failure.
    pub(crate) fn report(self) -> ExitCode {
        let (line, code) = match self {
            Failure::Usage(line) => (line, 2),
            Failure::Run(line) => (line, 1),
        };
        // Without standard error there is nobody to tell; the exit code still does.
        let _ = writeln!(io::stderr(), "corelane: {line}");
        ExitCode::from(code)
    }
}

enum JsonTo {
    Nowhere,
    Stdout,
    File(File, String),
}

/// The two streams of a command: text for people, and JSON.
pub(crate) struct Output {
    json: JsonTo,
}

impl Output {
    /// Prepares the streams.
    ///
    /// # Errors
    /// When the file for the JSON cannot be written to.
    pub(crate) fn open(asked: &JsonArg) -> Result<Output, Failure> {
        let json = match asked.json.as_deref() {
            None => JsonTo::Nowhere,
            Some("-") => JsonTo::Stdout,
            Some(path) => {
                let file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path);
                let refused =
                    |error| Failure::Usage(format!("cannot write the JSON to `{path}`: {error}"));
                JsonTo::File(file.map_err(refused)?, path.to_owned())
            }
        };
        Ok(Output { json })
    }

    /// Writes text for people: to standard output unless that carries the JSON.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        match self.json {
            JsonTo::Stdout => written("standard error", io::stderr().write_all(text.as_bytes())),
            _ => print(text),
        }
    }

    /// Writes the JSON, if it is wanted.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = || {
            let text = serde_json::to_string_pretty(value);
            text.map(|text| text + "\n")
                .map_err(|error| Failure::Run(format!("the result is no JSON: {error}")))
        };
        match &mut self.json {
            JsonTo::Nowhere => Ok(()),
            JsonTo::Stdout => print(&text()?),
            JsonTo::File(file, path) => written(path, overwrite(file, &text()?)),
        }
    }
}

/// Writes `text` to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    written(
        "standard output",
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    )
}

fn overwrite(file: &mut File, text: &str) -> io::Result<()> {
    // Pipes and devices have no length to cut.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes())
}

fn written(place: &str, outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Run(format!("cannot write to {place}: {error}")))
        }
        _ => Ok(()),
    }
}
