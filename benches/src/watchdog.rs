//! A process that ends the run if it does not end by itself.
//!
//! A defect in a program of real-time threads can take every CPU that it runs on, and a timer in the
//! same process would starve, too, or be part of the defect. The watchdog is a process of its own,
//! at the highest real-time level where that is granted, and asleep. It holds the read end of a
//! pipe; the kernel closes the other end when the run ends, however it ends. Each row writes its name
//! and its limit into the pipe. Only if neither the next row nor the end comes in time the watchdog
//! kills the process. It kills that process alone, not its process group: the group may hold the shell
//! script that started it.
//!
//! Raw here: one `fork`. Tested below and by each run that hangs.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use corelane_os::thread::{self, Policy, Tid};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

const LEVEL: u8 = 99;

/// The running watchdog; it leaves when this is dropped.
pub struct Watchdog {
    alive: Option<PipeWriter>,
    process: Pid,
}

impl Watchdog {
    /// Starts the watchdog, which grants the process `limit` to begin with. To be called while the
    /// process has one thread.
    ///
    /// # Errors
    /// When there is no room for a pipe or a process.
    pub fn start(limit: Duration) -> io::Result<Watchdog> {
        let (mut reader, writer) = io::pipe()?;
        let watched = getpid();
        // SAFETY: the caller has started no thread yet, so the child inherits no lock that is held.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Watchdog {
                alive: Some(writer),
                process: child,
            }),
            ForkResult::Child => {
                drop(writer);
                // Without the privilege it stays an ordinary process, as everything else then is.
                let _ = thread::set_policy(Tid(0), Policy::Fifo { level: LEVEL });
                if let Some(silence) = watch(&mut reader, limit)
                    && getppid() == watched
                {
                    end(watched, &silence);
                }
                std::process::exit(0)
            }
        }
    }

    /// From now on the process has `limit` for the row `row`.
    ///
    /// # Panics
    /// If the watchdog is gone, which then watches nobody.
    pub fn expect(&self, row: &str, limit: Duration) {
        let pipe = self.alive.as_ref().expect("open until the drop");
        announce(pipe, row, limit).expect("the watchdog is there and reads");
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.alive = None;
        // It leaves at once; waiting for it leaves no zombie behind.
        let _ = waitpid(self.process, None);
    }
}

/// What the process did not end in time.
#[derive(Debug, PartialEq, Eq)]
struct Silence {
    row: String,
    limit: Duration,
}

/// Waits until the other end of the pipe is closed, or until what was announced there last takes
/// longer than its limit.
fn watch(reader: &mut PipeReader, limit: Duration) -> Option<Silence> {
    let mut awaited = Silence {
        row: "the start".to_owned(),
        limit,
    };
    let mut since = Instant::now();
    loop {
        let left = awaited.limit.saturating_sub(since.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut ends = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ends, timeout) {
            Ok(0) if since.elapsed() >= awaited.limit => return Some(awaited),
            Ok(0) | Err(Errno::EINTR) => {}
            _ => {
                // Whatever is reported is a row, or the end.
                awaited = announced(reader)?;
                since = Instant::now();
            }
        }
    }
}

/// Writes a row and its limit; shorter than PIPE_BUF, so it arrives in one piece.
fn announce(mut pipe: &PipeWriter, row: &str, limit: Duration) -> io::Result<()> {
    pipe.write_all(format!("{row} {}\n", limit.as_millis()).as_bytes())
}

/// The last row that was written to the pipe; `None` at its end.
fn announced(reader: &mut PipeReader) -> Option<Silence> {
    let mut bytes = [0; 4096];
    let length = reader.read(&mut bytes).ok()?;
    let text = core::str::from_utf8(&bytes[..length]).ok()?;
    let (row, limit_ms) = text.lines().next_back()?.split_once(' ')?;
    Some(Silence {
        row: row.to_owned(),
        limit: Duration::from_millis(limit_ms.parse().ok()?),
    })
}

fn end(watched: Pid, silence: &Silence) {
    eprintln!(
        "\n{} did not end within {} s and is killed",
        silence.row,
        silence.limit.as_secs()
    );
    let _ = kill(watched, Signal::SIGKILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn an_end_in_time_is_seen_at_once() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        drop(writer);
        assert_eq!(watch(&mut reader, HOUR), None);
    }

    #[test]
    fn an_open_pipe_is_silence_after_the_limit() {
        let (mut reader, _writer) = io::pipe().expect("a pipe");
        let limit = Duration::from_millis(20);
        let silence = watch(&mut reader, limit).expect("nobody closed it");
        assert_eq!((silence.row.as_str(), silence.limit), ("the start", limit));
    }

    #[test]
    fn the_last_row_announced_is_the_one_that_hangs() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        announce(&writer, "first", HOUR).expect("a reader");
        announce(&writer, "second", Duration::from_millis(20)).expect("a reader");
        let silence = watch(&mut reader, HOUR).expect("the second row takes too long");
        assert_eq!(silence.row, "second");
    }
}
