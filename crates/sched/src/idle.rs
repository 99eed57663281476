//! Going to sleep, and being kept from it.
//!
//! A waker looks whether the CPU sleeps; the CPU looks whether there is work. If both look before the
//! other has written, the CPU sleeps on work. So each writes first, fences, then looks: the waker leaves
//! its letter and then reads the idle word, the worker publishes *parked* and then looks into its inbox.
//! One of the two sees the other. The page is [idle.md](../idle.md).
//!
//! The word has a third value. A waker that set it back to *awake* and was stopped before its system call
//! would keep later wakers from waking the CPU; so a waker writes *notified*, and every waker that reads
//! anything but *awake* makes the system call. The worker alone returns to *awake*.
//!
//! A spinning worker needs no system call at all: it polls a one-word slot, into which a waker puts the
//! task itself.
//!
//! # Unsafe
//! What is raw: the task pointer in the slot, made by `Node::into_raw`. Exactly one of `close` and `Drop`
//! takes it out again, by a swap. Shown by the tests below and the runtime's race tests.

use crate::primitives::atomic::{AtomicPtr, AtomicU32, Ordering::*, fence};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::{Entity, Node, Place, Residence, TaskRef};

const AWAKE: u32 = 0;
const PARKED: u32 = 1;
const NOTIFIED: u32 = 2;

/// Whether a CPU sleeps: the word that its worker sleeps on.
pub struct IdleWord(AtomicU32);

/// What a waker must do after it left its letter.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kick {
    /// Nothing: the worker is awake and will look.
    Awake,
    /// Wake the sleepers of the word: a system call.
    WakeSleeper,
}

impl IdleWord {
    /// The value that a parked worker sleeps on.
    pub const PARKED: u32 = PARKED;

    /// An awake CPU.
    #[inline]
    pub fn new() -> IdleWord {
        IdleWord(AtomicU32::new(AWAKE))
    }

    /// The word to sleep on while it holds [`IdleWord::PARKED`].
    #[inline]
    pub fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// The worker announces that it will sleep. It looks for work once more before it does.
    #[inline]
    pub fn announce(&self) {
        self.0.store(PARKED, Relaxed); // Relaxed: the fence orders it.
        fence(SeqCst); // pairs with the fence in `kick`; lost: we see the letter and do not sleep
    }

    /// The worker is awake again.
    #[inline]
    pub fn awake(&self) {
        self.0.store(AWAKE, Relaxed); // Relaxed: it looks at its inbox next; a late kick is spurious.
    }

    /// After leaving a letter: must the sleeper be woken?
    #[inline]
    pub fn kick(&self) -> Kick {
        fence(SeqCst); // pairs with the fence in `announce`; lost: the worker sees our letter
        // Relaxed: the fence orders it.
        if self.0.load(Relaxed) == AWAKE {
            return Kick::Awake;
        }
        // Relaxed: changing the value keeps a worker that has not slept yet from sleeping.
        // Lost to `awake`: a spurious system call. The exchange never turns AWAKE into NOTIFIED.
        let _ = self.0.compare_exchange(PARKED, NOTIFIED, Relaxed, Relaxed);
        Kick::WakeSleeper
    }
}

impl Default for IdleWord {
    fn default() -> IdleWord {
        IdleWord::new()
    }
}

/// The one-word slot that a spinning idle worker polls.
pub struct IdleSlot<T> {
    word: AtomicPtr<Entity>,
    owns: PhantomData<TaskRef<T>>,
}

// SAFETY: it hands `TaskRef<T>` from thread to thread, through an atomic pointer, and nothing else.
unsafe impl<T: Send + Sync> Sync for IdleSlot<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for IdleSlot<T> {}

/// What became of a task that was offered to a slot.
#[must_use]
pub enum Offer<T> {
    /// The spinning worker has it.
    Taken,
    /// Nobody polls: leave it in the inbox.
    Refused(TaskRef<T>),
}

