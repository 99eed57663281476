//! The project's own tooling: `cargo xtask ci` and its parts.
//!
//! Checks that live in a shell script or in the configuration of a hosted service cannot be run,
//! read or tested by whoever breaks them. Here they are a program of the workspace, so a laptop
//! fails in the same way as the service does.

mod bench;
mod callgrind;
mod ci;
mod hotpath;
mod soak;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

commands:
  ci                    run every check of the project, stop at the first failure
  tidy                  check the rules that the compiler does not know (edges, links, marks, sizes, paths)
  hotpath               decode the hot paths and check that they neither lock, call nor panic
  callgrind             count the instructions of the hot paths and compare them with their ceilings
  bench [ROW..] [..]    build the benches with optimisation and run them; `bench --help` says more
  soak                  churn a real runtime for --minutes N, by --seed S; see docs/soak.md";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = |()| ExitCode::SUCCESS;
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ci"] => ci::run().map(done),
        ["tidy"] => tidy::run().map(done),
        ["hotpath"] => hotpath::run().map(done),
        ["callgrind"] => callgrind::run().map(done),
        ["bench", ..] => bench::run(&arguments[1..]),
        ["soak", ..] => Ok(soak::run(&arguments[1..])),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
