//! The inbox of a CPU: how tasks and changes reach it without its lock.
//!
//! A waker that blocks on a foreign runqueue lock stops its own CPU whenever the holder is preempted, and
//! an ordinary thread that is stopped while it holds the lock stops the CPU for good. So nobody takes
//! that lock for a wake: the task is left here and the CPU's worker collects it.
//!
//! Letters form a stack: one compare-and-swap leaves a letter, one swap takes them all, and the reader
//! turns the chain round so that letters are handled in the order in which they came. A queue in
//! Vyukov's manner would be wait-free to leave, but between its two steps a stopped writer hides every
//! later letter; here a letter is visible or it is not, and a stopped writer delays its own only.
//!
//! A task can stand in one inbox as an *arrival* (it is runnable and becomes this CPU's) and in one as a
//! *change* (its priority or affinity was changed), so it has a link for each. The kind of a letter is the
//! lowest bit of the pointer to it.
//!
//! The protocol is on [the page beside this crate](../inbox.md).
//!
//! Cost: leaving is lock-free (a retry means that another letter was left or all were taken); taking is
//! one swap plus one step per letter. Nothing allocates.
//!
//! # Unsafe
//! What is raw: the tagged pointers. The inbox owns one [`TaskRef`] for each letter, made by
//! `Node::into_raw` in `leave` and given back by `take`. A link is written by the one who leaves the
//! letter, before the release that publishes it, and read by the one who took the chain. Shown by the
//! tests below and by the runtime's race tests.

use crate::primitives::atomic::{AtomicPtr, Ordering::*};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::{Entity, Node, Place, Residence, TaskRef};

/// What is left for a CPU.
pub enum Letter<T> {
    /// The task is runnable and comes to this CPU, to be put in its level as said.
    Arrival(TaskRef<T>, Place),
    /// The task's priority or affinity was changed; it may be here.
    Change(TaskRef<T>),
}

/// The letters for one CPU.
pub struct Inbox<T> {
    head: AtomicPtr<Entity>,
    owns: PhantomData<TaskRef<T>>,
}

// SAFETY: it hands `TaskRef<T>` from thread to thread, through an atomic pointer, and nothing else.
unsafe impl<T: Send + Sync> Sync for Inbox<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Inbox<T> {}

const CHANGE: usize = 1;

impl<T> Inbox<T> {
    /// An empty inbox.
    pub fn new() -> Inbox<T> {
        Inbox {
            head: AtomicPtr::new(ptr::null_mut()),
            owns: PhantomData,
        }
    }

    /// Leaves a task that became runnable, or was moved here. Afterwards the caller kicks the CPU.
    ///
    /// The task belongs to the caller: it won the wake, spawned it, or took it off a runqueue.
    pub fn leave_arrival(&self, task: TaskRef<T>, place: Place) {
        task.entity().claim(Residence::Letter);
        task.entity().set_place(place);
        self.leave(Node::into_raw(task), 0);
    }

    /// Leaves word that `task` was changed. Afterwards the caller kicks the CPU.
    ///
    /// Does nothing if such a letter is under way already: whoever opens it looks at the task only then,
    /// and forwards it if the task is elsewhere. Returns whether a letter was left.
    #[must_use]
    pub fn leave_change(&self, task: &TaskRef<T>) -> bool {
        // AcqRel: pairs with the swap in `take`; lost: the reader has not looked yet and sees our change.
        if task.entity().change_posted.swap(true, AcqRel) {
            return false;
        }
        self.leave(Node::into_raw(task.clone()), CHANGE);
        true
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        // SeqCst: read after publishing "parked" and before sleeping; pairs with the exchange in `leave`.
        self.head.load(SeqCst).is_null()
    }

    /// Takes every letter, the oldest first.
    pub fn take(&self) -> impl Iterator<Item = Letter<T>> {
        let chain = if self.head.load(Relaxed).is_null() {
            ptr::null_mut() // Relaxed: a letter that is missed is followed by a kick.
        } else {
            self.head.swap(ptr::null_mut(), Acquire) // Acquire: pairs with the Release in `leave`.
        };
        Opened {
            next: reverse(chain),
            owns: PhantomData,
        }
    }

