//! Memory checkers: a run without a fault is clean, and a fault in a task is still found.
//!
//! They are slow, so they are asked for:
//! `cargo test --package corelane-attacks --test checkers -- --ignored --test-threads=1`

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::{End, command, finish, skipped, tool, victim};

/// The exit code of valgrind when it has found something.
const FOUND: i32 = 99;

/// Stack frames are smaller than this, and a switch is farther than this, so that memcheck takes every
/// switch of stacks for one, and marks nothing as undefined on the way. The lender's reserve is larger.
const MAX_STACKFRAME: &str = "--max-stackframe=16000";

fn memcheck(name: &str, arguments: &[&str]) -> Option<End> {
    let valgrind = tool("valgrind")?;
    let exit_code = format!("--error-exitcode={FOUND}");
    let mut check = command(valgrind, &["--fair-sched=yes", MAX_STACKFRAME, &exit_code]);
    Some(finish(check.arg(victim(name)).args(arguments)))
}

#[test]
#[ignore = "slow"]
fn memcheck_finds_nothing_in_a_run_without_a_fault() {
    for (fallback, backend) in [
        (&["native"][..], "fibers: native"),
        (&[], "thread pointer by arch_prctl"),
    ] {
        let arguments = [&["ms=1500"], fallback].concat();
        let Some(end) = memcheck("churn", &arguments) else {
            return;
        };
        end.succeeded()
            .says(&[backend, "intact", "ERROR SUMMARY: 0 errors"]);
    }
}

#[test]
#[ignore = "slow"]
fn memcheck_finds_the_faults_of_a_task_on_a_fiber() {
    let faults = [
        ("read-after-free", "Invalid read", "faulty::read_after_free"),
        (
            "write-past-the-heap",
            "Invalid write",
            "faulty::write_past_the_heap",
        ),
        (
            "use-without-a-value",
            "depends on uninitialised value",
            "faulty::use_without_a_value",
        ),
    ];
    for fallback in [&["native"][..], &[]] {
        for (fault, word, place) in faults {
            let Some(end) = memcheck("faulty", &[&[fault], fallback].concat()) else {
                return;
            };
            assert_eq!(end.status.code(), Some(FOUND), "{end:#?}");
            end.says(&[word, place]);
        }
        for harmless in ["unwind", "exit-while-held"] {
            let Some(end) = memcheck("faulty", &[&[harmless], fallback].concat()) else {
                return;
            };
            end.succeeded().says(&["ERROR SUMMARY: 0 errors"]);
        }
    }
}

/// The victims with AddressSanitizer, which only a nightly compiler builds.
fn sanitized() -> Option<PathBuf> {
    let cargo = Command::new("rustup")
        .args(["which", "--toolchain", "nightly", "cargo"])
        .output();
    if !cargo.is_ok_and(|which| which.status.success()) {
        skipped("no nightly toolchain for -Zsanitizer=address");
        return None;
    }
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("address");
    let mut build = Command::new("rustup");
    build.args([
        "run",
        "nightly",
        "cargo",
        "build",
        "--package",
        "corelane-attacks",
    ]);
    build
        .args(["--no-default-features", "--target", TARGET, "--target-dir"])
        .arg(&folder);
    build
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    for name in ["RUSTC", "RUSTDOC", "CARGO", "RUSTUP_TOOLCHAIN"] {
        build.env_remove(name);
    }
    let built = build.output().expect("rustup runs");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Some(folder.join(TARGET).join("debug"))
}

/// Runs a sanitized victim in both modes of the detection of uses after return.
fn under_asan(program: &PathBuf, arguments: &[&str]) -> [End; 2] {
    ["0", "1"].map(|use_after_return| {
        let options = format!("detect_stack_use_after_return={use_after_return}");
        finish(command(program, arguments).env("ASAN_OPTIONS", options))
    })
}

#[test]
#[ignore = "slow"]
fn address_sanitizer_finds_nothing_in_a_run_without_a_fault() {
    let Some(folder) = sanitized() else { return };
    for fallback in [&["native"][..], &[]] {
        let arguments = [&["ms=1000"], fallback].concat();
        for end in under_asan(&folder.join("churn"), &arguments) {
            end.succeeded().says(&["intact"]);
        }
        for end in under_asan(&folder.join("faulty"), &[&["unwind"], fallback].concat()) {
            end.succeeded().says(&["ended"]);
        }
    }
}

#[test]
#[ignore = "slow"]
fn address_sanitizer_finds_the_faults_of_a_task_on_a_fiber() {
    let Some(folder) = sanitized() else { return };
    let faults = [
        ("read-after-free", "AddressSanitizer: heap-use-after-free"),
        (
            "write-past-the-heap",
            "AddressSanitizer: heap-buffer-overflow",
        ),
        (
            "write-past-the-stack",
            "AddressSanitizer: stack-buffer-overflow",
        ),
    ];
    for fallback in [&["native"][..], &[]] {
        for (fault, word) in faults {
            for end in under_asan(&folder.join("faulty"), &[&[fault], fallback].concat()) {
                assert_eq!(end.status.code(), Some(1), "{end:#?}");
                end.says(&[word, "faulty::"]);
            }
        }
    }
}

#[test]
#[ignore = "slow"]
fn under_address_sanitizer_an_overflow_still_names_the_task() {
    let Some(folder) = sanitized() else { return };
    for fallback in [&["native"][..], &[]] {
        for end in under_asan(&folder.join("overflow"), &[&["carried"], fallback].concat()) {
            assert!(!end.status.success(), "{end:#?}");
            end.says(&[
                "'digger' has overflowed its stack",
                "AddressSanitizer: stack-overflow",
            ]);
        }
    }
}

#[test]
#[ignore = "slow"]
fn leak_sanitizer_does_not_see_what_only_a_suspended_task_holds() {
    let Some(folder) = sanitized() else { return };
    let exit = |options: &str| {
        let mut command = command(folder.join("faulty"), &["exit-while-held"]);
        finish(command.env("ASAN_OPTIONS", options))
    };
    exit("detect_leaks=0:detect_stack_use_after_return=0").succeeded();
    let end = exit("detect_leaks=1:detect_stack_use_after_return=0");
    assert!(
        !end.status.success(),
        "if this passes, the page on fibers may say so: {end:#?}"
    );
    end.says(&[
        "LeakSanitizer: detected memory leaks",
        "faulty::hold_and_wait",
    ]);
}
