//! `cargo xtask bench`: builds the benches with optimisation and runs them.
//!
//! Numbers of a debug build are worse than none, and nobody sees in a table which build it came from. So
//! the one command that people type builds the release, and hands everything else on: arguments to the
//! program, and the program's exit code to the caller.

use std::process::{Command, ExitCode};

use crate::workspace;

/// Builds the benches and runs them with these arguments.
///
/// # Errors
/// When cargo cannot be started, or the program was killed.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let status = command(arguments)
        .status()
        .map_err(|error| format!("bench: cannot run cargo: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map(ExitCode::from)
        .ok_or_else(|| format!("bench: the run ended with {status}"))
}

fn command(arguments: &[String]) -> Command {
    let mut command = Command::new(workspace::cargo());
    command
        .args(["run", "--release", "--quiet", "--manifest-path"])
        // Not the root as working directory: paths among the arguments are the caller's.
        .arg(workspace::root().join("Cargo.toml"))
        .args([
            "--package",
            "corelane-benches",
            "--bin",
            "corelane-bench",
            "--",
        ])
        .args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn the_arguments_go_to_the_program_and_not_to_cargo() {
        let command = command(&["guard".into(), "--release".into()]);
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(words[words.len() - 3..], ["--", "guard", "--release"]);
    }

    #[test]
    fn paths_among_the_arguments_are_relative_to_where_the_caller_is() {
        assert_eq!(command(&[]).get_current_dir(), None);
    }
}
