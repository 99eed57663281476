//! The command line.
//!
//! A program that is run by scripts must refuse nonsense in a way that a script can show: one line
//! on standard error and exit code 2. Clap's own errors are a paragraph with a usage section; here
//! they are cut to the sentence that names the mistake. Ranges are part of the arguments: a value
//! that parses and cannot be meant is refused in the same words and before anything runs.

use std::ffi::OsString;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// What the command line asks for.
pub(crate) enum Parsed {
    /// Run this.
    Command(Command),
    /// Print this help or version text; that is a success.
    Print(String),
    /// Bad arguments; one line that says which.
    Refused(String),
}

#[derive(Debug, Parser)]
#[command(name = "corelane", version, args_conflicts_with_subcommands = true)]
/// Measures a host with the Corelane executor, and shows its scheduler at work.
///
/// Without a command it measures latency.
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    latency: LatencyArgs,
}

/// A command with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Wake-up and release latency of the executor and of kernel threads, side by side.
    Latency(LatencyArgs),
    /// A published example, replayed step by step through the scheduler.
    Replay(ReplayArgs),
    /// Random load on virtual CPUs; every invariant is checked whenever they come to rest.
    Sim(SimArgs),
    /// What a real-time program asks of this host, whether it gets it, and what to do.
    Doctor(DoctorArgs),
}

const DURATION_MIN: Duration = Duration::from_millis(100);
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
const INTERVAL_MIN: Duration = Duration::from_micros(100);
const INTERVAL_MAX: Duration = Duration::from_millis(50);

/// A block needs room for a few wakes: five scenarios, two arms, two blocks of each per round.
const INTERVALS_PER_RUN_MIN: u32 = 100;

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// How long to measure, over all scenarios and both arms, such as 10s or 2m.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// The time between two wakes, such as 1ms or 200us.
    #[arg(long, default_value = "1ms", value_parser = interval)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

#[derive(Debug, Args)]
pub(crate) struct JsonArg {
    /// Also write the result as JSON to FILE, or alone to standard output with `-`.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Which example.
    pub(crate) example: Example,
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Example {
    /// Seven tasks on four CPUs, from the Linux Journal's description of the real-time scheduler.
    Journal,
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// Virtual CPUs, 1 to 4096.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) cpus: u32,
    /// The seed; the same one gives the same run.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many events to simulate.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: u64,
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

/// Reads the arguments, the first of which is the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Parsed {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return complaint(&error),
    };
    let command = cli.command.unwrap_or(Command::Latency(cli.latency));
    match &command {
        Command::Latency(asked) => match asked.too_few_wakes() {
            Some(line) => Parsed::Refused(line),
            None => Parsed::Command(command),
        },
        _ => Parsed::Command(command),
    }
}

impl LatencyArgs {
    fn too_few_wakes(&self) -> Option<String> {
        let interval_max = self.duration / INTERVALS_PER_RUN_MIN;
        (self.interval > interval_max).then(|| {
            format!(
                "an interval of {} leaves too few wakes in a duration of {}; use at most {}",
                humantime::format_duration(self.interval),
                humantime::format_duration(self.duration),
                humantime::format_duration(interval_max),
            )
        })
    }
}

fn complaint(error: &clap::Error) -> Parsed {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Parsed::Print(text),
        _ => Parsed::Refused(first_paragraph(&text)),
    }
}

/// The sentence that names the mistake: everything before the first empty line, in one line.
fn first_paragraph(text: &str) -> String {
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty());
    let sentence = lines.collect::<Vec<_>>().join(" ");
    let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
    format!("{sentence}; see `corelane --help`")
}

fn duration(text: &str) -> Result<Duration, String> {
    within(text, DURATION_MIN, DURATION_MAX)
}

fn interval(text: &str) -> Result<Duration, String> {
    within(text, INTERVAL_MIN, INTERVAL_MAX)
}

fn within(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let (low, high) = (
        humantime::format_duration(min),
        humantime::format_duration(max),
    );
    match humantime::parse_duration(text) {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        Ok(_) => Err(format!("it must be between {low} and {high}")),
        Err(_) => Err(format!(
            "a time with a unit is needed, from {low} to {high}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Parsed {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn refusal(line: &str) -> String {
        match parsed(line) {
            Parsed::Refused(line) => line,
            _ => panic!("`{line}` was not refused"),
        }
    }

    #[test]
    fn without_a_command_latency_is_measured() {
        for line in ["corelane", "corelane latency"] {
            let Parsed::Command(Command::Latency(asked)) = parsed(line) else {
                panic!("`{line}` is latency")
            };
            assert_eq!(asked.duration, Duration::from_secs(10));
            assert_eq!(asked.interval, Duration::from_millis(1));
        }
        let Parsed::Command(Command::Latency(asked)) = parsed("corelane --duration 500ms") else {
            panic!("options may stand alone")
        };
        assert_eq!(asked.duration, Duration::from_millis(500));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for line in [
            "corelane latency --interval 0s",
            "corelane latency --interval 0",
            "corelane latency --duration 99ms",
            "corelane latency --duration 100ms --interval 2ms",
            "corelane sim --cpus 0",
            "corelane sim --cpus 4097",
            "corelane sim --events 0",
        ] {
            refusal(line);
        }
    }

    #[test]
    fn a_refusal_is_one_line_that_names_the_mistake() {
        for (line, named) in [
            ("corelane no-such-command", "no-such-command"),
            ("corelane replay", "<EXAMPLE>"),
            ("corelane replay chess", "journal"),
            ("corelane latency --duration soon", "soon"),
            ("corelane sim --cpus many", "many"),
        ] {
            let refusal = refusal(line);
            assert!(!refusal.contains('\n'), "{refusal}");
            assert!(refusal.contains(named), "{refusal}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        assert!(matches!(parsed("corelane --help"), Parsed::Print(_)));
        assert!(matches!(parsed("corelane --version"), Parsed::Print(_)));
    }
}
