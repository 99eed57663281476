//! The state of a task, in one word: who may enqueue it, and who must not touch it.
//!
//! A task that waits is woken by anyone, at any time: before it has gone to sleep, while its carrier is
//! still on its stack, or twice at once. A flag and a queue can each be right alone and still enqueue a
//! task twice or resume a stack that somebody is standing on. So one word decides, and every transition
//! returns what its caller must do next.
//!
//! ```text
//!              (1) dispatch                 (3) begin_wait
//!   ┌─► QUEUED ────────────► RUNNING ────────────────────► LEAVING
//!   │      ▲   (2) requeue     │ ▲  └─(4) finish─► DONE       │
//!   │      └───────────────────┘ │                            │ (5) commit_wait
//!   │                            │ (3') begin_wait, woken     ▼
//!   │                            └── the wake is consumed   PARKED
//!   ├──────── (5') commit_wait, woken ◄───────────────────────┤
//!   └──────── (6) wake ◄──────────────────────────────────────┘
//! ```
//!
//! (1) `dispatch`, by the worker that picked it. (2) `requeue`, by the carrier after it left the stack:
//! yield and preemption. (3) `begin_wait`, by the task itself; (3') a wake was recorded, it goes on.
//! (4) `finish`, by the carrier after the closure returned; a queued task that never ran finishes too.
//! (5) `commit_wait`, by the carrier after it left the stack; (5') a wake came in between and the carrier
//! must enqueue the task. (6) `wake`, by anyone; the winner must enqueue the task.
//!
//! *Leave before arrive*: only (2), (5) and (5') make a stack resumable, and all are release stores by a
//! carrier that has left it; (1) acquires. A wake that comes earlier sets WOKEN and nobody spins.
//! QUEUED and RUNNING are one value of the word, ACTIVE: to a waker they are the same, and whoever holds the
//! task tells them apart by a flag of his own. So (1) and (2), the steps of every switch, are plain loads
//! and stores; only the steps of a wait are locked instructions.
//!
//! WOKEN survives QUEUED, so a task may see one wake that is not its own: waits are loops over a
//! condition. A task that runs on its own kernel thread is RUNNING. Kernel preemption will add FROZEN
//! between RUNNING and QUEUED; its edges belong to the takeover protocol. See [state.md](../state.md).

use crate::primitives::atomic::{AtomicBool, AtomicU32, Ordering::*};

/// The phase of a task; see the module's picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskPhase {
    /// Runnable: in a queue, an inbox or a slot, or on its way between them.
    Queued,
    /// Its stack is in use.
    Running,
    /// It waits, but its carrier is still on its stack.
    Leaving,
    /// It waits.
    Parked,
    /// Its closure has returned, unwound or been dropped.
    Done,
}

const ACTIVE: u32 = 0;
const LEAVING: u32 = 1;
const PARKED: u32 = 2;
const DONE: u32 = 3;
const PHASE: u32 = 0b11;
const WOKEN: u32 = 0b100;

/// What a task that wants to wait must do.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Suspend; the carrier commits.
    Leave,
    /// A wake was already there: check the condition again.
    Woken,
}

/// What the carrier must do after it left a waiting task's stack.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// Nothing: the task is parked and may already be running elsewhere.
    Parked,
    /// Enqueue the task: a wake came while it was leaving.
    Enqueue,
}

/// What a waker must do.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// The task was parked and is now the waker's to enqueue.
    Enqueue,
    /// It was not parked; the wake is recorded.
    Recorded,
    /// It is done.
    TooLate,
}

/// Whether finishing changed anything.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// The task is now done.
    Finished,
    /// It already was.
    Already,
}

/// The state word of a task.
pub struct StateWord {
    word: AtomicU32,
    /// While the word is ACTIVE: whether the stack is in use. Written by whoever holds the task.
    running: AtomicBool,
}

impl StateWord {
    /// A new task: runnable, owned by its spawner until it is enqueued.
    #[inline]
    pub fn new() -> StateWord {
        StateWord {
            word: AtomicU32::new(ACTIVE),
            running: AtomicBool::new(false),
        }
    }

    /// The phase at some instant of the call.
    #[inline]
    pub fn phase(&self) -> TaskPhase {
        // Acquire: pairs with the release of each transition, so that `Done` shows the task's writes.
        match self.word.load(Acquire) & PHASE {
            ACTIVE if self.running.load(Relaxed) => TaskPhase::Running, // Relaxed: for observers.
            ACTIVE => TaskPhase::Queued,
            LEAVING => TaskPhase::Leaving,
            PARKED => TaskPhase::Parked,
            _ => TaskPhase::Done,
        }
    }

    /// (1) The worker picked the task and is about to resume it.
    #[inline]
    pub fn dispatch(&self) {
        // Acquire, both: what the last waker released with the word, the last carrier with the flag. No
        // race: the caller holds the task.
        let is_active = self.word.load(Acquire) & PHASE == ACTIVE;
        assert!(
            is_active && !self.running.load(Acquire),
            "a task steps from Queued to Running"
        );
        self.running.store(true, Relaxed); // Relaxed: read by its holders, and by observers.
    }

