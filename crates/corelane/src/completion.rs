//! One moment that one waiter waits for: the end of a task.
//!
//! The waiter is a task or an ordinary thread, and the two sleep differently: a task leaves its CPU to
//! others, a thread sleeps in the kernel. A condition variable would serve the thread and block the task's
//! worker. The word between them is a [`Moment`]; here is how tasks wait for it and are woken.

use corelane_sched::Node;

use crate::current::Fiber;
use crate::moment::Moment;
use crate::task_body::Body;
use crate::wake;

pub(crate) use crate::moment::Owner;

pub(crate) struct Completion(Moment<Node<Body>>);

impl Completion {
    pub(crate) fn new() -> Completion {
        Completion(Moment::new())
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.0.has_come()
    }

    /// The moment has come. Called once, by whoever produced the result.
    #[inline]
    pub(crate) fn complete(&self) -> Owner {
        self.0.come(wake::wake)
    }

    /// Waits in whatever way suits the caller: a task suspends, a thread sleeps. The one waiter calls it,
    /// once.
    #[inline]
    pub(crate) fn wait(&self) {
        if self.is_done() {
            return;
        }
        match Fiber::carried() {
            Some(fiber) => self.wait_as_task(fiber),
            None => self.0.wait_as_thread(),
        }
    }

    fn wait_as_task(&self, fiber: &Fiber) {
        if !self.0.expect(fiber.task()) {
            return;
        }
        while !self.is_done() {
            fiber.wait(None);
        }
    }

    /// Nobody will wait, or go on waiting. The waiter calls it, instead of or after `wait`.
    #[inline]
    pub(crate) fn detach(&self) -> Owner {
        self.0.detach()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::atomic::{AtomicU32, Ordering::Relaxed};

    #[test]
    fn a_moment_that_has_come_is_not_waited_for_and_stays_the_waiters() {
        let moment = Completion::new();
        assert!(!moment.is_done());
        assert_eq!(moment.complete(), Owner::Waiter);
        moment.wait();
        assert!(moment.is_done());
        assert_eq!(moment.detach(), Owner::Waiter);
    }

    #[test]
    fn a_completer_is_told_that_nobody_waits() {
        let moment = Completion::new();
        assert_eq!(moment.detach(), Owner::Completer);
        assert!(!moment.is_done());
        assert_eq!(moment.complete(), Owner::Completer);
    }

    #[test]
    fn of_detaching_and_completing_at_once_exactly_one_owns_the_result() {
        for _ in 0..2_000 {
            let moment = Completion::new();
            let (detached, completed) = std::thread::scope(|scope| {
                let detaches = scope.spawn(|| moment.detach());
                (moment.complete(), detaches.join().unwrap())
            });
            assert_eq!(detached, completed, "both know whose it is");
        }
    }

    #[test]
    fn a_thread_that_waits_sees_what_was_written_before_the_moment() {
        for _ in 0..500 {
            let (moment, value) = (Completion::new(), AtomicU32::new(0));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    value.store(7, Relaxed);
                    let _ = moment.complete();
                });
                moment.wait();
                assert_eq!(value.load(Relaxed), 7);
            });
        }
    }
}
