//! Bodies that end the process: each is run in a child, which is this test binary again, one test
//! of it.

mod common;

use common::{backends, resume};
use corelane_os::fiber::{Fiber, FiberSpec};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

const CHILD: &str = "CORELANE_OS_TEST_BACKEND";

/// Runs the test `name` of this binary alone in a child for the backend `index`.
fn in_a_child(name: &str, index: usize) -> Output {
    Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, index.to_string())
        .output()
        .expect("the child starts")
}

fn asked_index() -> Option<usize> {
    std::env::var(CHILD)
        .ok()
        .map(|index| index.parse().expect("a number"))
}

#[inline(never)]
fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 64]);
    if n == 0 { 0 } else { deep(n - 1) + frame[3] }
}

fn run_named(index: usize, body: impl FnOnce() + Send + 'static) {
    let backend = backends()[index];
    let spec = FiberSpec {
        name: "fiber-of-the-test",
        stack_size: common::STACK_SIZE,
        backend,
    };
    let mut fiber = Fiber::spawn(&spec, |_| body()).expect("the fiber starts");
    let _ = resume(&mut fiber);
}

#[test]
fn a_stack_overflow_names_the_fiber() {
    if let Some(index) = asked_index() {
        run_named(index, || println!("{}", deep(1 << 20)));
        return;
    }
    for index in 0..backends().len() {
        let output = in_a_child("a_stack_overflow_names_the_fiber", index);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(said.contains("fiber-of-the-test"), "{said}");
        assert!(said.contains("has overflowed its stack"), "{said}");
    }
}

#[test]
fn a_body_that_unwinds_ends_the_process_and_is_named() {
    if let Some(index) = asked_index() {
        run_named(index, || panic!("out of the body"));
        return;
    }
    for index in 0..backends().len() {
        let output = in_a_child("a_body_that_unwinds_ends_the_process_and_is_named", index);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(
            said.contains("the body of fiber 'fiber-of-the-test' unwound"),
            "{said}"
        );
    }
}
