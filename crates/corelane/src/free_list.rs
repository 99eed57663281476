//! A lock-free stack of things that live for ever: what is idle, for whoever needs one.
//!
//! Workers and ordinary threads share it. With a mutex, an ordinary thread that is preempted while it holds
//! the lock keeps workers waiting, and those may hold their runqueue locks. Here a thread that is stopped
//! in the middle of anything keeps nobody waiting: a push or a pop is one exchange on the head, tried again
//! only when another thread has succeeded.
//!
//! The head packs the address of the top node with a count of pushes. A node that is popped and pushed
//! again, while a pop has read its successor, has another count (*ABA*). The count has 22 bits: a pop
//! would have to be stopped for exactly a multiple of four million pushes, the last of that very node.
//!
//! The protocol is on [the page beside this crate](../free_list.md).
//!
//! # Unsafe
//! What is raw: nodes are found by their address. A node is freed only by [`free`], whose caller knows that
//! no pop is under way ([`FreeList::is_quiet`]). Shown by the tests below and `tests/lifecycle.rs`.

use crate::primitives::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use core::ptr;

/// The item comes first, so that its address is the node's.
#[repr(C, align(64))]
struct Node<T> {
    item: T,
    /// The address of the node below; 0 at the bottom.
    below: AtomicU64,
}

pub(crate) struct FreeList<T: 'static> {
    head: AtomicU64,
    /// Never less than what is in the list.
    len: AtomicUsize,
    pops: AtomicUsize,
    items: core::marker::PhantomData<&'static T>,
}

/// 64-byte alignment leaves 6 bits at the bottom, 48-bit addresses leave 16 at the top.
const LOW_BITS: u32 = 6;
const ADDRESS_BITS: u32 = 48;
const ADDRESS: u64 = (1 << ADDRESS_BITS) - (1 << LOW_BITS);

/// Makes an item that lists can hold.
///
/// # Panics
/// If the host gives out addresses of more than 48 bits, which Linux does only on request.
pub(crate) fn leak<T>(item: T) -> &'static T {
    let below = AtomicU64::new(0);
    let node = Box::into_raw(Box::new(Node { item, below }));
    let address = node.expose_provenance() as u64;
    assert_eq!(address & !ADDRESS, 0, "an address fits the head of a list");
    // SAFETY: just made, and freed by `free` only.
    unsafe { &(*node).item }
}

/// Frees an item.
///
/// # Safety
/// It was made by [`leak`], nobody uses it any more, and no pop that may have seen it is under way.
pub(crate) unsafe fn free<T>(item: &'static T) {
    let address = ptr::from_ref(item).addr();
    // SAFETY: the node's address, exposed by `leak`; the caller says that it is the last to use it.
    drop(unsafe { Box::from_raw(ptr::with_exposed_provenance_mut::<Node<T>>(address)) });
}

impl<T: 'static> FreeList<T> {
    pub(crate) fn new() -> FreeList<T> {
        FreeList {
            head: AtomicU64::new(0),
            len: AtomicUsize::new(0),
            pops: AtomicUsize::new(0),
            items: core::marker::PhantomData,
        }
    }

    /// How many there are, or were a moment ago.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Relaxed) // Relaxed: advice.
    }

    /// Puts an item in.
    ///
    /// # Safety
    /// It was made by [`leak`], belongs to the caller and is in no list.
    pub(crate) unsafe fn push(&self, item: &'static T) {
        let address = ptr::from_ref(item).addr() as u64;
        self.len.fetch_add(1, Relaxed); // Relaxed: a count; before the push, so that it never falls below 0.
        let mut seen = self.head.load(Relaxed); // Relaxed: the exchange checks it.
        loop {
            node::<T>(address).below.store(seen & ADDRESS, Relaxed); // Relaxed: published by the exchange.
            let head = address | count(next_count(seen));
            // Release: pairs with the loads in `pop`, which then see the item and `below`. Lost: again.
            match self
                .head
                .compare_exchange_weak(seen, head, Release, Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the item that was put in last.
    pub(crate) fn pop(&self) -> Option<&'static T> {
        // SeqCst, as the load: pairs with `is_quiet`; either that sees this pop, or this pop an empty list.
        self.pops.fetch_add(1, SeqCst);
        let popped = self.pop_counted();
        self.pops.fetch_sub(1, SeqCst); // SeqCst: as above; the node has been left.
        popped
    }

    fn pop_counted(&self) -> Option<&'static T> {
        let mut seen = self.head.load(SeqCst); // SeqCst: see `pop`; Acquire of what `push` published.
        while seen & ADDRESS != 0 {
            let top = node::<T>(seen & ADDRESS);
            // Relaxed: if somebody else has the node by now the exchange fails, because the count differs.
            let head = top.below.load(Relaxed) | (seen & !ADDRESS);
            // Acquire: pairs with `push`. AcqRel keeps the release of earlier pushes. Lost: again.
            match self.head.compare_exchange_weak(seen, head, AcqRel, Acquire) {
                Ok(_) => {
                    self.len.fetch_sub(1, Relaxed); // Relaxed: a count.
                    return Some(&top.item);
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Whether no pop is under way that may have seen what was popped before this call.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pops.load(SeqCst) == 0 // SeqCst: see `pop`.
    }
}

fn node<T>(address: u64) -> &'static Node<T> {
    // SAFETY: a node made by `leak`: in the list, or seen there by a pop, which holds off `free`.
    unsafe { &*ptr::with_exposed_provenance::<Node<T>>(address as usize) }
}

/// The count of pushes in a head, one further.
fn next_count(head: u64) -> u64 {
    let low = head & ((1 << LOW_BITS) - 1);
    ((head >> ADDRESS_BITS) << LOW_BITS | low).wrapping_add(1)
}

/// Puts a count where no address has bits.
fn count(count: u64) -> u64 {
    (count >> LOW_BITS) << ADDRESS_BITS | count & ((1 << LOW_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_threads_lose_nothing_and_never_share_an_item() {
        const ITEMS: usize = 8;
        let list = FreeList::<AtomicUsize>::new();
        for _ in 0..ITEMS {
            // SAFETY: just made.
            unsafe { list.push(leak(AtomicUsize::new(0))) };
        }
        let work = || {
            for _ in 0..20_000 {
                let taken = [list.pop(), list.pop()];
                for item in taken.into_iter().flatten() {
                    assert_eq!(item.fetch_add(1, Relaxed), 0, "somebody else has it");
                    item.fetch_sub(1, Relaxed);
                    // SAFETY: popped above.
                    unsafe { list.push(item) };
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(work)));
        assert_eq!(list.len(), ITEMS);
        let mut left: Vec<_> = core::iter::from_fn(|| list.pop()).collect();
        left.sort_by_key(|item| ptr::from_ref(*item).addr());
        left.dedup_by_key(|item| ptr::from_ref(*item).addr());
        assert_eq!((left.len(), list.len()), (ITEMS, 0));
        assert!(list.is_quiet());
        // SAFETY: nobody else is left.
        left.into_iter().for_each(|item| unsafe { free(item) });
    }
}
