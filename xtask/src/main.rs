//! The project's own tooling: `cargo xtask ci`, `cargo xtask tidy` and `cargo xtask bench`.
//!
//! Checks that live in a shell script or in the configuration of a hosted service cannot be run,
//! read or tested by whoever breaks them. Here they are a program of the workspace, so a laptop
//! fails in the same way as the service does.

mod bench;
mod ci;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

commands:
  ci                    run every check of the project, stop at the first failure
  tidy                  check the rules that the compiler does not know (edges, links, marks, sizes, paths)
  bench [ROW..] [..]    build the benches with optimisation and run them; `bench --help` says more";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ci"] => ci::run().map(|()| ExitCode::SUCCESS),
        ["tidy"] => tidy::run().map(|()| ExitCode::SUCCESS),
        ["bench", ..] => bench::run(&arguments[1..]),
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
