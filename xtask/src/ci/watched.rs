//! A process under a wall-clock limit.
//!
//! A real-time test that goes wrong spins or sleeps for ever, and so may the processes it started.
//! Killing the one process that we started leaves the others alive, at real-time priority. Each
//! command therefore leads a process group, and the group is killed. The watchdog itself is an
//! ordinary thread; the share that the kernel keeps for those is enough for it.
//!
//! Output that must be read goes to files rather than pipes: a file cannot fill up, and does not
//! stay open because a grandchild holds it.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::interrupt;
use super::scratch::{Placed, Scratch};

const POLL: Duration = Duration::from_millis(10);

/// A point in time at which a process is killed, and which limit it stands for.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    limit: Duration,
    name: &'static str,
}

impl Deadline {
    pub(super) fn after(limit: Duration, name: &'static str) -> Self {
        Self {
            at: Instant::now() + limit,
            limit,
            name,
        }
    }

    /// This deadline, or the one `limit` from now, whichever is earlier.
    pub(super) fn or_after(self, limit: Duration, name: &'static str) -> Self {
        let other = Self::after(limit, name);
        if other.at < self.at { other } else { self }
    }
}

/// A command that failed, and how.
#[derive(Debug)]
pub(super) struct Failure {
    command: String,
    why: String,
}

impl Failure {
    pub(super) fn new(command: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            why: why.into(),
        }
    }

    fn of(command: &Command, why: impl Into<String>) -> Self {
        Self::new(line(command), why)
    }

    /// The same failure, naming what failed and the executable by a path that outlives the run.
    pub(super) fn of_program(self, name: &str, program: &Placed) -> Self {
        let (placed, built) = (
            program.path.to_string_lossy(),
            program.built.to_string_lossy(),
        );
        let command = self.command.replace(&*placed, &built);
        Self {
            command,
            why: format!("{name}: {}", self.why),
        }
    }

    /// The failure in one line.
    pub(super) fn in_short(&self) -> String {
        format!("`{}`: {}", self.command, self.why)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "    {}\n    command: {}", self.why, self.command)
    }
}

/// What a process printed.
pub(super) struct Kept {
    command: String,
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    stderr: String,
}

impl Kept {
    /// What was kept, if the process ended well.
    pub(super) fn succeeded(self) -> Result<Self, Failure> {
        if self.status.success() {
            return Ok(self);
        }
        Err(self.failure(&format!("it ended with {}", self.status)))
    }

    /// A failure that shows everything the process printed.
    pub(super) fn failure(&self, why: &str) -> Failure {
        let output = [("stdout", &self.stdout), ("stderr", &self.stderr)];
        let shown = output.iter().filter(|(_, text)| !text.is_empty());
        let shown: String = shown
            .map(|(name, text)| format!("--- {name}\n{text}\n"))
            .collect();
        Failure::new(&*self.command, format!("{why}\n{shown}---"))
    }

    /// The line in which a test executable counts its tests.
    pub(super) fn summary(&self) -> &str {
        self.stdout
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("test result: "))
            .unwrap_or("no summary")
    }
}

/// Runs a command that must succeed; its output goes where ours goes.
pub(super) fn shown(command: &mut Command, deadline: Deadline) -> Result<(), Failure> {
    let status = run(command, deadline)?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::of(command, format!("it ended with {status}")))
    }
}

/// Runs a command and keeps what it prints, however it ends. Only a process that cannot start or
/// must be killed is a failure.
pub(super) fn kept(
    command: &mut Command,
    scratch: &Scratch,
    deadline: Deadline,
) -> Result<Kept, Failure> {
    let name = line(command);
    let unusable =
        |error: io::Error| Failure::new(&*name, format!("its output cannot be kept: {error}"));
    let (stdout, stdout_path) = scratch.output("stdout").map_err(unusable)?;
    let (stderr, stderr_path) = scratch.output("stderr").map_err(unusable)?;
    let status = run(command.stdout(stdout).stderr(stderr), deadline);
    let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let stdout = text(stdout_path).map_err(unusable)?;
    let stderr = text(stderr_path).map_err(unusable)?;
    match status {
        Ok(status) => Ok(Kept {
            command: name,
            status,
            stdout,
            stderr,
        }),
        Err(failure) => {
            let why = format!(
                "{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---",
                failure.why
            );
            Err(Failure { why, ..failure })
        }
    }
}

