//! The state word: one enqueuer for each wake, and never a stack that somebody is standing on.
//!
//! # Unsafe
//! What is raw: the contents of loom's cells, opened where the protocol says that they are the caller's.
//! Loom checks each access against all others, which is what the tests here are for.

use alloc::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering::*};
use loom::thread;

use crate::primitives::control::{Protocol, Unnoticed, check, every_ordering_matters, must_fail};
use crate::{Commit, Finish, StateWord, TaskPhase, Wait, Wake};

/// A task that waits until all of `conditions` hold.
struct Task {
    word: StateWord,
    conditions: [AtomicBool; 2],
    /// Who runs the task writes here, and who suspends it: its stack.
    stack: UnsafeCell<u32>,
}

impl Task {
    fn new() -> Arc<Task> {
        Arc::new(Task {
            word: StateWord::new(),
            conditions: [AtomicBool::new(false), AtomicBool::new(false)],
            stack: UnsafeCell::new(0),
        })
    }

    fn stand_on_the_stack(&self) {
        // SAFETY: the stack belongs to whoever dispatched the task; loom checks it.
        self.stack.with_mut(|stack| unsafe { *stack += 1 });
    }

    fn conditions_hold(&self) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.load(Relaxed))
    }

    /// Runs the task on the calling carrier, which owns it while it is queued, until somebody else does.
    fn carry(&self) {
        loop {
            self.word.dispatch();
            if self.run() {
                assert_eq!(self.word.finish(), Finish::Finished);
                return;
            }
            self.stand_on_the_stack(); // the switch away from it
            if self.word.commit_wait() == Commit::Parked {
                return;
            }
        }
    }

    /// The task's own code: whether it has ended.
    fn run(&self) -> bool {
        loop {
            self.stand_on_the_stack();
            if self.conditions_hold() {
                return true;
            }
            if self.word.begin_wait() == Wait::Leave {
                return false;
            }
        }
    }

    /// Makes a condition true and wakes the task; the winner carries it itself.
    fn wake(&self, condition: usize) {
        self.conditions[condition].store(true, Relaxed);
        self.wake_only();
    }

    fn wake_only(&self) {
        if self.word.wake() == Wake::Enqueue {
            // What the task left behind decides where it is queued: its guards, its home.
            // SAFETY: the carrier has left it; loom checks it.
            self.stack.with(|stack| assert!(unsafe { *stack } > 0));
            self.carry();
        }
    }

    fn assert_done(&self) {
        assert_eq!(self.word.phase(), TaskPhase::Done, "a wake is lost");
    }
}

#[test]
fn two_wakes_at_any_time_let_the_task_end_and_nobody_resumes_a_stack_in_use() {
    check(|| {
        let task = Task::new();
        let (one, two) = (task.clone(), task.clone());
        let wakers = [
            thread::spawn(move || one.wake(0)),
            thread::spawn(move || two.wake(1)),
        ];
        task.carry();
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        task.assert_done();
    });
}

/// The queue of another CPU: whoever finds the task there sees what was done before it was put there.
fn hand_over(task: Arc<Task>, queued: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        if queued.load(Acquire) {
            task.carry();
        }
    })
}

/// A task that another CPU may take over once it is queued, and that somebody wakes at any time.
fn among_others() -> (Arc<Task>, Arc<AtomicBool>, [thread::JoinHandle<()>; 2]) {
    let (task, queued) = (Task::new(), Arc::new(AtomicBool::new(false)));
    task.conditions[1].store(true, Relaxed);
    let other_cpu = hand_over(task.clone(), queued.clone());
    let woken = task.clone();
    let waker = thread::spawn(move || woken.wake(0));
    (task, queued, [other_cpu, waker])
}

#[test]
fn a_preempted_task_goes_on_elsewhere_with_its_stack_and_the_wake_it_got() {
    check(|| {
        let (task, queued, others) = among_others();
        task.word.dispatch();
        task.stand_on_the_stack();
        task.word.requeue();
        queued.store(true, Release);
        others.into_iter().for_each(|other| other.join().unwrap());
        if task.word.phase() == TaskPhase::Queued {
            task.carry(); // the other CPU had looked before
        }
        task.assert_done();
    });
}

