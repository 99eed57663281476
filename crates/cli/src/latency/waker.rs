//! The waker: one loop for both arms, so that they differ in the wake alone.
//!
//! It sleeps until shortly before the next wake is due, computes for the rest, which is of random
//! length, and wakes. The random part keeps the wakes out of step with the timer tick; computing
//! before the wake gives both arms a CPU that is awake and warm.

use std::time::Duration;

use corelane_os::clock;

use super::exchange::Exchange;
use super::plan::Plan;
use super::release::SleepUntil;
use super::stamp::Stamp;

/// How a scenario wakes its target, and how its waker sleeps.
pub(super) trait Wake: SleepUntil {
    /// Wakes the target.
    fn wake(&self);
}

/// The longest random part before a wake.
const PHASE_MAX_NS: u64 = 50_000;

/// The first wakes of a block find cold caches and an unused stack; they do not count.
const WARM_UP: usize = 1;

/// A wake without an answer for so long is lost: something is broken, not slow.
const LOST_AFTER_NS: u64 = 2_000_000_000;
const LOOK_EVERY_NS: u64 = 1_000_000;

/// Wakes a target at the pace of a plan.
pub(super) struct Waker<'a> {
    pub(super) stamp: Stamp,
    pub(super) plan: &'a Plan,
    pub(super) exchange: &'a Exchange,
}

impl Waker<'_> {
    /// Wakes for `length`, ends the exchange and returns the latencies in nanoseconds.
    ///
    /// # Errors
    /// When the target never got ready, or a wake got lost.
    pub(super) fn run(&self, length: Duration, wake: &impl Wake) -> Result<Vec<u64>, String> {
        let samples_ns = self.wakes(length, wake);
        // Here rather than in the thread that collects: that one may have to wait for a CPU on which a
        // victim computes.
        self.exchange.end();
        samples_ns
    }

    fn wakes(&self, length: Duration, wake: &impl Wake) -> Result<Vec<u64>, String> {
        let interval_ns = self.plan.interval.as_nanos() as u64;
        let phase_ns = PHASE_MAX_NS.min(interval_ns / 4);
        self.until(wake, || self.exchange.is_ready().then_some(()))
            .ok_or("the woken side did not get ready within two seconds")?;
        let mut due_ns = clock::now_ns() + interval_ns;
        let end_ns = clock::now_ns() + length.as_nanos() as u64;
        let mut random = Random::new(end_ns);
        let mut samples_ns =
            Vec::with_capacity((length.as_nanos() as u64 / interval_ns) as usize + 1);
        while due_ns <= end_ns {
            wake.sleep_until(due_ns - phase_ns);
            self.stamp.spin(random.below(phase_ns));
            let asked_at = self.ask(wake);
            due_ns = (due_ns + interval_ns).max(clock::now_ns() + interval_ns / 2);
            wake.sleep_until(due_ns - phase_ns);
            let answered_at = self.until(wake, || self.exchange.take());
            let answered_at = answered_at.ok_or("a wake was not answered within two seconds")?;
            samples_ns.push(self.stamp.between_ns(asked_at, answered_at));
        }
        samples_ns.drain(..WARM_UP.min(samples_ns.len()));
        Ok(samples_ns)
    }

    #[inline(always)]
    fn ask(&self, wake: &impl Wake) -> u64 {
        self.exchange.ask();
        let asked_at = self.stamp.now();
        wake.wake();
        asked_at
    }

    /// Looks for something until it is there, asleep in between.
    fn until<T>(&self, wake: &impl Wake, look: impl Fn() -> Option<T>) -> Option<T> {
        let give_up_ns = clock::now_ns() + LOST_AFTER_NS;
        loop {
            match look() {
                Some(found) => return Some(found),
                None if clock::now_ns() >= give_up_ns => return None,
                None => wake.sleep_until(clock::now_ns() + LOOK_EVERY_NS),
            }
        }
    }
}

/// A small random sequence (xorshift); good enough to get out of step.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// A number below `bound`; 0 when the bound is 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}
