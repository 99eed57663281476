//! The project's own tooling: `cargo xtask ci`, `cargo xtask tidy` and `cargo xtask soak`.
//!
//! Checks that live in a shell script or in the configuration of a hosted service cannot be run,
//! read or tested by whoever breaks them. Here they are a program of the workspace, so a laptop
//! fails in the same way as the service does.

mod ci;
mod soak;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

commands:
  ci      run every check of the project, stop at the first failure
  soak    churn a real runtime for --minutes N, by --seed S; see docs/soak.md
  tidy    check the rules that the compiler does not know (edges, links, marks, sizes, paths)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == "soak"
    {
        return soak::run(rest);
    }
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ci"] => ci::run(),
        ["tidy"] => tidy::run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
