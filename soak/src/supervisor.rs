//! The process that watches the other one.
//!
//! A real-time hang may keep every thread of its process from running, so whoever is to notice must be
//! another process, at a level above. This program therefore runs twice: the supervisor starts itself
//! again as the worker and looks each second at the *board*, a file on which the worker writes what it
//! knows. A board that does not change for [`SILENCE_MAX`] means a hang: the board and the state of every
//! thread are shown, and the worker is killed.
//!
//! The worker gets one malloc arena and no cache of stacks, so that mappings can be counted.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use corelane_os::thread::{self, Policy, Tid};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::arguments::Arguments;

/// How long the board may stay as it is.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long beyond its time a run may last.
const OVERTIME_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(1);
const LEVEL: u8 = 90;
const BOARD: &str = "CORELANE_SOAK_BOARD";
const TUNABLES: &str = "glibc.pthread.stack_cache_size=0:glibc.malloc.arena_max=1:\
                        glibc.malloc.mmap_threshold=1048576";

pub(crate) enum Role {
    Supervisor,
    Worker(Board),
}

/// Who we are: the worker finds the path of its board in the environment.
pub(crate) fn role() -> Role {
    let board = std::env::var_os(BOARD).map(PathBuf::from);
    match board.and_then(|path| File::options().write(true).open(path).ok()) {
        Some(file) => Role::Worker(Board { file, writes: 0 }),
        None => Role::Supervisor,
    }
}

/// Where the worker writes what it knows.
pub(crate) struct Board {
    file: File,
    writes: u64,
}

impl Board {
    /// Replaces what is on the board.
    pub(crate) fn write(&mut self, text: &str) {
        self.writes += 1;
        let text = format!("look {}\n{text}", self.writes);
        // A board that cannot be written looks like a hang, which is what it then is to the supervisor.
        let _ = self.file.set_len(0);
        let _ = self.file.seek(SeekFrom::Start(0));
        let _ = self.file.write_all(text.as_bytes());
    }
}

/// Starts the worker and waits for its end.
pub(crate) fn watch_over(arguments: &Arguments) -> ExitCode {
    let path = std::env::temp_dir().join(format!("corelane-soak-{}", std::process::id()));
    let code = match File::create(&path).and_then(|_| start(&path)) {
        Ok(child) => {
            // Above the workers, where that is granted: a look takes microseconds each second.
            let _ = thread::set_policy(Tid(0), Policy::Fifo { level: LEVEL });
            wait(child, &path, arguments.duration + OVERTIME_MAX)
        }
        Err(error) => {
            eprintln!("soak: cannot start the worker: {error}");
            ExitCode::FAILURE
        }
    };
    let _ = fs::remove_file(&path);
    code
}

fn start(board: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(std::env::args_os().skip(1))
        .env(BOARD, board)
        .env("GLIBC_TUNABLES", TUNABLES);
    // SAFETY: between fork and exec only one system call is made.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
    command.spawn()
}

fn wait(mut child: Child, path: &Path, limit: Duration) -> ExitCode {
    let (start, mut heard, mut board) = (Instant::now(), Instant::now(), String::new());
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return ExitCode::SUCCESS,
            Ok(Some(status)) => {
                eprintln!("soak: the worker ended with {status}");
                return ExitCode::FAILURE;
            }
            Ok(None) => {}
            Err(error) => eprintln!("soak: cannot wait for the worker: {error}"),
        }
        let now = fs::read_to_string(path).unwrap_or_default();
        if now != board {
            (heard, board) = (Instant::now(), now);
        }
        if heard.elapsed() > SILENCE_MAX || start.elapsed() > limit {
            end(&mut child, &board);
            return ExitCode::FAILURE;
        }
        sleep(LOOK);
    }
}

fn end(child: &mut Child, board: &str) {
    eprintln!("soak: HANG, the worker is killed. What it last wrote:\n{board}\nits threads:");
    eprintln!("{}", threads(child.id()));
    if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
        eprintln!("soak: the worker cannot be killed: {error}");
    }
}

/// The name, the state and the place of each thread of a process.
fn threads(process: u32) -> String {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else {
        return "none".into();
    };
    let line = |path: PathBuf| {
        let read = |name| fs::read_to_string(path.join(name)).unwrap_or_default();
        let (stat, wchan) = (read("stat"), read("wchan"));
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().next());
        format!("  {} {} {wchan}", read("comm").trim(), state.unwrap_or("?"))
    };
    let lines = entries.flatten().map(|entry| line(entry.path()));
    lines.collect::<Vec<_>>().join("\n")
}
