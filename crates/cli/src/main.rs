//! The `corelane` program: measures a host, shows the scheduler at work, and says what the host
//! grants.
//!
//! | command | what it does |
//! |---|---|
//! | `corelane`, `corelane latency` | wake-up and release latency, executor and kernel side by side |
//! | `corelane replay journal` | the scheduler's published example, step by step |
//! | `corelane sim` | random load on virtual CPUs, with every invariant checked |
//! | `corelane doctor` | what a real-time program asks of this host, and what it gets |
//!
//! Exit codes: 0 for success, 1 when the answer is "no" or a run failed, 2 for bad arguments.
//! With `--json -` standard output carries the JSON alone, and everything for people goes to
//! standard error.

mod args;
mod doctor;
mod host;
mod latency;
mod output;
mod replay;
mod sim;

use std::process::ExitCode;

use args::{Command, Parsed};
use output::Failure;

fn main() -> ExitCode {
    let done = match args::parse(std::env::args_os()) {
        Parsed::Command(command) => run(command),
        Parsed::Print(text) => output::print(&text).map(|()| ExitCode::SUCCESS),
        Parsed::Refused(line) => Err(Failure::Usage(line)),
    };
    done.unwrap_or_else(|failure| failure.report())
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Latency(asked) => latency::run(&asked),
        Command::Replay(asked) => replay::run(&asked),
        Command::Sim(asked) => sim::run(&asked),
        Command::Doctor(asked) => doctor::run(&asked),
    }
}
