//! A word that a waker changes and a woken waits for: polling, or asleep in the kernel.
//!
//! It is the smallest wake that there is on either side of the kernel, and so the peer of the
//! executor's wakes: a cache line on its way, or a futex.
//!
//! A wake that may come from anybody needs two lines: one on which wakers agree who wakes the sleeper, which
//! the sleeper wrote last, and one that its CPU polls. That is the floor of every wake between CPUs that is
//! not bound to a single waker ([`Doorbell::ring_claimed`]).

use core::sync::atomic::{AtomicU32, Ordering::*};

use corelane_os::futex;

/// The word, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Doorbell {
    rings: AtomicU32,
    sleeper: Sleeper,
}

/// Whether the woken sleeps, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sleeper {
    state: AtomicU32,
}

const RUNS: u32 = 0;
const SLEEPS: u32 = 1;

impl Doorbell {
    /// Rings for a woken that polls: one store.
    #[inline]
    pub fn ring(&self) {
        // Only the waker writes. Release: pairs with `poll` and `sleep`.
        self.rings
            .store(self.rings.load(Relaxed).wrapping_add(1), Release);
    }

    /// Rings for a woken that sleeps: the store, then the futex.
    #[inline]
    pub fn ring_asleep(&self) {
        self.ring();
        futex::wake(&self.rings, 1);
    }

    /// Rings for a woken that polls, after agreeing with other wakers that it is us who wake it.
    #[inline]
    pub fn ring_claimed(&self) {
        // AcqRel: the winner of several wakers acquires what the sleeper did, as any claim does.
        if self.sleeper.state.swap(RUNS, AcqRel) == SLEEPS {
            self.rings.fetch_add(1, AcqRel); // AcqRel: pairs with `poll`; a slot is exchanged, too.
        }
    }

    /// Says that it sleeps, polls until the count of rings is not `seen`, says that it runs, and returns it.
    #[inline]
    pub fn poll_claimed(&self, seen: u32) -> u32 {
        self.sleeper.state.swap(SLEEPS, AcqRel); // AcqRel: pairs with `ring_claimed`.
        let rings = self.poll(seen);
        self.sleeper.state.store(RUNS, Relaxed); // Relaxed: the dispatch of a task, a plain store.
        rings
    }

    /// Polls until the count of rings is not `seen`, and returns it.
    #[inline]
    pub fn poll(&self, seen: u32) -> u32 {
        loop {
            // Acquire: pairs with `ring`; a missed ring is read in the next turn.
            match self.rings.load(Acquire) {
                rings if rings != seen => return rings,
                _ => core::hint::spin_loop(),
            }
        }
    }

    /// Sleeps until the count of rings is not `seen`, and returns it.
    #[inline]
    pub fn sleep(&self, seen: u32) -> u32 {
        loop {
            // Whether it slept, came late or was interrupted: the count decides.
            let _ = futex::wait(&self.rings, seen, None);
            // Acquire: pairs with `ring`.
            match self.rings.load(Acquire) {
                rings if rings != seen => return rings,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_missed() {
        let doorbell = Doorbell::default();
        doorbell.ring();
        assert_eq!(doorbell.sleep(0), 1);
        doorbell.ring_asleep();
        assert_eq!(doorbell.poll(1), 2);
    }

    #[test]
    fn only_a_sleeper_is_claimed_and_only_once() {
        let doorbell = Doorbell::default();
        doorbell.ring_claimed();
        assert_eq!(doorbell.rings.load(Relaxed), 0, "nobody sleeps");
        doorbell.sleeper.state.store(SLEEPS, Relaxed);
        doorbell.ring_claimed();
        doorbell.ring_claimed();
        assert_eq!(doorbell.rings.load(Relaxed), 1);
        assert_eq!(doorbell.poll_claimed(0), 1);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let doorbell = Doorbell::default();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| doorbell.sleep(0));
            std::thread::sleep(std::time::Duration::from_millis(5));
            doorbell.ring_asleep();
            assert_eq!(sleeper.join().unwrap(), 1);
        });
    }
}