#[test]
fn a_task_woken_while_it_leaves_goes_on_elsewhere_with_its_stack() {
    check(|| {
        let (task, queued, others) = among_others();
        task.word.dispatch();
        let has_ended = task.run();
        if has_ended {
            let _ = task.word.finish();
        } else {
            task.stand_on_the_stack();
            if task.word.commit_wait() == Commit::Enqueue {
                queued.store(true, Release);
            }
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        if task.word.phase() == TaskPhase::Queued {
            task.carry();
        }
        task.assert_done();
    });
}

#[test]
fn who_sees_done_sees_what_the_task_wrote() {
    check(|| {
        let task = Task::new();
        let observed = task.clone();
        let observer = thread::spawn(move || {
            if observed.word.phase() == TaskPhase::Done {
                // SAFETY: nobody stands on the stack of a task that is done; loom checks it.
                observed
                    .stack
                    .with(|stack| assert_eq!(unsafe { *stack }, 1));
            }
        });
        task.conditions
            .iter()
            .for_each(|condition| condition.store(true, Relaxed));
        task.carry();
        observer.join().unwrap();
    });
}

#[test]
fn a_carrier_that_commits_before_it_has_left_the_stack_is_noticed() {
    let control = "a_carrier_that_commits_before_it_has_left_the_stack_is_noticed";
    must_fail(module_path!(), control, "Causality violation", || {
        let task = Task::new();
        task.conditions[1].store(true, Relaxed);
        let theirs = task.clone();
        let waker = thread::spawn(move || theirs.wake(0));
        task.word.dispatch();
        if !task.run() {
            let commit = task.word.commit_wait();
            task.stand_on_the_stack();
            if commit == Commit::Enqueue {
                task.carry();
            }
        }
        waker.join().unwrap();
    });
}

#[test]
fn a_waker_that_wakes_before_the_condition_holds_is_noticed() {
    let control = "a_waker_that_wakes_before_the_condition_holds_is_noticed";
    must_fail(module_path!(), control, "a wake is lost", || {
        let task = Task::new();
        task.conditions[1].store(true, Relaxed);
        let theirs = task.clone();
        let waker = thread::spawn(move || {
            theirs.wake_only();
            theirs.conditions[0].store(true, Relaxed);
        });
        task.carry();
        waker.join().unwrap();
        task.assert_done();
    });
}

const BY_THE_QUEUE: &str = "the task goes from one who holds it to the next through a queue, which orders \
    all that the first did before all that the second does";

#[test]
fn every_ordering_of_the_state_word_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "a_preempted_task_goes_on_elsewhere_with_its_stack_and_the_wake_it_got",
            "a_task_woken_while_it_leaves_goes_on_elsewhere_with_its_stack",
            "who_sees_done_sees_what_the_task_wrote",
            "two_wakes_at_any_time_let_the_task_end_and_nobody_resumes_a_stack_in_use",
        ],
        sites: &[("state.rs", &[])],
        unnoticed: &[
            Unnoticed {
                weakening: "state.rs dispatch load loses Acquire",
                why: "a wake of a queued task is acquired by `begin_wait`, which finds its mark; of one that \
                    leaves, by the swap of `commit_wait`",
            },
            Unnoticed {
                weakening: "state.rs dispatch load loses Acquire, the next",
                why: BY_THE_QUEUE,
            },
            Unnoticed {
                weakening: "state.rs requeue store loses Release",
                why: BY_THE_QUEUE,
            },
            Unnoticed {
                weakening: "state.rs begin_wait exchange loses Acquire",
                why: "it succeeds on a word without a mark, where no waker has left anything",
            },
            Unnoticed {
                weakening: "state.rs begin_wait exchange loses Release",
                why: "the step that leaves the stack publishes it",
            },
            Unnoticed {
                weakening: "state.rs begin_wait failed exchange loses Acquire",
                why: "the swap that follows acquires what this one saw, and more",
            },
            Unnoticed {
                weakening: "state.rs begin_wait exchange loses Release, the next",
                why: "a task that goes on publishes nothing",
            },
            Unnoticed {
                weakening: "state.rs commit_wait exchange loses Acquire",
                why: "a task that parks takes over nothing: nobody has woken it",
            },
            Unnoticed {
                weakening: "state.rs commit_wait failed exchange loses Acquire",
                why: "the swap that follows acquires what this one saw, and more",
            },
            Unnoticed {
                weakening: "state.rs commit_wait exchange loses Acquire, the next",
                why: "`dispatch` acquires from the same chain of exchanges before the task goes on",
            },
            Unnoticed {
                weakening: "state.rs commit_wait exchange loses Release, the next",
                why: BY_THE_QUEUE,
            },
            Unnoticed {
                weakening: "state.rs finish exchange loses Acquire",
                why: "whoever ends a task reads nothing of those who woke it",
            },
        ],
    });
}
