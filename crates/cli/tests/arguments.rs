//! Bad arguments end with code 2 and one line; help and closed pipes are no errors.

mod common;

use common::{code, corelane, start};

#[test]
fn bad_arguments_are_one_line_on_standard_error_and_code_2() {
    let lines: [&[&str]; 11] = [
        &["no-such-command"],
        &["--no-such-option"],
        &["replay"],
        &["replay", "chess"],
        &["sim", "--cpus", "0"],
        &["sim", "--cpus", "4097"],
        &["sim", "--seed", "many"],
        &["latency", "--duration", "soon"],
        &["latency", "--duration", "99ms"],
        &["latency", "--interval", "0ms"],
        &["latency", "--duration", "100ms", "--interval", "10ms"],
    ];
    for arguments in lines {
        let run = corelane(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}");
        assert_eq!(run.stdout, "", "{arguments:?}");
        assert_eq!(
            run.stderr.lines().count(),
            1,
            "{arguments:?}: {}",
            run.stderr
        );
        assert!(run.stderr.starts_with("corelane: "), "{}", run.stderr);
    }
}

#[test]
fn a_json_file_that_cannot_be_written_is_a_bad_argument() {
    for command in ["latency", "doctor"] {
        let run = corelane(&[command, "--json", "/nonexistent/report.json"]);
        assert_eq!(run.code, Some(2), "{command}");
        assert_eq!(run.stderr.lines().count(), 1, "{command}: {}", run.stderr);
        assert!(
            run.stderr.contains("/nonexistent/report.json"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (argument, expected) in [
        ("--help", "doctor"),
        ("--version", env!("CARGO_PKG_VERSION")),
    ] {
        let run = corelane(&[argument]);
        assert_eq!(run.code, Some(0));
        assert!(run.stdout.contains(expected), "{}", run.stdout);
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    for arguments in [
        ["doctor", "--json", "-"].as_slice(),
        &["replay", "journal"],
        &["--help"],
    ] {
        let mut child = start(arguments);
        drop(child.stdout.take());
        assert_eq!(code(&mut child, arguments), Some(0), "{arguments:?}");
    }
}
