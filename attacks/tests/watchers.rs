//! Tools that look at a running process from outside: gdb, perf, strace, and ptrace by hand.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Folder, Running, command, finish, skipped, tool, victim};

/// What gdb says about a running victim, or `None` if it may not attach.
fn gdb(arguments: &[&str], with_unwinder: bool) -> Option<String> {
    let gdb = tool("gdb")?;
    let folder = Folder::new("gdb");
    let unwinder = folder.0.join("gdb_corelane.py");
    std::fs::write(&unwinder, include_str!("../../tools/gdb_corelane.py")).expect("our folder");
    let mut watched = Running::start(&mut command(victim("watched"), arguments));
    watched.wait_for("begun");
    let mut look = command(gdb, &["-nx", "-batch", "-ex", "set pagination off"]);
    if with_unwinder {
        look.arg("-x").arg(unwinder);
    }
    look.args([
        "-p",
        &watched.id().to_string(),
        "-ex",
        "thread apply all bt",
    ]);
    let end = finish(&mut look);
    if end.err.contains("ptrace: ") {
        skipped(&format!("gdb may not attach: {}", end.err));
        return None;
    }
    let end = end.succeeded().says(&["Inferior 1"]);
    assert!(!end.err.contains("Python Exception"), "{end:#?}");
    Some(end.out)
}

/// The backtrace of the one thread that has this function in it, with its heading.
fn backtrace_with<'a>(said: &'a str, function: &str) -> &'a str {
    let threads: Vec<&str> = said
        .split("\nThread ")
        .filter(|thread| thread.contains(function))
        .collect();
    assert_eq!(threads.len(), 1, "{function} is in one backtrace: {said}");
    assert!(
        !threads[0].contains("?? ()") && !threads[0].contains("corrupt stack"),
        "{}",
        threads[0]
    );
    threads[0]
}

#[test]
fn gdb_shows_a_running_task_on_the_thread_of_its_carrier() {
    let Some(said) = gdb(&[], false) else { return };
    let running = backtrace_with(&said, "the_running_task_computes ()");
    assert!(
        running.contains("\"corelane-w") && running.contains("worker::Worker::run"),
        "{running}"
    );
    let native = backtrace_with(&said, "the_native_part_sleeps ()");
    assert!(
        native.contains("\"corelane-f") && native.contains("Lender::serve"),
        "{native}"
    );
    assert!(
        !said.contains("the_suspended_task_waits"),
        "it needs the unwinder"
    );
}

#[test]
fn gdb_shows_a_suspended_task_between_the_frames_of_its_parked_thread() {
    for arguments in [&[][..], &["native"]] {
        let Some(said) = gdb(arguments, true) else {
            return;
        };
        let suspended = backtrace_with(&said, "the_suspended_task_waits (");
        let order = [
            "lender::lend",
            "Suspender::suspend",
            "the_suspended_task_waits",
            "Lender::serve",
        ];
        let at: Vec<_> = order
            .iter()
            .map(|function| suspended.find(function))
            .collect();
        assert!(at.is_sorted() && at[0].is_some(), "{at:?} {suspended}");
        backtrace_with(&said, "the_running_task_computes ()");
        backtrace_with(&said, "the_native_part_sleeps ()");
    }
}

/// How many samples of a run of so many milliseconds lead from a function of a task to the first frame of its
/// fiber, on the thread of a carrier; `None` if perf may not record.
fn samples_in_tasks(perf: &Path, ms: u32) -> Option<usize> {
    let folder = Folder::new("perf");
    let data = folder.0.join("data");
    let options = [
        "-e",
        "cpu-clock:u",
        "--freq=250",
        "--call-graph",
        "dwarf,16384",
        "-o",
    ];
    let mut record = command(perf, &["record"]);
    record
        .args(options)
        .arg(&data)
        .arg(victim("churn"))
        .arg(format!("ms={ms}"));
    let end = finish(&mut record);
    if !end.status.success() && !end.out.contains("intact") {
        skipped(&format!("perf may not record: {}", end.err));
        return None;
    }
    end.succeeded().says(&["intact"]);
    let mut script = command(perf, &["script", "-F", "comm,ip,sym", "-i"]);
    let samples = finish(script.arg(&data)).succeeded().out;
    let functions = [
        "corelane_attacks::churn",
        "corelane::fibers::live",
        "stack_init_trampoline",
    ];
    let in_task = |sample: &&str| {
        sample.starts_with("corelane-w") && functions.iter().all(|name| sample.contains(name))
    };
    Some(samples.split("\n\n").filter(in_task).count())
}

