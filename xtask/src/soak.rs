//! `cargo xtask soak`: builds the soak and runs it.
//!
//! The soak is a program of its own and watches itself; this saves its users from building it without
//! optimisation.

use std::process::{Command, ExitCode, ExitStatus};

use crate::workspace::{cargo, root};

/// Runs `corelane-soak` with these arguments; its exit code is ours.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let mut command = Command::new(cargo());
    command
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "corelane-soak",
            "--",
        ])
        .args(arguments)
        .current_dir(root());
    match command.status().as_ref().map(ExitStatus::code) {
        Ok(Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(None) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: cannot run cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
