//! What a worker does when it has nothing to run: spin, then sleep, never on work.
//!
//! A sleeping CPU costs its waker a system call and an interrupt; a spinning one costs everybody else the
//! CPU. So a worker spins for a set time, polling its slot, its inbox, its request flag and its next
//! timer, then sleeps on its idle word until that timer. With background work waiting on its CPU it does
//! not spin at all. The handshake is `sched/idle.md`.
//!
//! The kernel wakes sleepers late by some tens of microseconds. A worker therefore sleeps short of its next
//! timer and spins the rest; how short is measured while it runs ([`Margin`]).

use crate::primitives::atomic::Ordering::Relaxed;

use crate::primitives::futex;
use corelane_os::clock;
use corelane_sched::{IdleWord, Place};

use crate::config::Idle;
use crate::cpu::Cpu;
use crate::task_body::Task;
use crate::worker::Worker;

/// How a worker idles, with what it has learnt of its host.
pub(crate) struct IdlePolicy {
    spin_ns: u64,
    margin: Margin,
}

impl IdlePolicy {
    pub(crate) fn new(idle: Idle) -> IdlePolicy {
        let spin_ns = match idle {
            Idle::Spin => u64::MAX,
            Idle::SpinThenPark { spin_ns } => spin_ns,
            Idle::Park => 0,
        };
        IdlePolicy {
            spin_ns,
            margin: Margin::new(),
        }
    }
}

/// How long before a deadline the worker wakes up: a little more than the kernel is usually late.
struct Margin {
    ns: u64,
}

const MARGIN_MIN_NS: u64 = 5_000;
const MARGIN_MAX_NS: u64 = 100_000;
const MARGIN_START_NS: u64 = 60_000;

impl Margin {
    fn new() -> Margin {
        Margin {
            ns: MARGIN_START_NS,
        }
    }

    /// A sleep ended `late_ns` after it should have: rise at once, sink slowly.
    fn learn(&mut self, late_ns: u64) {
        let wanted = late_ns.saturating_add(late_ns / 4);
        let next = if wanted > self.ns {
            wanted
        } else {
            self.ns - (self.ns - wanted) / 32
        };
        self.ns = next.clamp(MARGIN_MIN_NS, MARGIN_MAX_NS);
    }
}

/// How many polls go by between two looks at the clock.
const POLLS_PER_LOOK: u32 = 32;

impl Worker<'_> {
    /// Returns when there may be something to do; a task that came into the slot is handed over.
    pub(crate) fn idle(&mut self) -> Option<(Task, Place)> {
        let spin_until_ns = clock::now_ns().saturating_add(self.idle.spin_ns);
        if self.shared.background.wants(self.cpu.id) {
            self.park();
            return None;
        }
        // Relaxed: native parts are set out by this worker; one that comes back kicks.
        if self.cpu.natives.load(Relaxed) == 0 {
            self.cpu.slot.open();
        }
        let came = self.spin(spin_until_ns);
        let arrived = self.cpu.slot.close();
        if !came && arrived.is_none() {
            self.park();
        }
        arrived
    }

    /// Polls until `until_ns`, or on to a timer that is near; says whether something came.
    fn spin(&self, until_ns: u64) -> bool {
        loop {
            for _ in 0..POLLS_PER_LOOK {
                if self.cpu.slot.has_arrived() || self.has_news() {
                    return true;
                }
                crate::primitives::hint::spin_loop();
            }
            let (now_ns, deadline_ns) = (clock::now_ns(), next_deadline_ns(self.cpu));
            if now_ns >= deadline_ns {
                return true;
            }
            let timer_is_near = deadline_ns <= now_ns.saturating_add(self.idle.margin.ns);
            let is_over = now_ns >= until_ns && !timer_is_near;
            if is_over || self.shared.background.wants(self.cpu.id) {
                return false;
            }
        }
    }

    fn has_news(&self) -> bool {
        // Relaxed: the pass that follows acquires; before a sleep `announce` has fenced.
        self.cpu.need_resched.load(Relaxed)
            || !self.cpu.inbox.is_empty()
            || self.shared.is_stopping()
    }

    /// Sleeps until a kick or shortly before the next timer.
    fn park(&mut self) {
        self.cpu.idle.announce();
        if crate::primitives::sabotaged!(SleepUnlooking) || !self.has_news() {
            self.sleep();
        }
        self.cpu.idle.awake();
    }

    fn sleep(&mut self) {
        let deadline_ns = next_deadline_ns(self.cpu);
        let alarm_ns =
            (deadline_ns != u64::MAX).then(|| deadline_ns.saturating_sub(self.idle.margin.ns));
        let asleep_ns = clock::now_ns();
        self.cpu.stats.parks.add_own();
        let woken = futex::wait(self.cpu.idle.word(), IdleWord::PARKED, alarm_ns);
        if let (futex::Wait::TimedOut, Some(alarm_ns)) = (woken, alarm_ns)
            && alarm_ns > asleep_ns
        {
            self.idle
                .margin
                .learn(clock::now_ns().saturating_sub(alarm_ns));
        }
    }
}

fn next_deadline_ns(cpu: &Cpu) -> u64 {
    cpu.next_deadline_ns.load(Relaxed) // Relaxed: written by this worker.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_rises_at_once_sinks_slowly_and_stays_in_bounds() {
        let mut margin = Margin::new();
        margin.learn(80_000);
        assert_eq!(margin.ns, 100_000);
        margin.learn(0);
        assert!((96_000..100_000).contains(&margin.ns));
        margin.learn(u64::MAX / 8);
        assert_eq!(margin.ns, MARGIN_MAX_NS);
        (0..2_000).for_each(|_| margin.learn(0));
        assert!(margin.ns < 2 * MARGIN_MIN_NS);
    }
}
