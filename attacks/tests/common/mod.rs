//! Running a victim and looking at how it ends. Whatever hangs is killed, and fails the test.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a victim may take on the wall clock.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The folder of the victims: where the build left them, or where an unprivileged run may read them.
pub fn victims() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_churn"));
    match std::env::var_os("CORELANE_VICTIMS") {
        Some(folder) => folder.into(),
        None => built.parent().expect("a program lies in a folder").into(),
    }
}

pub fn victim(name: &str) -> PathBuf {
    victims().join(name)
}

/// The command that runs a victim, in a process group of its own and without a core dump.
pub fn command(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .process_group(0)
        .env("RUST_BACKTRACE", "0");
    let without_core = || {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: between fork and exec; setrlimit is async-signal-safe. It may refuse to raise the hard
        // limit, which leaves the limit as it is.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
        Ok(())
    };
    // SAFETY: see above.
    unsafe { command.pre_exec(without_core) };
    command
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct End {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl End {
    pub fn succeeded(self) -> End {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    pub fn by_signal(self, signal: i32) -> End {
        assert_eq!(self.status.signal(), Some(signal), "{self:#?}");
        self
    }

    /// One of the streams has each of these texts.
    pub fn says(self, texts: &[&str]) -> End {
        for text in texts {
            let said = self.out.contains(text) || self.err.contains(text);
            assert!(said, "nobody said \"{text}\": {self:#?}");
        }
        self
    }
}

/// Runs a victim to its end.
pub fn run(name: &str, arguments: &[&str]) -> End {
    finish(&mut command(victim(name), arguments))
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> End {
    Running::start(command).finish()
}

/// A process that runs; killed with its group when it is dropped.
pub struct Running {
    child: Child,
    what: String,
    out: Option<JoinHandle<String>>,
    err: Option<JoinHandle<String>>,
    began: Instant,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let what = format!("{command:?}");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let out = collect(child.stdout.take().expect("piped"));
        let err = collect(child.stderr.take().expect("piped"));
        Running {
            child,
            what,
            out: Some(out),
            err: Some(err),
            began: Instant::now(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: our child, which is not reaped before `finish`.
        assert_eq!(unsafe { libc::kill(self.id() as i32, signal) }, 0);
    }

    /// Waits for the end.
    pub fn finish(mut self) -> End {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            if self.began.elapsed() >= LIMIT {
                self.kill();
                let (out, err) = (self.collected_out(), self.collected_err());
                panic!("{} hung: {out}\n{err}", self.what);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        End {
            status,
            out: self.collected_out(),
            err: self.collected_err(),
        }
    }

    fn kill(&mut self) {
        // SAFETY: the group that we made for this child, which is not reaped yet.
        unsafe { libc::kill(-(self.id() as i32), libc::SIGKILL) };
        let _ = self.child.wait();
    }

    fn collected_out(&mut self) -> String {
        self.out
            .take()
            .map_or_else(String::new, |out| out.join().expect("reads"))
    }

    fn collected_err(&mut self) -> String {
        self.err
            .take()
            .map_or_else(String::new, |err| err.join().expect("reads"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The path of a tool, or `None` with a loud word on standard error.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        skipped(&format!("{name} is not installed"));
    }
    found
}

pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// An empty folder of this process that every user may use; removed by whoever made it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("corelane-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
