//! Runs the program as a script would, under a time limit.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// What a run left behind.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Standard output as one JSON value, of a run that succeeded.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).expect("standard output is one JSON value")
    }
}

/// Runs the program to its end.
pub(crate) fn corelane(arguments: &[&str]) -> Run {
    let mut child = start(arguments);
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));
    let code = code(&mut child, arguments);
    let text = |thread: JoinHandle<String>| thread.join().expect("the output is text");
    Run {
        code,
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// Starts the program with both outputs piped.
pub(crate) fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// The exit code, once it has ended; past the limit it is killed and the test fails.
pub(crate) fn code(child: &mut Child, arguments: &[&str]) -> Option<i32> {
    let give_up = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return status.code();
        }
        if Instant::now() >= give_up {
            let _ = child.kill();
            panic!(
                "`corelane {}` did not end within {LIMIT:?}",
                arguments.join(" ")
            );
        }
        sleep(Duration::from_millis(5));
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("the output is text");
        text
    })
}
