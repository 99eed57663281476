//! A process-wide credential change reaches every kernel thread through a signal that glibc keeps
//! for itself, whose handler marks the loaded thread control block as served. Alone in its binary,
//! because a change concerns the whole process.

mod common;

use common::{backends, carried_backends, gettid, resume, spawn};
use corelane_os::fiber::Resumed;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Changes the group of the process to one that it does not have, if it may; and looks whether every kernel
/// thread has it. Without the privilege it changes the group to what it is, which everybody may: then only
/// that the call returns, when every thread has answered, is shown.
fn change_group() {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: takes and returns plain values.
    let (user, now) = unsafe { (libc::geteuid(), libc::getgid()) };
    let group = match (user, now) {
        (0, 65_534) => 65_533,
        (0, _) => 65_534,
        _ => now,
    };
    // SAFETY: takes and returns plain values.
    assert_eq!(unsafe { libc::setgid(group) }, 0);
    for (thread, has) in groups() {
        assert_eq!(has, group, "kernel thread {thread} kept its group");
    }
}

/// The effective groups of the kernel threads of this process.
fn groups() -> Vec<(String, u32)> {
    let group = |thread: std::fs::DirEntry| {
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?; // it may have ended
        let line = status.lines().find_map(|line| line.strip_prefix("Gid:"))?;
        let effective = line.split_whitespace().nth(1)?.parse().ok()?;
        Some((thread.file_name().to_string_lossy().into_owned(), effective))
    };
    let threads = std::fs::read_dir("/proc/self/task").expect("procfs is mounted");
    let groups: Vec<_> = threads.flatten().filter_map(group).collect();
    assert!(!groups.is_empty(), "there is at least this thread");
    groups
}

#[test]
fn a_credential_change_reaches_parked_lenders_and_spares_their_bodies() {
    let mut fibers = Vec::new();
    for backend in backends() {
        let mut fiber = spawn(backend, |suspender| {
            let kept = std::hint::black_box([3u8; 8192]);
            // SAFETY: this thread's own errno, looked up anew on each side.
            unsafe { *libc::__errno_location() = 99 };
            suspender.suspend();
            // SAFETY: as above.
            assert_eq!(unsafe { *libc::__errno_location() }, 99);
            assert!(kept.iter().all(|&byte| byte == 3));
        });
        assert_eq!(resume(&mut fiber), Resumed::Suspended);
        fibers.push(fiber);
    }
    change_group();
    for mut fiber in fibers {
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        fiber.finish().expect("a finished body ends");
    }
}

#[test]
fn a_credential_change_does_not_wait_for_a_running_body_to_suspend() {
    for backend in backends() {
        let (runs, changed) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (tell, released) = (runs.clone(), changed.clone());
        let mut fiber = spawn(backend, move |_| {
            let id = std::thread::current().id();
            tell.store(true, SeqCst);
            while !released.load(SeqCst) {
                assert_eq!(std::thread::current().id(), id);
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        let carrier = std::thread::spawn(move || {
            let id = std::thread::current().id();
            assert_eq!(resume(&mut fiber), Resumed::Finished);
            assert_eq!(std::thread::current().id(), id);
            fiber.finish().expect("a finished body ends");
        });
        while !runs.load(SeqCst) {
            std::thread::sleep(Duration::from_micros(50));
        }
        (0..100).for_each(|_| change_group());
        changed.store(true, SeqCst);
        carrier.join().expect("the carrier does not panic");
    }
}

#[test]
fn a_carried_body_that_changes_credentials_ends_the_process_with_a_message() {
    const NAME: &str = "a_carried_body_that_changes_credentials_ends_the_process_with_a_message";
    const CHILD: &str = "CORELANE_OS_TEST_BACKEND";
    if let Ok(index) = std::env::var(CHILD) {
        let backend = carried_backends()[index.parse::<usize>().expect("a number")];
        let mut fiber = spawn(backend, |_| change_group());
        let _ = resume(&mut fiber);
        return;
    }
    for index in 0..carried_backends().len() {
        let output = Command::new("timeout")
            .args(["-s", "KILL", "20"])
            .arg(std::env::current_exe().expect("a path"))
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(CHILD, index.to_string())
            .output()
            .expect("the child starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("credentials"), "{said}");
        assert_eq!(
            output
                .status
                .signal()
                .or(output.status.code().map(|code| code - 128)),
            Some(libc::SIGABRT),
            "{said}"
        );
    }
}

#[test]
fn a_native_run_may_change_credentials() {
    let native = corelane_os::fiber::Backend::Native(corelane_os::fiber::NativeReason::Asked);
    let here = gettid();
    let mut fiber = spawn(native, move |_| {
        assert_ne!(gettid(), here);
        change_group();
    });
    assert_eq!(resume(&mut fiber), Resumed::Finished);
    fiber.finish().expect("a finished body ends");
}
