//! A task ends the process, in whatever way: by a signal that the parent sees, never by a hang.

mod common;

use std::path::PathBuf;
use std::process::Command;

use std::os::unix::process::{CommandExt, ExitStatusExt};

use common::{End, Folder, command, finish, run, skipped, tool, victim};

fn ends(how: &str) -> [End; 2] {
    [
        run("last_words", &[how]),
        run("last_words", &[how, "native"]),
    ]
}

#[test]
fn a_task_that_aborts_ends_the_process_by_sigabrt() {
    ends("abort")
        .into_iter()
        .for_each(|end| drop(end.by_signal(libc::SIGABRT)));
    ends("native-abort")
        .into_iter()
        .for_each(|end| drop(end.by_signal(libc::SIGABRT)));
}

#[test]
fn a_task_that_faults_ends_the_process_by_sigsegv_and_is_no_overflow() {
    for end in ends("fault") {
        let end = end.by_signal(libc::SIGSEGV);
        assert!(!end.err.contains("overflow"), "{end:#?}");
    }
}

#[test]
fn a_task_may_exit_the_process() {
    ends("exit")
        .into_iter()
        .for_each(|end| assert_eq!(end.status.code(), Some(7), "{end:#?}"));
}

#[test]
fn a_panic_in_a_task_is_the_joiners_where_panics_unwind() {
    ends("panic")
        .into_iter()
        .for_each(|end| drop(end.succeeded().says(&["joined: Err(Panicked(", "as asked"])));
}

/// Where the kernel puts core files below the working directory; otherwise the reason for a skip.
fn core_files_are_local() -> bool {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let local = !pattern.starts_with(['|', '/']);
    if !local {
        skipped(&format!("core files go to {pattern}"));
    }
    local
}

#[test]
fn a_core_dump_of_a_faulting_task_shows_the_function_that_faulted() {
    if !core_files_are_local() {
        return;
    }
    let folder = Folder::new("core");
    let mut faulting = command(victim("last_words"), &["fault"]);
    let with_core = || {
        // SAFETY: between fork and exec; async-signal-safe calls on a live value.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            libc::getrlimit(libc::RLIMIT_CORE, &mut limit);
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_CORE, &limit);
        }
        Ok(())
    };
    // SAFETY: see above.
    unsafe { faulting.current_dir(&folder.0).pre_exec(with_core) };
    let end = finish(&mut faulting).by_signal(libc::SIGSEGV);
    if !end.status.core_dumped() {
        return skipped("the hard limit forbids core files");
    }
    let core = std::fs::read_dir(&folder.0)
        .expect("our folder")
        .flatten()
        .next()
        .expect("a core file")
        .path();
    let Some(gdb) = tool("gdb") else { return };
    let mut look = command(gdb, &["-nx", "-batch", "-ex", "bt"]);
    let end = finish(look.arg(victim("last_words")).arg(core)).succeeded();
    end.says(&["last_words::fault", "corelane::worker::Worker::run"]);
}

/// The victim built with `panic=abort`: placed by whoever placed the victims, or built here.
fn victim_that_cannot_unwind() -> Option<PathBuf> {
    let placed = victim("last_words-abort");
    if placed.exists() {
        return Some(placed);
    }
    let Some(cargo) = std::env::var_os("CARGO") else {
        skipped("no cargo to build the victim with panic=abort");
        return None;
    };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("abort");
    let mut build = Command::new(cargo);
    build.args([
        "build",
        "--package",
        "corelane-attacks",
        "--no-default-features",
        "--bin",
        "last_words",
    ]);
    build
        .args(["--profile", "abort", "--target-dir"])
        .arg(&folder);
    let built = build
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Some(folder.join("abort/last_words"))
}

#[test]
fn with_panic_abort_a_panic_in_a_task_names_it_and_ends_the_process() {
    let Some(victim) = victim_that_cannot_unwind() else {
        return;
    };
    for arguments in [&["panic"][..], &["panic", "native"]] {
        let end = finish(&mut command(&victim, arguments)).by_signal(libc::SIGABRT);
        end.says(&[
            "'doomed' panics and ends the process",
            "'corelane-f",
            "as asked",
        ]);
    }
}

#[test]
fn with_panic_abort_an_ordinary_run_and_cancelled_tasks_end_well() {
    let Some(victim) = victim_that_cannot_unwind() else {
        return;
    };
    for how in ["calm", "cancel", "held-up"] {
        for arguments in [&[how][..], &[how, "native"]] {
            finish(&mut command(&victim, arguments))
                .succeeded()
                .says(&["intact"]);
        }
    }
}
