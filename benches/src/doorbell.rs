//! A word that a waker changes and a woken waits for: polling, or asleep in the kernel.
//!
//! It is the smallest wake that there is on either side of the kernel, and so the peer of the
//! executor's wakes: a cache line on its way, or a futex.

use core::sync::atomic::{AtomicU32, Ordering::*};

use corelane_os::futex;

/// The word, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Doorbell {
    rings: AtomicU32,
}

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
