//! Ways to break the kernel or the runtime on purpose, so that it is known what the models would catch.
//!
//! A model that has never failed shows nothing. Where the fake kernel or the primitives can break the
//! protocol they do; the rest are one-line points in the runtime, which do not exist in a normal build.

use crate::machine;

/// One way of breaking things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// The kernel forgets every third wake of a futex.
    DropWakes,
    /// The kernel puts a waiter to sleep without comparing the word.
    WaitWithoutComparing,
    /// The kernel never wakes a sleeper at its deadline.
    ForgetDeadlines,
    /// A worker goes to sleep without looking for letters after it said so.
    SleepUnlooking,
    /// Whoever leaves something for a CPU does not wake its sleeper.
    OmitKick,
    /// A CPU gives away nothing.
    OmitPush,
    /// A CPU that became less urgent takes nothing over.
    OmitPull,
    /// A change of priority or affinity is written and nobody is told.
    OmitChangeLetter,
    /// A task that is asked to end is not woken.
    OmitCancelWake,
    /// The task that another one switched to neither publishes its CPU's level nor gives away what is stuck.
    OmitConclusion,
    /// The task that another one switched to does not queue that one, which was woken while it left.
    ForgetWoken,
    /// A task is not counted before it is spawned.
    OmitAdmission,
    /// A worker stops with tasks in its inbox, and nobody looks there after.
    OmitDiscard,
}

/// Whether the running model is broken in this way.
pub fn is_sabotaged(how: Sabotage) -> bool {
    machine::with(|machine| machine.settings.sabotage == Some(how))
}
