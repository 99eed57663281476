//! Tasks that are switched and moved again and again, and children that are this test binary again.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::FromRawFd;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::common::{Exclusive, prio};
use corelane::{CpuId, CpuSet, task};
use corelane_os::fiber::Backend;

/// Switches the calling task in two ways, and moves it to the CPU slot after its own.
pub fn stir(cpus: usize) {
    task::yield_now();
    task::sleep(Duration::from_micros(10));
    hop(cpus);
}

/// Moves the calling task to the CPU slot after its own, and lets it go anywhere again.
pub fn hop(cpus: usize) {
    let own = task::current().expect("a task hops");
    let next = CpuId::new((own.cpu().index() + 1) % cpus);
    own.set_affinity(&CpuSet::single(cpus, next)).unwrap();
    assert_eq!(own.cpu(), next, "a task with one CPU is on it");
    own.set_affinity(&CpuSet::full(cpus)).unwrap();
}

/// Runs `f(number, cpus)` as so many tasks of one priority, which get in each other's way; returns what
/// they return.
pub fn crowd<T: Send + 'static>(
    runtime: &Exclusive,
    tasks: usize,
    f: impl Fn(usize, usize) -> T + Clone + Send + 'static,
) -> Vec<T> {
    let cpus = runtime.cpus();
    let spawn = |number| {
        let f = f.clone();
        runtime.spawn(prio(50), move || f(number, cpus))
    };
    let handles: Vec<_> = (0..tasks).map(spawn).collect();
    let join = |handle: corelane::JoinHandle<T>| handle.join().expect("no task of the crowd fails");
    handles.into_iter().map(join).collect()
}

/// Whether tasks run on carriers, and not on kernel threads of their own.
pub fn is_carried(runtime: &Exclusive) -> bool {
    matches!(runtime.status().fiber_backend, Backend::Carried(_))
}

const CHILD: &str = "CORELANE_FIBER_CHILD";
/// How long a child may take before it is killed.
const CHILD_MAX: Duration = Duration::from_secs(20);

/// Whether this process is the child that [`in_a_child`] made for the test `name`.
pub fn is_child(name: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| child == name)
}

/// Runs the test `name` of this binary in a process of its own; kills it if it hangs.
///
/// It writes to files, not to pipes: a pipe would stay open as long as its watchdog lives.
pub fn in_a_child(name: &str, environment: &[(&str, &str)]) -> Output {
    let (mut out, mut err) = (scratch_file(), scratch_file());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--test-threads=1", "--nocapture"]);
    command.env(CHILD, name).envs(environment.iter().copied());
    command.stdin(Stdio::null());
    command.stdout(out.try_clone().unwrap());
    command.stderr(err.try_clone().unwrap());
    let status = wait_or_kill(command.spawn().unwrap());
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let output = Output {
        status,
        stdout: read(&mut out),
        stderr: read(&mut err),
    };
    // A name that no test has would run nothing, and end well.
    let (said, _) = text(&output);
    assert!(said.contains("running 1 test\n"), "no test is named {name}");
    output
}

fn wait_or_kill(mut child: Child) -> ExitStatus {
    let end = Instant::now() + CHILD_MAX;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A file without a name.
fn scratch_file() -> File {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"corelane-test".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: a fresh descriptor that nobody else has.
    unsafe { File::from_raw_fd(fd) }
}

/// What a child wrote, for messages and for looking at.
pub fn text(output: &Output) -> (String, String) {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (string(&output.stdout), string(&output.stderr))
}
