//! One moment that one waiter waits for: the end of a task.
//!
//! The waiter is a task or an ordinary thread, and the two sleep differently: a task leaves its CPU to
//! others, a thread sleeps in the kernel. A condition variable would serve the thread and block the task's
//! worker. Here a word tells whether the moment has come; a thread sleeps on that word, a task leaves a
//! reference to itself.
//!
//! Completing costs one exchange, a lock only if a task waits, a system call only if a thread sleeps.

use crate::primitives::atomic::{AtomicU32, Ordering::*};

use crate::primitives::Mutex;
use corelane_os::futex;

use crate::current::Fiber;
use crate::task_body::Task;
use crate::wake;

const THREAD_SLEEPS: u32 = 1;
const TASK_WAITS: u32 = 2;
const DONE: u32 = 4;

pub(crate) struct Completion {
    word: AtomicU32,
    waiter: Mutex<Option<Task>>,
}

impl Completion {
    pub(crate) const fn new() -> Completion {
        Completion {
            word: AtomicU32::new(0),
            waiter: Mutex::new(None),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        // Acquire: pairs with the Release in `complete`; whoever sees DONE sees the result.
        self.word.load(Acquire) & DONE != 0
    }

    /// The moment has come. Called once, by whoever produced the result.
    pub(crate) fn complete(&self) {
        // AcqRel: Release publishes the result; Acquire shows the waiter that announced itself. A waiter
        // that announces itself later sees DONE and does not wait.
        let seen = self.word.swap(DONE, AcqRel);
        if seen & THREAD_SLEEPS != 0 {
            futex::wake(&self.word, u32::MAX);
        }
        if seen & TASK_WAITS != 0 {
            let task = self.waiter.lock().take();
            if let Some(task) = task {
                wake::wake(task);
            }
        }
    }

    /// Waits in whatever way suits the caller: a task suspends, a thread sleeps.
    pub(crate) fn wait(&self) {
        match Fiber::carried() {
            Some(fiber) => self.wait_as_task(fiber),
            None => self.wait_as_thread(),
        }
    }

    fn wait_as_task(&self, fiber: &Fiber) {
        if self.is_done() {
            return;
        }
        *self.waiter.lock() = Some(fiber.task());
        // AcqRel: pairs with the exchange in `complete`; lost: we see DONE at once.
        if self.word.fetch_or(TASK_WAITS, AcqRel) & DONE != 0 {
            return;
        }
        while !self.is_done() {
            fiber.wait(None);
        }
    }

    fn wait_as_thread(&self) {
        loop {
            // Acquire: see `is_done`.
            let seen = self.word.fetch_or(THREAD_SLEEPS, AcqRel);
            if seen & DONE != 0 {
                return;
            }
            let _ = futex::wait(&self.word, seen | THREAD_SLEEPS, None);
        }
    }
}
