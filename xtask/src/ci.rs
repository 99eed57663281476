//! Every check of the project, in the order in which a failure is cheapest to find.
//!
//! The steps are data ([`STEPS`]); this file runs them one by one, prints the time of each, and
//! stops at the first that fails, with the command that a reader can repeat. A real-time test that
//! goes wrong does not fail, it hangs and takes its CPU along. So every process runs under a
//! wall-clock limit and is killed with its whole process group (see [`watched`]).
//!
//! The runtime promises to work without privilege, on one CPU, and without locked memory. Those
//! promises rot unless they are run: the same test executables run again in each [`Mode`]. What a
//! host cannot offer is skipped, loudly, and named in the last line.

mod binaries;
mod interrupt;
mod modes;
mod scratch;
mod smoke;
mod steps;
mod watched;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use binaries::TestBinary;
use modes::{Host, Mode};
use scratch::{Placed, Scratch};
use steps::{Action, STEPS, Step};
use watched::{Deadline, Failure, Kept};

use crate::workspace;

const WHOLE_RUN_MAX: Duration = Duration::from_secs(20 * 60);
const TEST_BINARY_MAX: Duration = Duration::from_secs(120);

/// What the steps leave for each other.
struct Run {
    root: PathBuf,
    scratch: Scratch,
    host: Host,
    tests: Vec<TestBinary>,
    program: Option<Placed>,
}

enum Outcome {
    Passed,
    /// This host cannot offer what the step needs; the reason.
    Skipped(String),
}

/// Runs all steps.
pub(crate) fn run() -> Result<(), String> {
    let started = Instant::now();
    interrupt::install()?;
    let mut run = Run {
        root: workspace::root(),
        scratch: Scratch::new()?,
        host: Host::look()?,
        tests: Vec::new(),
        program: None,
    };
    println!("ci: {}", run.host);
    let whole = Deadline::after(WHOLE_RUN_MAX, "the limit of the whole run");
    let mut skipped = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        println!("==> [{}/{}] {}", index + 1, STEPS.len(), step.name);
        let began = Instant::now();
        match run.perform(step, whole) {
            Ok(Outcome::Passed) => println!("    ok, {:.1} s", began.elapsed().as_secs_f64()),
            Ok(Outcome::Skipped(reason)) => {
                println!("    SKIPPED: {reason}");
                skipped.push(format!("{} ({reason})", step.name));
            }
            Err(failure) => return Err(format!("ci: step `{}` failed\n{failure}", step.name)),
        }
    }
    println!("{}", closing_line(&skipped, started.elapsed()));
    Ok(())
}

fn closing_line(skipped: &[String], elapsed: Duration) -> String {
    let (all, seconds) = (STEPS.len(), elapsed.as_secs());
    match skipped {
        [] => format!("ci: all {all} steps passed in {seconds} s"),
        _ => {
            let (passed, missed) = (all - skipped.len(), skipped.join("; "));
            format!("ci: {passed} of {all} steps passed in {seconds} s, SKIPPED: {missed}")
        }
    }
}

impl Run {
    fn perform(&mut self, step: &Step, whole: Deadline) -> Result<Outcome, Failure> {
        interrupt::check()?;
        let deadline = whole.or_after(step.limit, "the limit of this step");
        match &step.action {
            Action::Cargo {
                arguments,
                environment,
            } => {
                let mut command = self.cargo(arguments);
                command.envs(environment.iter().copied());
                watched::shown(&mut command, deadline)?;
            }
            Action::Tidy => {
                crate::tidy::run().map_err(|message| Failure::new("cargo xtask tidy", message))?
            }
            Action::Callgrind => {
                if let Some(reason) = crate::callgrind::missing() {
                    return Ok(Outcome::Skipped(reason));
                }
                watched::shown(&mut self.cargo(&["xtask", "callgrind"]), deadline)?;
            }
            Action::BuildTests {
                arguments,
                packages,
            } => {
                let mut command = self.cargo(arguments);
                self.tests =
                    binaries::tests(&mut command, packages, &self.root, &self.scratch, deadline)?;
            }
            Action::BuildVictims { arguments, suffix } => {
                let mut command = self.cargo(arguments);
                binaries::victims(&mut command, suffix, &self.scratch, deadline)?;
            }
            Action::RunTests(mode) => return self.run_tests(*mode, deadline),
            Action::BuildProgram { arguments, name } => {
                let mut command = self.cargo(arguments);
                self.program = Some(binaries::program(
                    &mut command,
                    name,
                    &self.scratch,
                    deadline,
                )?);
            }
            Action::RunProgram {
                mode,
                arguments,
                expect,
            } => {
                let program = self
                    .program
                    .as_ref()
                    .expect("the program is built by an earlier step");
                if let Err(reason) = self.host.offers(*mode, deadline) {
                    return Ok(Outcome::Skipped(reason));
                }
                let launch = |arguments: &[&str]| {
                    let mut command = self.host.command(*mode, &program.path);
                    command.args(arguments).current_dir(&self.root);
                    watched::kept(&mut command, &self.scratch, deadline)
                };
                smoke::check(launch, arguments, expect)
                    .map_err(|failure| failure.of_program(step.name, program))?;
            }
        }
        Ok(Outcome::Passed)
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(workspace::cargo());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Runs the test executables one after the other, one test at a time: two tests that compete
    /// for CPUs would test each other.
    fn run_tests(&self, mode: Mode, deadline: Deadline) -> Result<Outcome, Failure> {
        if let Err(reason) = self.host.offers(mode, deadline) {
            return Ok(Outcome::Skipped(reason));
        }
        for test in &self.tests {
            let deadline = deadline.or_after(TEST_BINARY_MAX, "the limit of one test executable");
            let mut command = self.host.command(mode, &test.program.path);
            command
                .arg("--test-threads=1")
                .current_dir(&test.folder)
                .env("CARGO_MANIFEST_DIR", &test.folder)
                .env("CORELANE_VICTIMS", self.scratch.path());
            let began = Instant::now();
            let kept = watched::kept(&mut command, &self.scratch, deadline)
                .and_then(Kept::succeeded)
                .map_err(|failure| failure.of_program(&test.name, &test.program))?;
            println!(
                "    {}: {}, {:.1} s",
                test.name,
                kept.summary(),
                began.elapsed().as_secs_f64()
            );
        }
        Ok(Outcome::Passed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{STEPS, closing_line};

    #[test]
    fn a_full_run_closes_with_a_plain_line() {
        let expected = format!("ci: all {} steps passed in 7 s", STEPS.len());
        assert_eq!(closing_line(&[], Duration::from_millis(7_900)), expected);
    }

    #[test]
    fn a_skipped_step_is_named_in_the_last_line_and_not_counted() {
        let line = closing_line(&["x (no setpriv)".into()], Duration::from_secs(7));
        let expected = format!(
            "ci: {} of {} steps passed in 7 s, SKIPPED: x (no setpriv)",
            STEPS.len() - 1,
            STEPS.len()
        );
        assert_eq!(line, expected);
    }
}