    fn leave(&self, node: NonNull<Entity>, kind: usize) {
        let tagged = node.as_ptr().map_addr(|address| address | kind);
        let mut seen = self.head.load(Relaxed); // Relaxed: the exchange below checks it.
        loop {
            link(tagged).store(seen, Relaxed); // Relaxed: published by the exchange.
            // SeqCst: Release pairs with `take`; the total order with the fence before "is it asleep?"
            // (`IdleWord::kick`) makes either the sleeper see the letter or the sender see the sleeper.
            match self
                .head
                .compare_exchange_weak(seen, tagged, SeqCst, Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

impl<T> Default for Inbox<T> {
    fn default() -> Inbox<T> {
        Inbox::new()
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.take().for_each(drop);
    }
}

struct Opened<T> {
    next: *mut Entity,
    owns: PhantomData<TaskRef<T>>,
}

impl<T> Iterator for Opened<T> {
    type Item = Letter<T>;

    fn next(&mut self) -> Option<Letter<T>> {
        let tagged = self.next;
        let node = NonNull::new(tagged.map_addr(|address| address & !CHANGE))?;
        // Relaxed: the chain was acquired as a whole, and it is ours.
        self.next = link(tagged).load(Relaxed);
        // SAFETY: the letter was left with the reference of `into_raw`, and is taken out of the chain.
        let task = unsafe { Node::<T>::from_raw(node) };
        if tagged.addr() & CHANGE == 0 {
            let place = task.entity().place();
            task.entity().set_residence(Residence::Away);
            return Some(Letter::Arrival(task, place));
        }
        // AcqRel: pairs with the swap in `leave_change`. From here on a new change leaves a new letter.
        task.entity().change_posted.swap(false, AcqRel);
        Some(Letter::Change(task))
    }
}

impl<T> Drop for Opened<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

fn reverse(mut chain: *mut Entity) -> *mut Entity {
    let mut reversed = ptr::null_mut();
    while !chain.is_null() {
        let next = link(chain).swap(reversed, Relaxed); // Relaxed: the chain is ours.
        reversed = chain;
        chain = next;
    }
    reversed
}

fn link<'a>(tagged: *mut Entity) -> &'a AtomicPtr<Entity> {
    // SAFETY: a tagged pointer in a chain, or about to be, is an entity kept alive by its letter.
    let entity = unsafe { &*tagged.map_addr(|address| address & !CHANGE) };
    if tagged.addr() & CHANGE == 0 {
        &entity.arrival_next
    } else {
        &entity.change_next
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::{CpuId, CpuMask, Policy, Prio};
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    fn task(name: u32) -> TaskRef<u32> {
        Node::new(
            Prio::MIN,
            Policy::Fifo,
            &CpuMask::full(2),
            CpuId::new(0),
            name,
        )
    }

    fn names(inbox: &Inbox<u32>) -> Vec<(char, u32)> {
        let name = |letter| match letter {
            Letter::Arrival(task, _) => ('a', task.body),
            Letter::Change(task) => ('c', task.body),
        };
        inbox.take().map(name).collect()
    }

    #[test]
    fn letters_are_taken_in_the_order_in_which_they_were_left() {
        let inbox = Inbox::new();
        let one = task(1);
        assert!(inbox.leave_change(&one));
        assert!(!inbox.leave_change(&one));
        inbox.leave_arrival(one.clone(), Place::Tail);
        inbox.leave_arrival(task(2), Place::Tail);
        assert_eq!(names(&inbox), [('c', 1), ('a', 1), ('a', 2)]);
        assert!(inbox.is_empty());
        assert!(inbox.leave_change(&one));
    }

    #[test]
    fn a_dropped_inbox_gives_its_references_back() {
        let (inbox, one) = (Inbox::new(), task(1));
        inbox.leave_arrival(one.clone(), Place::Tail);
        let _ = inbox.leave_change(&one);
        assert_eq!(Arc::strong_count(&one), 3);
        drop(inbox);
        assert_eq!(Arc::strong_count(&one), 1);
    }

    #[test]
    fn every_letter_of_four_writers_is_taken_once_and_in_each_writers_order() {
        const LETTERS: u32 = 5_000;
        let inbox = Inbox::<u32>::new();
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let inbox = &inbox;
                scope.spawn(move || {
                    (0..LETTERS)
                        .for_each(|i| inbox.leave_arrival(task(writer << 24 | i), Place::Tail));
                });
            }
            while taken.len() < 4 * LETTERS as usize {
                taken.extend(names(&inbox).into_iter().map(|(_, name)| name));
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        });
        for writer in 0..4 {
            let order: Vec<u32> = taken
                .iter()
                .filter(|n| **n >> 24 == writer)
                .map(|n| n & 0xffffff)
                .collect();
            assert!(order.iter().copied().eq(0..LETTERS), "writer {writer}");
        }
    }
}
