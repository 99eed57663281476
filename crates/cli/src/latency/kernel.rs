//! The kernel arm: the same scenarios with plain threads of the real-time class.
//!
//! Each block starts its threads and ends them, so that nothing of this arm exists during a block
//! of the other. A target waits in a futex, as any condition variable of a C or Rust program does.

use core::sync::atomic::{AtomicU32, Ordering::*};
use std::sync::Arc;
use std::time::Duration;

use corelane_os::{clock, futex};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

use super::arm::Arm;
use super::exchange::Exchange;
use super::release::{self, SleepUntil};
use super::scenario::Scenario;
use super::site::{LOWER_LEVEL, Seat, Seated, Site, TARGET_LEVEL, WAKER_LEVEL, finish};
use super::victim;
use super::waker::{Wake, Waker};

/// The kernel's side of one scenario.
pub(super) struct Kernel {
    pub(super) site: Site,
    pub(super) scenario: Scenario,
}

impl Arm for Kernel {
    fn block(&mut self, length: Duration) -> Result<Vec<u64>, String> {
        match self.scenario {
            Scenario::Periodic => self.periodic(length),
            _ => self.wakes(length),
        }
    }
}

impl Kernel {
    fn wakes(&self, length: Duration) -> Result<Vec<u64>, String> {
        let pair = Arc::new(Pair::default());
        let target = self.target(&pair)?;
        let victim = (self.scenario == Scenario::WakeBusy).then(|| self.victim(&pair, length));
        let waker = self.waker(&pair, length);
        let samples_ns = waker.and_then(finish);
        // Whatever happened, the others must see the end.
        pair.exchange.end();
        pair.wake();
        let ended = victim.map(|victim| victim.and_then(finish)).transpose();
        finish(target)?;
        ended?;
        samples_ns
    }

    fn target(&self, pair: &Arc<Pair>) -> Result<Seated<()>, String> {
        let (pair, stamp) = (pair.clone(), self.site.stamp);
        let seat = Seat {
            name: "kernel-target",
            cpu: self.site.target_cpu,
            level: TARGET_LEVEL,
        };
        self.site.start(seat, move || {
            pair.serve(stamp);
            Ok(())
        })
    }

    fn victim(&self, pair: &Arc<Pair>, length: Duration) -> Result<Seated<()>, String> {
        let (pair, stamp) = (pair.clone(), self.site.stamp);
        let seat = Seat {
            name: "kernel-victim",
            cpu: self.site.target_cpu,
            level: LOWER_LEVEL,
        };
        self.site.start(seat, move || {
            victim::compute(stamp, &pair.exchange, length, || ());
            Ok(())
        })
    }

    fn waker(&self, pair: &Arc<Pair>, length: Duration) -> Result<Seated<Vec<u64>>, String> {
        let site = self.site;
        let pair = pair.clone();
        let seat = match self.scenario {
            Scenario::WakeLocal => Seat {
                name: "kernel-waker",
                cpu: site.target_cpu,
                level: LOWER_LEVEL,
            },
            _ => Seat {
                name: "kernel-waker",
                cpu: site.waker_cpu,
                level: WAKER_LEVEL,
            },
        };
        site.start(seat, move || {
            let exchange = &pair.exchange;
            let waker = Waker {
                stamp: site.stamp,
                plan: &site.plan,
                exchange,
            };
            waker.run(length, &*pair)
        })
    }

    fn periodic(&self, length: Duration) -> Result<Vec<u64>, String> {
        let seat = Seat {
            name: "kernel-timer",
            cpu: self.site.target_cpu,
            level: TARGET_LEVEL,
        };
        let timer = self
            .site
            .start(seat, move || Ok(release::errors_ns(length, &Nanosleep)))?;
        finish(timer)
    }
}

/// A thread that waits in a futex, and its waker.
#[derive(Default)]
struct Pair {
    word: AtomicU32,
    exchange: Exchange,
}

impl Pair {
    /// The woken side, until the block is over.
    fn serve(&self, stamp: super::stamp::Stamp) {
        let mut seen = self.word.load(Relaxed); // Relaxed: nobody wakes before we are ready.
        self.exchange.get_ready();
        loop {
            // Whether it slept, was interrupted or came late: the word decides.
            let _ = futex::wait(&self.word, seen, None);
            let woken_at = stamp.now();
            // Acquire: pairs with the Release in `wake`, which the asking precedes.
            let word = self.word.load(Acquire);
            if word == seen {
                continue;
            }
            seen = word;
            if self.exchange.is_over() {
                return;
            }
            self.exchange.answer(woken_at);
        }
    }
}

impl Wake for Pair {
    #[inline]
    fn wake(&self) {
        // Release: pairs with the Acquire in `serve`; a target that is not asleep yet sees the change.
        self.word.fetch_add(1, Release);
        futex::wake(&self.word, 1);
    }
}

impl SleepUntil for Pair {
    fn sleep_until(&self, at_ns: u64) {
        nanosleep_until(at_ns);
    }
}

/// Releases by `clock_nanosleep`.
struct Nanosleep;

impl SleepUntil for Nanosleep {
    fn sleep_until(&self, at_ns: u64) {
        nanosleep_until(at_ns);
    }
}

/// Sleeps until an absolute time, also across signals.
pub(super) fn nanosleep_until(at_ns: u64) {
    let at = TimeSpec::from_duration(Duration::from_nanos(at_ns));
    let flags = ClockNanosleepFlags::TIMER_ABSTIME;
    while clock::now_ns() < at_ns {
        match clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &at) {
            Ok(_) => return,
            Err(errno) => assert_eq!(errno, Errno::EINTR, "the clock and the time are valid"),
        }
    }
}
