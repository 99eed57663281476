//! Where the threads of a measurement run: which CPUs, which levels, which clock.

use std::thread::{Builder, JoinHandle};

use corelane_os::cpuset::KernelCpu;
use corelane_os::thread::{self, Policy, Tid};

use super::plan::Plan;
use super::stamp::Stamp;

/// The level of the woken thread, and of the executor's worker.
pub(super) const TARGET_LEVEL: u8 = 20;
/// The level of whoever the target preempts.
pub(super) const LOWER_LEVEL: u8 = 10;
/// The level of the waker on its own CPU.
pub(super) const WAKER_LEVEL: u8 = 30;

/// The place of a measurement; both arms use the same one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    /// The CPU of the waker in scenarios with two CPUs.
    pub(super) waker_cpu: KernelCpu,
    /// The CPU where the target runs.
    pub(super) target_cpu: KernelCpu,
    /// Whether threads get SCHED_FIFO. Where they do not, both arms do without.
    pub(super) realtime: Realtime,
    pub(super) stamp: Stamp,
    pub(super) plan: Plan,
}

/// Whether the host grants the real-time class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Realtime {
    Fifo,
    Refused,
}

/// Said before and after such a run.
pub(super) const NOT_REALTIME: &str =
    "NOT REAL-TIME: SCHED_FIFO is refused, both arms run in the ordinary class (SCHED_OTHER).";

impl Realtime {
    pub(super) fn name(self) -> &'static str {
        match self {
            Realtime::Fifo => "SCHED_FIFO",
            Realtime::Refused => "SCHED_OTHER",
        }
    }
}

/// Where a thread runs and how urgently.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) name: &'static str,
    pub(super) cpu: KernelCpu,
    pub(super) level: u8,
}

/// A thread on its seat. It answers with an error when it did not get there.
pub(super) type Seated<T> = JoinHandle<Result<T, String>>;

impl Site {
    /// Starts a thread that takes its seat and then runs `body`.
    pub(super) fn start<T: Send + 'static>(
        &self,
        seat: Seat,
        body: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<Seated<T>, String> {
        let realtime = self.realtime;
        let start = Builder::new().name(seat.name.to_owned()).spawn(move || {
            take(seat, realtime)?;
            body()
        });
        start.map_err(|error| format!("the thread `{}` could not start: {error}", seat.name))
    }
}

/// The level comes first: a thread that is pinned under a real-time spinner would not get to raise
/// itself.
fn take(seat: Seat, realtime: Realtime) -> Result<(), String> {
    if realtime == Realtime::Fifo {
        let level = Policy::Fifo { level: seat.level };
        thread::set_policy(Tid(0), level)
            .map_err(|errno| format!("SCHED_FIFO was refused to `{}`: {errno}", seat.name))?;
    }
    thread::pin(seat.cpu).map_err(|error| format!("`{}`: {error}", seat.name))
}

/// Waits for a thread.
pub(super) fn finish<T>(thread: Seated<T>) -> Result<T, String> {
    thread
        .join()
        .unwrap_or_else(|_| Err("a measuring thread panicked".to_owned()))
}
