//! `corelane-soak`: churn on a real runtime for as long as wanted, judged by the simulator's oracles.
//!
//! Tests run for seconds and show the orders of events that seconds show. This program makes tasks do
//! everything a task can do, at random, for minutes or nights, on one runtime after the other, and has the
//! record of each judged while it runs. What churns and what is judged: `docs/soak.md`.
//!
//! | file | idea |
//! |---|---|
//! | `supervisor.rs` | a process of its own that ends a run which hangs, and shows its last words |
//! | `life.rs` | one runtime from its building to its end, with everything counted |
//! | `cast.rs` | the tasks and their books |
//! | `act.rs` | what a task does at random |
//! | `fate.rs` | how a task ended by its own account |
//! | `crowd.rs` | ordinary threads that wake, spawn, change and join |
//! | `watch.rs` | reads the event ring and the notes and has them judged |
//! | `count.rs` | what must come out even |
//! | `footprint.rs` | threads, descriptors and mappings of the process |

mod act;
mod arguments;
mod cast;
mod count;
mod crowd;
mod fate;
mod footprint;
mod life;
mod report;
mod supervisor;
mod watch;

use std::process::ExitCode;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match supervisor::role() {
        supervisor::Role::Supervisor => supervisor::watch_over(&arguments),
        supervisor::Role::Worker(board) => life::run(&arguments, board),
    }
}
