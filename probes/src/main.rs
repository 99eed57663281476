//! The operations of the hot paths, each alone in a function that a disassembler finds by name.
//!
//! "No locked instruction, no call" is a statement about machine code, so it is checked there. In a
//! program the operations are inlined into their callers and cannot be told apart; a probe is an
//! operation by itself, through the same public functions. `cargo xtask hotpath` decodes the
//! probes, `cargo xtask callgrind` runs them and counts instructions:
//!
//! ```text
//! corelane-probes <probe> <cpus or tasks> <calls>
//! ```
//!
//! Each probe leaves its data as it found them, so that every call does the same.
//!
//! # Unsafe
//! What is raw: the names of the probes, which are not mangled. None of them means anything to the C
//! library; all begin with `probe_`.

mod controls;
mod guard;
mod sched;

use std::process::ExitCode;

/// What the program runs by name: how it is set up for `size` CPUs or tasks, and called `calls` times.
type Run = fn(size: usize, calls: usize);

const RUNS: &[(&str, Run)] = &[
    ("probe_guard", guard::guard),
    ("probe_checkpoint", guard::checkpoint),
    ("probe_cpupri_set", sched::cpupri_set),
    ("probe_cpupri_find", sched::cpupri_find),
    ("probe_level_map", sched::level_map),
    ("probe_runqueue_cycle", sched::runqueue_cycle),
    ("probe_inbox_cycle", sched::inbox_cycle),
    ("probe_state_cycle", sched::state_cycle),
    ("probe_timer_cycle", sched::timer_cycle),
];

fn main() -> ExitCode {
    controls::keep();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [name, size, calls] => match (find(name), size.parse(), calls.parse()) {
            (Some(run), Ok(size), Ok(calls)) => {
                run(size, calls);
                ExitCode::SUCCESS
            }
            _ => usage(),
        },
        _ => usage(),
    }
}

fn find(name: &str) -> Option<Run> {
    let row = RUNS.iter().find(|(probe, _)| *probe == name)?;
    Some(row.1)
}

fn usage() -> ExitCode {
    eprintln!("usage: corelane-probes <probe> <cpus or tasks> <calls>\n\nprobes:");
    RUNS.iter().for_each(|(name, _)| eprintln!("  {name}"));
    ExitCode::from(2)
}