const CLOSED: *mut Entity = ptr::null_mut();
const POLLED: *mut Entity = ptr::without_provenance_mut(1);

impl<T> IdleSlot<T> {
    /// A slot that nobody polls.
    #[inline]
    pub fn new() -> IdleSlot<T> {
        IdleSlot {
            word: AtomicPtr::new(CLOSED),
            owns: PhantomData,
        }
    }

    /// The worker starts to poll.
    #[inline]
    pub fn open(&self) {
        self.word.store(POLLED, Release); // Release: a waker that sees it acquires nothing more.
    }

    /// Whether a task has arrived; never while nobody polls. One load.
    #[inline]
    pub fn has_arrived(&self) -> bool {
        let seen = self.word.load(Relaxed); // Relaxed: `close` acquires.
        seen != POLLED && seen != CLOSED
    }

    /// The worker stops polling; a task that arrived is its.
    #[inline]
    pub fn close(&self) -> Option<(TaskRef<T>, Place)> {
        // Acquire: pairs with the Release in `offer`.
        let seen = self.word.swap(CLOSED, AcqRel);
        let node = NonNull::new(seen).filter(|node| node.as_ptr() != POLLED)?;
        // SAFETY: `offer` put the reference of `into_raw` there, and the swap took it out.
        let task = unsafe { Node::<T>::from_raw(node) };
        let place = task.entity().place();
        task.entity().set_residence(Residence::Away);
        Some((task, place))
    }

    /// Offers a task that belongs to the caller to a spinning worker.
    #[inline]
    pub fn offer(&self, task: TaskRef<T>, place: Place) -> Offer<T> {
        // Relaxed: a look before the exchange, so that a busy CPU's line is not taken for writing.
        if self.word.load(Relaxed) != POLLED {
            return Offer::Refused(task);
        }
        task.entity().claim(Residence::Letter);
        task.entity().set_place(place);
        let node = Node::into_raw(task);
        // Release: pairs with the Acquire in `close`. Lost: the worker left, or another waker was first.
        match self
            .word
            .compare_exchange(POLLED, node.as_ptr(), AcqRel, Relaxed)
        {
            Ok(_) => Offer::Taken,
            Err(_) => {
                // SAFETY: the exchange failed, so nobody else has the reference.
                let task: TaskRef<T> = unsafe { Node::from_raw(node) };
                task.entity().set_residence(Residence::Away);
                Offer::Refused(task)
            }
        }
    }
}

impl<T> Default for IdleSlot<T> {
    fn default() -> IdleSlot<T> {
        IdleSlot::new()
    }
}

impl<T> Drop for IdleSlot<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CpuId, CpuMask, Policy, Prio};

    fn task() -> TaskRef<()> {
        Node::new(
            Prio::MIN,
            Policy::Fifo,
            &CpuMask::full(1),
            CpuId::new(0),
            (),
        )
    }

    #[test]
    fn a_parked_cpu_is_woken_by_each_waker_until_it_says_that_it_is_awake() {
        let idle = IdleWord::new();
        assert_eq!(idle.kick(), Kick::Awake);
        idle.announce();
        assert_eq!(idle.kick(), Kick::WakeSleeper);
        assert_ne!(idle.word().load(Relaxed), IdleWord::PARKED);
        assert_eq!(idle.kick(), Kick::WakeSleeper);
        idle.awake();
        assert_eq!(idle.kick(), Kick::Awake);
    }

    #[test]
    fn a_slot_takes_one_task_while_it_is_polled() {
        let slot = IdleSlot::new();
        assert!(matches!(slot.offer(task(), Place::Tail), Offer::Refused(_)));
        slot.open();
        assert!(!slot.has_arrived());
        assert!(matches!(slot.offer(task(), Place::Keep), Offer::Taken));
        assert!(matches!(slot.offer(task(), Place::Tail), Offer::Refused(_)));
        assert!(slot.has_arrived());
        assert_eq!(slot.close().map(|(_, place)| place), Some(Place::Keep));
        assert!(slot.close().is_none());
    }
}
