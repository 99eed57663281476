//! Process-wide credential changes, before and beside a runtime. Each in a process of its own, because a
//! change concerns the whole process. The table of attacks is in `docs/fibers.md`.

mod common;
#[path = "common/stir.rs"]
mod stir;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

use common::{prio, runtime, wait_until};
use corelane::{TaskState, task};
use stir::{crowd, in_a_child, is_carried, is_child, stir, text};

/// A group that the calling thread does not have, where that is allowed; otherwise the one it has. Asked
/// again after a change it is another one, so that a thread which misses a change is seen.
///
/// An unprivileged process has one group only. Its changes go the same way, and return when every thread has
/// answered; but a thread that misses one is seen by nobody. That is shown where the tests run as root.
fn another_group() -> u32 {
    // SAFETY: takes and returns plain values.
    let (user, group) = unsafe { (libc::geteuid(), libc::getgid()) };
    match (user, group) {
        (0, 65_534) => 65_533,
        (0, _) => 65_534,
        _ => group,
    }
}

/// Changes the group of the process, and returns the new one.
fn change_group() -> u32 {
    let group = another_group();
    // SAFETY: takes and returns plain values.
    let answer = unsafe { libc::setgid(group) };
    assert_eq!(answer, 0, "setgid: {}", std::io::Error::last_os_error());
    group
}

/// The effective groups of all kernel threads of this process.
fn groups() -> BTreeSet<u32> {
    let mut groups = BTreeSet::new();
    for entry in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread that has just ended has no status.
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Gid:"));
        groups.extend(line.map(|line| {
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u32>()
                .unwrap()
        }));
    }
    groups
}

fn assert_changed_everywhere(group: u32) {
    assert_eq!(
        groups(),
        BTreeSet::from([group]),
        "a kernel thread kept its group"
    );
}

/// Runs the body in a child and asserts that it ends well.
fn alone(name: &str, body: impl FnOnce()) {
    if is_child(name) {
        return body();
    }
    let output = in_a_child(name, &[]);
    assert!(output.status.success(), "{:?}", text(&output));
}

#[test]
#[should_panic(expected = "no test is named")]
fn a_child_that_has_no_test_to_run_does_not_pass() {
    alone("there_is_no_such_test", || ());
}

#[test]
fn credentials_changed_before_the_build_hold_for_every_thread_of_the_runtime() {
    alone(
        "credentials_changed_before_the_build_hold_for_every_thread_of_the_runtime",
        || {
            let group = change_group();
            let runtime = runtime();
            crowd(&runtime, 8, |_, cpus| stir(cpus));
            assert_changed_everywhere(group);
        },
    );
}

#[test]
fn an_ordinary_thread_changes_credentials_while_fibers_are_parked() {
    alone(
        "an_ordinary_thread_changes_credentials_while_fibers_are_parked",
        || {
            let runtime = runtime();
            let parked: Vec<_> = (0..8)
                .map(|_| runtime.spawn(prio(50), task::park))
                .collect();
            wait_until("tasks to park", || {
                parked
                    .iter()
                    .all(|handle| handle.task().state() == TaskState::Waiting)
            });
            assert_changed_everywhere(change_group());
            parked.iter().for_each(|handle| handle.task().unpark());
            parked.into_iter().for_each(|handle| handle.join().unwrap());
        },
    );
}

#[test]
fn an_ordinary_thread_changes_credentials_while_tasks_are_switched_and_moved() {
    alone(
        "an_ordinary_thread_changes_credentials_while_tasks_are_switched_and_moved",
        || {
            let (runtime, end) = (runtime(), Arc::new(AtomicBool::new(false)));
            let cpus = runtime.cpus();
            let spawn = |_| {
                let end = end.clone();
                runtime.spawn(prio(50), move || {
                    let id = std::thread::current().id();
                    while !end.load(SeqCst) {
                        stir(cpus);
                        task::sleep(Duration::from_millis(1)); // the host wants its CPUs back
                        assert_eq!(std::thread::current().id(), id);
                    }
                })
            };
            let handles: Vec<_> = (0..4).map(spawn).collect();
            for _ in 0..50 {
                assert_changed_everywhere(change_group());
                std::thread::sleep(Duration::from_micros(50));
            }
            end.store(true, SeqCst);
            handles
                .into_iter()
                .for_each(|handle| handle.join().unwrap());
        },
    );
}

#[test]
fn a_credential_change_does_not_wait_for_a_task_without_safe_points() {
    alone(
        "a_credential_change_does_not_wait_for_a_task_without_safe_points",
        || {
            let (runtime, end) = (runtime(), Arc::new(AtomicBool::new(false)));
            let released = end.clone();
            let stuck = runtime.spawn(prio(50), move || {
                while !released.load(SeqCst) {
                    std::thread::sleep(Duration::from_micros(50));
                }
            });
            wait_until("the task to run", || {
                stuck.task().state() == TaskState::Running
            });
            assert_changed_everywhere(change_group());
            end.store(true, SeqCst);
            stuck.join().unwrap();
        },
    );
}

#[test]
fn a_task_changes_credentials_in_a_native_part_and_outside() {
    alone(
        "a_task_changes_credentials_in_a_native_part_and_outside",
        || {
            let runtime = runtime();
            let natively = runtime.spawn(prio(50), || task::native(change_group));
            assert_changed_everywhere(natively.join().unwrap());
            let outside = runtime.spawn(prio(50), || task::outside(change_group));
            assert_changed_everywhere(outside.join().unwrap());
        },
    );
}

#[test]
fn a_task_that_changes_credentials_itself_ends_the_process_with_a_message() {
    let name = "a_task_that_changes_credentials_itself_ends_the_process_with_a_message";
    if is_child(name) {
        let runtime = runtime();
        if is_carried(&runtime) {
            let _ = runtime.spawn(prio(50), change_group).join();
            unreachable!("the process has ended");
        }
        eprintln!("task::native: nothing is carried here");
        std::process::abort();
    }
    let output = in_a_child(name, &[]);
    let (_, said) = text(&output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
    assert!(said.contains("task::native"), "{said}");
}
