//! Running a victim and looking at how it ends. Whatever hangs is killed, and fails the test.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
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
    out: Stream,
    err: Stream,
    began: Instant,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let what = format!("{command:?}");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let out = Stream::of(child.stdout.take().expect("piped"));
        let err = Stream::of(child.stderr.take().expect("piped"));
        Running {
            child,
            what,
            out,
            err,
            began: Instant::now(),
        }
    }

    pub fn id(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: our child, which is not reaped before `finish`.
        assert_eq!(unsafe { libc::kill(self.id(), signal) }, 0);
    }

    pub fn write(&mut self, text: &str) {
        let pipe = self.child.stdin.as_mut().expect("piped");
        pipe.write_all(text.as_bytes()).expect("the process reads");
    }

    /// Waits until it has said `text`.
    pub fn wait_for(&mut self, text: &str) {
        while !self.out.so_far().contains(text) {
            let ended = self.child.try_wait().expect("our child").is_some();
            let (out, err) = (self.out.so_far(), self.err.so_far());
            let in_time = self.began.elapsed() < LIMIT;
            assert!(
                in_time && (!ended || out.contains(text)),
                "{}: {out}\n{err}",
                self.what
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the end.
    pub fn finish(mut self) -> End {
        drop(self.child.stdin.take());
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            if self.began.elapsed() >= LIMIT {
                self.kill();
                panic!(
                    "{} hung: {}\n{}",
                    self.what,
                    self.out.so_far(),
                    self.err.so_far()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        End {
            status,
            out: self.out.whole(),
            err: self.err.whole(),
        }
    }

    fn kill(&mut self) {
        // SAFETY: the group that we made for this child, which is not reaped yet.
        unsafe { libc::kill(-self.id(), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// What a process has said so far, read by a thread.
struct Stream {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(from: impl Read + Send + 'static) -> Stream {
        let text = Arc::new(Mutex::new(String::new()));
        let into = text.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line) + "\n";
                into.lock().expect("no panic").push_str(&line);
            }
        });
        Stream {
            text,
            reader: Some(reader),
        }
    }

    fn so_far(&self) -> String {
        self.text.lock().expect("no panic").clone()
    }

    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
        self.so_far()
    }
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

/// Runs a victim on carried fibers and in the fallback, to a good end.
pub fn survives(name: &str, arguments: &[&str]) -> [End; 2] {
    [&[][..], &["native"]].map(|fallback| {
        run(name, &[arguments, fallback].concat())
            .succeeded()
            .says(&["intact"])
    })
}

pub fn is_root() -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() == 0 }
}
