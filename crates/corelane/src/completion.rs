//! The end of a task, for whoever joins it.
//!
//! The waiter is a task or an ordinary thread, and the two sleep differently: a task leaves its CPU to
//! others, a thread sleeps in the kernel. A condition variable would serve the thread and block the task's
//! worker. The word between them is a [`Moment`].

use crate::current::Fiber;
use crate::moment::Moment;
use crate::task_body::Task;
use crate::wake;

pub(crate) struct Completion(Moment<Task>);

impl Completion {
    pub(crate) fn new() -> Completion {
        Completion(Moment::new())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.0.has_come()
    }

    /// The task has ended. Called once, by whoever produced the result.
    pub(crate) fn complete(&self) {
        if let Some(task) = self.0.come() {
            wake::wake(task);
        }
    }

    /// Waits in whatever way suits the caller: a task suspends, a thread sleeps.
    pub(crate) fn wait(&self) {
        match Fiber::carried() {
            Some(fiber) => self.wait_as_task(fiber),
            None => self.0.wait_as_thread(),
        }
    }

    fn wait_as_task(&self, fiber: &Fiber) {
        if self.is_done() || !self.0.expect(fiber.task()) {
            return;
        }
        while !self.is_done() {
            fiber.wait(None);
        }
    }
}
