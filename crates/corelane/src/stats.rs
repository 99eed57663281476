//! Counters of what the scheduler did.
//!
//! Each CPU counts for itself: its own worker adds with a load and a store, which costs no locked
//! instruction. What others count on behalf of a CPU (wakes from ordinary threads) is added atomically.

use crate::primitives::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the scheduler did since the runtime was built, summed over its CPUs.
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters of one CPU.
        #[derive(Default)]
        pub(crate) struct CpuStats {
            $(pub(crate) $name: Counter,)*
        }

        impl CpuStats {
            pub(crate) fn add_to(&self, sum: &mut Stats) {
                $(sum.$name += self.$name.get();)*
            }
        }
    };
}

counters! {
    /// Tasks resumed.
    switches,
    /// Tasks started.
    started,
    /// Tasks ended, by return, panic or cancellation.
    finished,
    /// Tasks that ended by cancellation.
    cancelled,
    /// Wakes by a task for its own CPU.
    wakes_local,
    /// Wakes left in the slot of a spinning CPU.
    wakes_slot,
    /// Wakes left in the inbox of a CPU.
    wakes_inbox,
    /// System calls to wake a CPU that slept in the kernel.
    kicks,
    /// Times the worker slept in the kernel.
    parks,
    /// Tasks preempted at a safe point by a more urgent one.
    preemptions,
    /// Queued tasks given to a less urgent CPU.
    pushes,
    /// Tasks taken over from a more urgent CPU.
    pulls,
    /// Running tasks that left so that a stuck one could run.
    pushed_away,
    /// Answers about another CPU that were out of date when they were acted on.
    stale,
    /// Deadlines that passed.
    timers,
    /// Guards that tasks left behind when they ended.
    leaked_guards,
    /// Times a task could not start for want of a fiber.
    no_fiber,
    /// Events that found the ring full.
    events_dropped,
}

/// A count with one usual writer.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds one. Only the CPU's own worker, or whoever holds its runqueue lock.
    #[inline]
    pub(crate) fn add_own(&self) {
        self.0.store(self.0.load(Relaxed) + 1, Relaxed); // Relaxed: a count with one writer.
    }

    /// Adds `n`. Anyone; not mixed with `add_own`.
    pub(crate) fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Relaxed); // Relaxed: a count.
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed) // Relaxed: a count.
    }
}
