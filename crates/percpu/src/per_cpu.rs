//! One `T` per CPU slot.
//!
//! The container is plain safe Rust: a boxed slice of padded values. That is the point. Everything
//! a per-CPU variable may do while shared goes through `&T`, so `Send` and `Sync` come out right by
//! themselves and sharing needs `T: Sync`.
//!
//! A `Cell` has no place in it, because two threads of one CPU may be in the middle of the same
//! slot:
//!
//! ```compile_fail,E0277
//! use core::cell::Cell;
//! use corelane_percpu::PerCpu;
//!
//! let hits = PerCpu::new(2, |_| Cell::new(0_u32));
//! std::thread::scope(|scope| {
//!     scope.spawn(|| hits.get_on(0).set(1)); // error: `Cell` is not `Sync`
//! });
//! ```

use alloc::boxed::Box;

use crate::{CachePadded, PinCurrentCpu};

/// One `T` for each slot `0..slots()`, each on cache lines of its own.
///
/// Slots are never added or removed, so a `&T` stays valid when the CPU behind it goes offline.
#[derive(Debug)]
pub struct PerCpu<T> {
    slots: Box<[CachePadded<T>]>,
}

impl<T> PerCpu<T> {
    /// Makes `slots` values, `f(0)` first. This is the only call that allocates.
    ///
    /// # Panics
    /// If `slots` is zero: there is no slot that a caller could ever be on.
    #[track_caller]
    pub fn new(slots: usize, mut f: impl FnMut(usize) -> T) -> Self {
        assert!(slots > 0, "a PerCpu needs at least one slot");
        Self {
            slots: (0..slots).map(|slot| CachePadded::new(f(slot))).collect(),
        }
    }

    /// The value near the caller. The borrow ends with the pin: a reference that outlived it would
    /// be somebody else's slot.
    ///
    /// ```compile_fail,E0505
    /// use corelane_percpu::{PerCpu, PinCurrentCpu};
    ///
    /// fn read(data: &PerCpu<u64>, pin: impl PinCurrentCpu) -> u64 {
    ///     let near = data.get(&pin);
    ///     drop(pin);
    ///     *near // too late: the caller may be elsewhere by now
    /// }
    /// ```
    ///
    /// # Panics
    /// If the pin names a slot that this value does not have, as a pin of a larger runtime would.
    #[track_caller]
    pub fn get<'a>(&'a self, pin: &'a (impl PinCurrentCpu + ?Sized)) -> &'a T {
        self.get_on(pin.slot())
    }

    /// The value of any slot, for readers from elsewhere. It is an ordinary shared reference; only
    /// the cache line is far away.
    ///
    /// # Panics
    /// If `slot >= self.slots()`.
    #[track_caller]
    pub fn get_on(&self, slot: usize) -> &T {
        match self.slots.get(slot) {
            Some(value) => value,
            None => no_such_slot(slot, self.slots()),
        }
    }

    /// Every slot with its index, in order. Other CPUs go on writing meanwhile, so a sum over it is
    /// not a snapshot.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (usize, &T)> {
        self.slots
            .iter()
            .enumerate()
            .map(|(slot, value)| (slot, &**value))
    }

    /// Every slot with its index, exclusively.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (usize, &mut T)> {
        self.slots
            .iter_mut()
            .enumerate()
            .map(|(slot, value)| (slot, &mut **value))
    }

    /// All slots at once, exclusively.
    pub fn get_mut_all(&mut self) -> &mut [CachePadded<T>] {
        &mut self.slots
    }

    /// How many slots there are; at least one.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }
}

#[cold]
#[track_caller]
fn no_such_slot(slot: usize, slots: usize) -> ! {
    panic!("CPU slot {slot} does not exist: this PerCpu was made for {slots} slot(s)");
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::vec::Vec;

    use super::PerCpu;
    use crate::PinCurrentCpu;
    use crate::pin::TestPin as Pin;

    #[test]
    fn each_slot_is_made_once_and_in_order() {
        let mut made = Vec::new();
        let data = PerCpu::new(3, |slot| {
            made.push(slot);
            slot * 10
        });
        assert_eq!(made, [0, 1, 2]);
        assert_eq!(data.slots(), 3);
        assert_eq!(
            data.iter().collect::<Vec<_>>(),
            [(0, &0), (1, &10), (2, &20)]
        );
    }

    #[test]
    fn a_pin_reaches_the_slot_it_names() {
        let data = PerCpu::new(4, |slot| slot);
        let pin: &dyn PinCurrentCpu = &Pin(2);
        assert_eq!(data.get(pin), data.get_on(2));
        assert_eq!(*data.get(&Pin(3)), 3);
    }

    #[test]
    fn exclusive_ownership_gives_mutable_slots() {
        let mut data = PerCpu::new(3, |_| 0);
        data.iter_mut().for_each(|(slot, value)| *value = slot);
        *data.get_mut_all()[0] = 7;
        assert_eq!(
            data.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
            [7, 1, 2]
        );
    }

    #[test]
    fn neighbouring_slots_share_no_cache_line() {
        let data = PerCpu::new(2, |_| 0_u8);
        let address = |slot| core::ptr::from_ref(data.get_on(slot)).addr();
        assert_eq!(address(1) - address(0), 128);
    }

    #[test]
    #[should_panic(expected = "CPU slot 2 does not exist: this PerCpu was made for 2 slot(s)")]
    fn a_pin_of_a_larger_runtime_panics_with_both_numbers() {
        PerCpu::new(2, |slot| slot).get(&Pin(2));
    }

    #[test]
    #[should_panic(expected = "a PerCpu needs at least one slot")]
    fn no_slots_at_all_is_refused() {
        PerCpu::new(0, |slot| slot);
    }

    #[test]
    fn two_threads_that_claim_the_same_slot_corrupt_nothing() {
        let data = PerCpu::new(1, |_| Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..1_000).for_each(|n| data.get(&Pin(0)).lock().unwrap().push(n)));
            }
        });
        assert_eq!(data.get_on(0).lock().unwrap().len(), 2_000);
    }
}
