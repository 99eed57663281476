//! Locked memory and touched stacks. Limits and locks are a process's: each case has a child, this
//! binary again.

use corelane_os::memory::{lock_on_fault, may_lock, prefault_stack};
use std::process::Command;

const CHILD: &str = "CORELANE_OS_TEST_CHILD";

/// Runs the test `name` of this binary alone in a child process.
fn in_a_child(name: &str) {
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("the child starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn locked_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmLck:"))
        .expect("a count");
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .expect("a number")
}

#[test]
fn a_lock_is_refused_under_a_finite_limit_without_the_capability() {
    if !is_child() {
        return in_a_child("a_lock_is_refused_under_a_finite_limit_without_the_capability");
    }
    // SAFETY: a child that does nothing else lowers its own limit and gives up its own privileges.
    unsafe {
        let limit = libc::rlimit {
            rlim_cur: 64 * 1024,
            rlim_max: 64 * 1024,
        };
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
        }
    }
    let refused = lock_on_fault().expect_err("the limit is finite");
    assert!(refused.reason.contains("64 KiB"), "{refused}");
    assert!(refused.remedy.contains("CAP_IPC_LOCK"), "{refused}");
    assert_eq!(locked_kib(), 0, "refused means that nothing was locked");
    std::thread::spawn(|| ())
        .join()
        .expect("later mappings still work");
}

#[test]
fn a_lock_is_granted_exactly_when_it_may_be() {
    if !is_child() {
        return in_a_child("a_lock_is_granted_exactly_when_it_may_be");
    }
    match (may_lock(), lock_on_fault()) {
        (Ok(basis), Ok(locked)) => {
            assert_eq!(locked.basis, basis);
            assert!(locked_kib() > 0, "the kernel counts locked pages");
            std::thread::spawn(|| ())
                .join()
                .expect("later mappings work");
        }
        (Err(expected), Err(refused)) => assert_eq!(refused, expected),
        (expected, found) => panic!("expected {expected:?}, found {found:?}"),
    }
}

/// Minor faults of the calling thread.
fn faults() -> i64 {
    // SAFETY: fills a live rusage.
    unsafe {
        let mut usage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage.ru_minflt
    }
}

#[inline(never)]
fn use_stack<const BYTES: usize>() -> u8 {
    let mut frame = [1u8; BYTES];
    std::hint::black_box(&mut frame);
    frame[BYTES / 2]
}

#[test]
fn a_prefaulted_stack_does_not_fault() {
    const BYTES: usize = 512 * 1024;
    let check = || {
        let touched = prefault_stack(2 * BYTES).expect("bounds");
        assert!(touched >= 2 * BYTES - 4096, "{touched}");
        let before = faults();
        assert_eq!(use_stack::<BYTES>(), 1);
        assert!(
            faults() - before < 8,
            "{} faults for 128 pages",
            faults() - before
        );
    };
    let thread = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(check)
        .expect("a thread");
    thread.join().expect("no panic");
}

#[test]
fn a_prefault_is_bounded_by_the_threads_stack() {
    let check = || prefault_stack(usize::MAX / 2).expect("bounds");
    let thread = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(check)
        .expect("a thread");
    let touched = thread.join().expect("no panic");
    assert!((512 * 1024..1 << 20).contains(&touched), "{touched}");
}
