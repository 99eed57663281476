//! The housekeeping thread: an ordinary thread that does for tasks what must not be done on a real-time
//! CPU.
//!
//! A task leaves *itself*: its closure is on its own stack, so nothing is allocated and no queue is locked.
//!
//! # Unsafe
//! What is raw: calling the closure on the stack of a suspended task. The letter gives this thread the
//! task, so nobody resumes it before the closure has returned. Shown by `tests/native.rs`.

use crate::primitives::atomic::{AtomicBool, Ordering::*};
use crate::primitives::thread::ThreadId;
use std::sync::OnceLock;

use crate::primitives::futex;
use corelane_sched::{IdleWord, Inbox, Kick, Letter, Place};

use crate::native;
use crate::task_body::{Body, Task};
use crate::wake;

pub(crate) struct Housekeeping {
    inbox: Inbox<Body>,
    idle: IdleWord,
    stopping: AtomicBool,
    thread: OnceLock<ThreadId>,
}

impl Housekeeping {
    pub(crate) fn new() -> Housekeeping {
        let (inbox, idle) = (Inbox::new(), IdleWord::new());
        Housekeeping {
            inbox,
            idle,
            stopping: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    /// Leaves a task whose closure is to be run, see [`crate::native::outside`].
    pub(crate) fn leave(&self, task: Task) {
        self.inbox.leave_arrival(task, Place::Tail);
        self.kick();
    }

    /// Makes the thread return once it has nothing left to do.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Release); // Release: pairs with the Acquire in `serve`.
        self.kick();
    }

    fn kick(&self) {
        if self.idle.kick() == Kick::WakeSleeper {
            futex::wake(self.idle.word(), 1);
        }
    }

    /// Whether the caller is this thread, running a task's closure.
    pub(crate) fn is_caller(&self) -> bool {
        self.thread.get() == Some(&crate::primitives::thread::current().id())
    }

    /// The life of the thread.
    pub(crate) fn serve(&self) {
        let _ = self.thread.set(crate::primitives::thread::current().id());
        loop {
            for letter in self.inbox.take() {
                if let Letter::Arrival(task, _) = letter {
                    // SAFETY: this is the housekeeping thread, and the letter gave us the task.
                    unsafe { native::run_outside(&task) };
                    wake::enqueue(task);
                }
            }
            self.idle.announce();
            if self.inbox.is_empty() {
                // Acquire: pairs with `stop`.
                if self.stopping.load(Acquire) {
                    return;
                }
                let _ = futex::wait(self.idle.word(), IdleWord::PARKED, None);
            }
            self.idle.awake();
        }
    }
}