#[test]
fn perf_records_a_run_and_finds_the_functions_of_tasks_on_the_threads_of_carriers() {
    let Some(perf) = tool("perf") else { return };
    // On a loaded host a short run gets few samples: a longer one gets more.
    for ms in [300, 1000, 3000, 6000] {
        match samples_in_tasks(&perf, ms) {
            Some(0) => eprintln!("no sample in {ms} ms"),
            _ => return,
        }
    }
    panic!("no sample leads from a task's function to the first frame of its fiber");
}

#[test]
fn a_run_under_strace_is_intact() {
    let Some(strace) = tool("strace") else { return };
    let folder = Folder::new("strace");
    for fallback in [&["ms=300"][..], &["ms=300", "native"]] {
        let mut trace = command(&strace, &["-f", "-o"]);
        trace
            .arg(folder.0.join("trace"))
            .arg(victim("churn"))
            .args(fallback);
        let end = finish(&mut trace);
        if end.err.contains("PTRACE_TRACEME") || end.err.contains("Operation not permitted") {
            return skipped(&format!("strace may not trace: {}", end.err));
        }
        end.succeeded().says(&["intact"]);
    }
}

/// Stops one thread as a debugger does, reads its registers, writes them back, and lets it go.
///
/// The thread pointer is among them: of a carrier that runs a task it is the fiber's.
fn stop_and_go(thread: i32) -> Result<u64, i32> {
    let request = |request: libc::c_uint, data: *mut libc::c_void| {
        // SAFETY: requests on a tracee of ours; `data` is null or a live register set.
        let answer =
            unsafe { libc::ptrace(request, thread, std::ptr::null_mut::<libc::c_void>(), data) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        if answer == -1 { Err(errno) } else { Ok(()) }
    };
    let nothing = std::ptr::null_mut();
    request(libc::PTRACE_SEIZE, nothing)?;
    request(libc::PTRACE_INTERRUPT, nothing)?;
    let mut status = 0;
    // SAFETY: waits for a tracee of ours, and fills one integer.
    unsafe { libc::waitpid(thread, &mut status, libc::__WALL) };
    if !libc::WIFSTOPPED(status) {
        return Err(libc::ESRCH); // it has ended
    }
    // SAFETY: a plain structure of numbers.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETREGS, (&raw mut registers).cast())?;
    request(libc::PTRACE_SETREGS, (&raw mut registers).cast())?;
    request(libc::PTRACE_DETACH, nothing)?;
    Ok(registers.fs_base)
}

#[test]
fn a_debugger_that_stops_threads_in_mid_switch_and_writes_their_registers_back_does_no_harm() {
    for fallback in [&["ms=1500"][..], &["ms=1500", "native"]] {
        let mut victim = Running::start(&mut command(victim("churn"), fallback));
        victim.wait_for("begun");
        let mut pointers =
            std::collections::BTreeMap::<i32, std::collections::BTreeSet<u64>>::new();
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 1000 {
            let folder = format!("/proc/{}/task", victim.id());
            let Ok(threads) = std::fs::read_dir(folder) else {
                break;
            };
            let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
            for thread in threads.flatten().filter_map(number) {
                match stop_and_go(thread) {
                    Ok(pointer) => drop(pointers.entry(thread).or_default().insert(pointer)),
                    Err(libc::EPERM) => return skipped("ptrace is not permitted"),
                    Err(_) => {} // the thread has ended
                }
            }
        }
        victim.finish().succeeded().says(&["intact"]);
        let most = pointers.values().map(|pointers| pointers.len()).max();
        let carried = fallback.len() == 1;
        assert_eq!(
            most > Some(1),
            carried,
            "a carrier is seen with the fibers' thread pointers"
        );
    }
}

/// Attached to and left several times, as somebody in search of a hang does.
#[test]
fn strace_may_attach_and_detach_while_tasks_switch() {
    let Some(strace) = tool("strace") else { return };
    let mut watched = Running::start(&mut command(victim("churn"), &["ms=2500"]));
    watched.wait_for("begun");
    for _ in 0..4 {
        let mut trace: Command = command("timeout", &["--signal=INT", "0.3"]);
        trace
            .arg(&strace)
            .args(["-f", "-o", "/dev/null", "-p", &watched.id().to_string()]);
        let end = finish(&mut trace);
        if end.err.contains("Operation not permitted") {
            return skipped(&format!("strace may not attach: {}", end.err));
        }
    }
    watched.finish().succeeded().says(&["intact"]);
}
