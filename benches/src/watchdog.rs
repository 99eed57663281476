//! A process that ends the run if it does not end by itself.
//!
//! A defect in a program of real-time threads can take every CPU that it runs on, and a timer in the
//! same process would starve, too, or be part of the defect. The watchdog is a process of its own,
//! at the highest real-time level where that is granted, and asleep. It holds the read end of a
//! pipe; the kernel closes the other end when the run ends, however it ends. Only if that
//! does not happen in time the watchdog kills the process. It kills that process alone, not its
//! process group: the group may hold the shell script that started it.
//!
//! Raw here: one `fork`. Tested below and by each run that hangs.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::time::Duration;

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
    /// Starts the watchdog. To be called while the process has one thread.
    ///
    /// # Errors
    /// When there is no room for a pipe or a process.
    pub fn start(limit: Duration) -> io::Result<Watchdog> {
        let (reader, writer) = io::pipe()?;
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
                if watch(&reader, limit) == Seen::Silence && getppid() == watched {
                    end(watched, limit);
                }
                std::process::exit(0)
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.alive = None;
        // It leaves at once; waiting for it leaves no zombie behind.
        let _ = waitpid(self.process, None);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The other end was closed.
    End,
    /// It is still open.
    Silence,
}

/// Waits until the other end of the pipe is closed, but not longer than `limit`.
fn watch(reader: &PipeReader, limit: Duration) -> Seen {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut ends = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut ends, timeout) {
            Ok(0) => return Seen::Silence,
            Err(Errno::EINTR) => {}
            // Nobody writes to the pipe, so whatever is reported is its end.
            _ => return Seen::End,
        }
    }
}

fn end(watched: Pid, limit: Duration) {
    eprintln!(
        "\nthe run did not end within {} s and is killed",
        limit.as_secs()
    );
    let _ = kill(watched, Signal::SIGKILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_in_time_is_seen_at_once() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(writer);
        assert_eq!(watch(&reader, Duration::from_secs(60)), Seen::End);
    }

    #[test]
    fn an_open_pipe_is_silence_after_the_limit() {
        let (reader, writer) = io::pipe().expect("a pipe");
        assert_eq!(watch(&reader, Duration::from_millis(20)), Seen::Silence);
        drop(writer);
    }
}