/// Runs a command to its end, or kills its process group at the deadline.
pub(super) fn run(command: &mut Command, deadline: Deadline) -> Result<ExitStatus, Failure> {
    let started = command.stdin(Stdio::null()).process_group(0).spawn();
    let mut child =
        started.map_err(|error| Failure::of(command, format!("it cannot be started: {error}")))?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => {
                return Err(Failure::of(
                    command,
                    format!("it cannot be waited for: {error}"),
                ));
            }
        }
        if interrupt::is_asked() {
            kill(&mut child);
            return Err(Failure::of(
                command,
                "stopped by a signal, killed with its process group",
            ));
        }
        if Instant::now() >= deadline.at {
            kill(&mut child);
            let (name, seconds) = (deadline.name, deadline.limit.as_secs_f64());
            return Err(Failure::of(
                command,
                format!("killed with its process group: {name}, {seconds} s, has passed"),
            ));
        }
        sleep(POLL);
    }
}

fn kill(child: &mut Child) {
    let group = Pid::from_raw(child.id().cast_signed());
    // The child is not reaped yet, so the number still means its group.
    if let Err(error) = killpg(group, Signal::SIGKILL) {
        eprintln!("ci: cannot kill the process group {group}: {error}");
    }
    if let Err(error) = child.wait() {
        eprintln!("ci: cannot wait for {group}: {error}");
    }
}

/// The command as one could type it.
fn line(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(name, value)| {
        Some(format!(
            "{}={}",
            name.display(),
            quoted(&value?.to_string_lossy())
        ))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    environment.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=:,./+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{word}'")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::process::Command;
    use std::time::Duration;

    use super::{Deadline, kept, line, run, shown};
    use crate::ci::scratch::tests::scratch;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60), "the limit of the test")
    }

    #[test]
    fn a_command_that_succeeds_is_no_failure() {
        assert!(shown(&mut shell("exit 0"), soon()).is_ok());
    }

    #[test]
    fn a_command_that_fails_is_shown_as_one_could_type_it() {
        let failure = shown(shell("exit 3").env("A", "b c"), soon()).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "    it ended with exit status: 3\n    command: A='b c' sh -c 'exit 3'"
        );
    }

    #[test]
    fn a_missing_program_is_a_failure_that_names_it() {
        let failure = run(&mut Command::new("no-such-program-here"), soon()).unwrap_err();
        assert!(
            failure.to_string().contains("no-such-program-here"),
            "{failure}"
        );
    }

    #[test]
    fn at_the_deadline_the_grandchildren_die_too() {
        let (mut reader, writer) = pipe().unwrap();
        let mut command = shell("(sleep 30; echo survived) & wait");
        let deadline = soon().or_after(Duration::from_millis(100), "the short limit");
        let failure = run(command.stdout(writer), deadline).unwrap_err();
        drop(command);
        let mut heard = String::new();
        reader.read_to_string(&mut heard).unwrap();
        assert_eq!(
            heard, "",
            "the grandchild held the pipe until it had spoken"
        );
        assert!(
            failure
                .to_string()
                .contains("killed with its process group: the short limit, 0.1 s"),
            "{failure}"
        );
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert_eq!(
            Deadline::after(hour, "outer")
                .or_after(second, "inner")
                .name,
            "inner"
        );
        assert_eq!(
            Deadline::after(second, "outer")
                .or_after(hour, "inner")
                .name,
            "outer"
        );
    }

    #[test]
    fn both_outputs_are_kept_apart() {
        let folder = scratch("kept");
        let kept = kept(
            &mut shell("echo out; echo err >&2; exit 5"),
            &folder,
            soon(),
        )
        .unwrap();
        assert_eq!(
            (
                kept.stdout.as_str(),
                kept.stderr.as_str(),
                kept.status.code()
            ),
            ("out\n", "err\n", Some(5))
        );
        assert!(kept.failure("bad").to_string().contains("--- stderr\nerr"));
    }

    #[test]
    fn a_killed_process_still_shows_what_it_printed() {
        let folder = scratch("killed");
        let deadline = soon().or_after(Duration::from_millis(300), "short");
        let failure = kept(&mut shell("echo begun; sleep 30"), &folder, deadline)
            .err()
            .unwrap();
        assert!(
            failure.to_string().contains("--- stdout\nbegun"),
            "{failure}"
        );
    }

    #[test]
    fn standard_input_is_empty() {
        assert!(shown(&mut shell("! read line"), soon()).is_ok());
    }

    #[test]
    fn plain_words_are_not_quoted() {
        let mut command = Command::new("cargo");
        assert_eq!(
            line(command.args(["test", "--package=a-b", ""])),
            "cargo test --package=a-b ''"
        );
    }
}
