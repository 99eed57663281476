//! A kernel thread on one CPU at one level, for the arms of the peers.
//!
//! The level is set before the pin: an ordinary thread that is pinned under a real-time one would
//! not get to raise itself. Unlike the runtime's threads a seat does *not* reset its policy on fork:
//! a thread that the peer starts is real-time, too, and no slower for being ordinary.
//!
//! Raw here: one libc call that sets the caller's policy. Tested below.

use core::fmt;
use std::sync::{Arc, Barrier};
use std::thread::{Builder, JoinHandle};

use corelane_os::clock;
use corelane_os::cpuset::KernelCpu;
use corelane_os::thread::{self, PinError};
use nix::errno::Errno;

use crate::{Block, involuntary_switches};

/// Where a thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its CPU.
    pub cpu: KernelCpu,
    /// Its SCHED_FIFO level; an ordinary thread without one.
    pub level: Option<u8>,
}

/// Why a thread did not get its seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeatError {
    /// The level was refused.
    Level {
        /// What was asked for.
        level: u8,
        /// EPERM without the privilege.
        errno: Errno,
    },
    /// The pin does not hold.
    Pin(PinError),
}

impl fmt::Display for SeatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SeatError::Level { level, errno } => write!(
                f,
                "SCHED_FIFO {level} was refused ({errno}); grant CAP_SYS_NICE or raise RLIMIT_RTPRIO"
            ),
            SeatError::Pin(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SeatError {}

impl Seat {
    /// Puts the calling kernel thread on the seat.
    ///
    /// # Errors
    /// If the host refuses the level or the pin.
    pub fn take(self) -> Result<(), SeatError> {
        if let Some(level) = self.level {
            set_fifo(level).map_err(|errno| SeatError::Level { level, errno })?;
        }
        thread::pin(self.cpu).map_err(SeatError::Pin)
    }

    /// Starts a thread that takes the seat and runs `body`.
    ///
    /// # Panics
    /// If no thread can be started; the new thread panics if it does not get its seat.
    pub fn start<T: Send + 'static>(
        self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let seated = move || {
            self.take().unwrap_or_else(|error| panic!("{error}"));
            body()
        };
        Builder::new()
            .name("seat".into())
            .spawn(seated)
            .expect("a thread can be started")
    }

    /// Runs `body` on a new thread on the seat and returns its result.
    ///
    /// # Panics
    /// As [`Seat::start`], and if `body` does.
    pub fn run<T: Send + 'static>(self, body: impl FnOnce() -> T + Send + 'static) -> T {
        self.start(body).join().expect("a seated thread returns")
    }
}

/// Runs `body` on two new threads on their seats, 0 and 1, which begin when both are seated.
///
/// A thread that was started while another spins at a real-time level may begin its life on that CPU,
/// as an ordinary thread, and wait there until the kernel's fair server has mercy.
///
/// # Panics
/// As [`Seat::start`], and if `body` does.
pub fn run_both<T: Send + 'static>(
    seats: [Seat; 2],
    body: impl Fn(usize) -> T + Send + Sync + 'static,
) -> [T; 2] {
    let (both_seated, body) = (Arc::new(Barrier::new(2)), Arc::new(body));
    let start = |one: usize| {
        let (both_seated, body) = (both_seated.clone(), body.clone());
        seats[one].start(move || {
            both_seated.wait();
            body(one)
        })
    };
    [start(0), start(1)].map(|thread| thread.join().expect("a seated thread returns"))
}

/// The block of `2 * each` operations, half of them on each of two seats, between the first start and the
/// last end.
///
/// # Panics
/// As [`run_both`], and if there was no operation.
pub fn time_both(
    seats: [Seat; 2],
    each: u64,
    body: impl Fn(usize) + Send + Sync + 'static,
) -> Block {
    let [one, other] = run_both(seats, move |one| {
        let (start_ns, before) = (clock::now_ns(), involuntary_switches());
        body(one);
        let end_ns = clock::now_ns();
        (start_ns, end_ns, involuntary_switches() - before)
    });
    let length_ns = one.1.max(other.1) - one.0.min(other.0);
    Block::of_throughput(2 * each, length_ns, one.2 + other.2)
}

fn set_fifo(level: u8) -> Result<(), Errno> {
    let parameter = libc::sched_param {
        sched_priority: i32::from(level),
    };
    // SAFETY: the kernel reads one sched_param, which lives in this frame.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameter) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use corelane_os::thread::{Policy, Tid};

    #[test]
    fn a_seat_is_taken_or_refused_with_a_remedy() {
        let cpu = thread::affinity(Tid(0)).unwrap().first().unwrap();
        let taken = std::thread::spawn(move || {
            let answer = Seat {
                cpu,
                level: Some(2),
            }
            .take();
            (answer, thread::policy(Tid(0)), thread::current_cpu())
        });
        match taken.join().unwrap() {
            (Ok(()), policy, found) => {
                assert_eq!((policy, found), (Ok(Policy::Fifo { level: 2 }), cpu));
            }
            (Err(error), policy, _) => {
                assert!(error.to_string().contains("RLIMIT_RTPRIO"), "{error}");
                assert_eq!(policy, Ok(Policy::Other));
            }
        }
    }

    #[test]
    fn both_run_their_part() {
        let cpu = thread::affinity(Tid(0)).unwrap().first().unwrap();
        let sum = Arc::new(AtomicUsize::new(0));
        let both = [Seat { cpu, level: None }; 2];
        let block = time_both(both, 5, {
            let sum = sum.clone();
            move |one| {
                sum.fetch_add(one + 1, Relaxed);
            }
        });
        assert_eq!(sum.load(Relaxed), 3);
        assert_eq!(block.costs, [block.length_ns as f64 / 10.0]);
    }

    #[test]
    fn an_ordinary_seat_needs_no_privilege() {
        let cpu = thread::affinity(Tid(0)).unwrap().first().unwrap();
        assert_eq!(Seat { cpu, level: None }.run(thread::current_cpu), cpu);
    }
}
