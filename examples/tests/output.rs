//! Runs each program and compares its output with `expected/`, where `*` stands for what differs
//! from run to run.

use std::process::Command;
use std::sync::Mutex;

/// One program at a time: each of them uses every CPU at real-time levels.
static ALONE: Mutex<()> = Mutex::new(());

fn check(program: &str, expected: &str) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let output = Command::new(program).output().expect("the program starts");
    let said = String::from_utf8(output.stdout).expect("the output is text");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {said}{complaints}",
        output.status
    );
    assert_eq!(said.lines().count(), expected.lines().count(), "{said}");
    for (line, pattern) in said.lines().zip(expected.lines()) {
        assert!(
            matches(line, pattern),
            "`{line}` does not match `{pattern}` in:\n{said}"
        );
    }
}

/// Whether `line` is `pattern` with some text, not empty, for each `*`.
fn matches(line: &str, pattern: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return line == pattern;
    };
    let Some(rest) = line.strip_prefix(before) else {
        return false;
    };
    let mut ends = rest.char_indices().map(|(at, char)| at + char.len_utf8());
    ends.any(|end| matches(&rest[end..], after))
}

#[test]
fn a_star_stands_for_some_text() {
    assert!(matches("sum: 12, worst 3 us", "sum: *, worst * us"));
    assert!(!matches("sum: , worst 3 us", "sum: *, worst * us"));
    assert!(!matches("sum: 12, worst 3 us!", "sum: *, worst * us"));
    assert!(!matches("sum: 12", "sum: 1"));
}

#[test]
fn the_control_loop_accounts_for_every_period() {
    check(
        env!("CARGO_BIN_EXE_control_loop"),
        include_str!("../expected/control_loop.txt"),
    );
}

#[test]
fn the_pipeline_counts_exactly() {
    check(
        env!("CARGO_BIN_EXE_pipeline"),
        include_str!("../expected/pipeline.txt"),
    );
}

#[test]
fn per_cpu_sums_are_exact() {
    check(
        env!("CARGO_BIN_EXE_per_cpu_counters"),
        include_str!("../expected/per_cpu_counters.txt"),
    );
}