    /// (2) The carrier has left the stack of a task that yielded or was preempted.
    #[inline]
    pub fn requeue(&self) {
        assert!(
            self.running.load(Relaxed), // Relaxed: the caller holds the task.
            "a task steps from Running to Queued"
        );
        self.running.store(false, Release); // Release: pairs with `dispatch`.
    }

    /// (3) The running task wants to wait.
    #[inline]
    pub fn begin_wait(&self) -> Wait {
        // Relaxed: whoever dispatches next acquires the word, which changes after it.
        assert!(self.running.load(Relaxed), "only a running task waits");
        self.running.store(false, Relaxed);
        // AcqRel: Release for the flag; Acquire of the failure pairs with `wake`: see below.
        match self.word.compare_exchange(ACTIVE, LEAVING, AcqRel, Acquire) {
            Ok(_) => Wait::Leave, // a wake from now on sets WOKEN, which `commit_wait` finds
            Err(seen) => {
                assert_eq!(seen, WOKEN, "only a wake may touch a running task");
                self.running.store(true, Relaxed);
                // AcqRel: a second waker may have come since, and its condition must be acquired too.
                self.word.swap(ACTIVE, AcqRel);
                Wait::Woken
            }
        }
    }

    /// (5) The carrier has left the stack of a waiting task.
    #[inline]
    pub fn commit_wait(&self) -> Commit {
        // Release: whoever wakes and resumes the task acquires everything written on its stack.
        // Lost to a wake: the word holds WOKEN, which the carrier consumes by enqueueing the task.
        match self.word.compare_exchange(LEAVING, PARKED, AcqRel, Acquire) {
            Ok(_) => Commit::Parked,
            Err(seen) => {
                assert_eq!(
                    seen,
                    LEAVING | WOKEN,
                    "only a wake may touch a leaving task"
                );
                // AcqRel: Release pairs with `dispatch`; a swap, because a second waker may have come since
                // the load above, and its condition must be acquired too.
                let _ = self.word.swap(ACTIVE, AcqRel);
                Commit::Enqueue
            }
        }
    }

    /// (6) Somebody made the task's condition true.
    #[inline]
    pub fn wake(&self) -> Wake {
        let mut seen = self.word.load(Relaxed); // Relaxed: the exchange below checks it.
        loop {
            let (next, answer) = match seen & PHASE {
                DONE => return Wake::TooLate,
                PARKED => (ACTIVE, Wake::Enqueue),
                _ => (seen | WOKEN, Wake::Recorded),
            };
            // AcqRel: Release publishes the waker's condition to the task, also when the word does not
            // change; Acquire makes the parked stack visible to whoever enqueues it.
            match self.word.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return answer,
                Err(now) => seen = now,
            }
        }
    }

    /// (4) The task has returned, unwound, or been dropped before its first run.
    #[inline]
    pub fn finish(&self) -> Finish {
        // AcqRel: Release publishes the task's last writes to whoever sees `Done`.
        match self.word.swap(DONE, AcqRel) & PHASE {
            DONE => Finish::Already,
            _ => Finish::Finished,
        }
    }
}

impl Default for StateWord {
    fn default() -> StateWord {
        StateWord::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> StateWord {
        let word = StateWord::new();
        word.dispatch();
        word
    }

    #[test]
    fn a_wake_of_a_parked_task_is_the_wakers_to_enqueue() {
        let word = running();
        assert_eq!(word.begin_wait(), Wait::Leave);
        assert_eq!(word.commit_wait(), Commit::Parked);
        assert_eq!(word.wake(), Wake::Enqueue);
        assert_eq!(word.wake(), Wake::Recorded);
        word.dispatch();
        assert_eq!(word.begin_wait(), Wait::Woken);
        assert_eq!(word.begin_wait(), Wait::Leave);
    }

    #[test]
    fn a_wake_while_leaving_makes_the_carrier_enqueue() {
        let word = running();
        assert_eq!(word.begin_wait(), Wait::Leave);
        assert_eq!(word.wake(), Wake::Recorded);
        assert_eq!(word.commit_wait(), Commit::Enqueue);
        word.dispatch();
        assert_eq!(word.begin_wait(), Wait::Leave);
    }

    #[test]
    fn a_wake_of_a_running_task_survives_a_yield() {
        let word = running();
        assert_eq!(word.wake(), Wake::Recorded);
        word.requeue();
        word.dispatch();
        assert_eq!(word.begin_wait(), Wait::Woken);
    }

    #[test]
    fn a_done_task_cannot_be_woken() {
        let word = running();
        assert_eq!(word.finish(), Finish::Finished);
        assert_eq!(word.wake(), Wake::TooLate);
        assert_eq!(word.finish(), Finish::Already);
    }

    #[test]
    #[should_panic(expected = "from Running to Queued")]
    fn requeueing_a_queued_task_is_a_broken_invariant() {
        StateWord::new().requeue();
    }
}
