//! How a task ended by its own account, for whoever joins it.
//!
//! A joiner that accepts any plausible answer would not notice another task's result, nor that a task which
//! returned is reported as cancelled. So each task leaves word of its end beside its handle, by a way that
//! the runtime has no part in, and the two must agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::*};

use corelane::{JoinError, JoinHandle};

use crate::act::is_planned;

/// How a task's own code ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum End {
    /// It did not: it has not begun, or not ended yet.
    None = 0,
    Returned,
    /// By a planned panic.
    Panicked,
    /// Otherwise: it should have been cancelled, which the task looks after itself.
    Unwound,
}

#[derive(Default)]
pub(crate) struct Fate(AtomicU8);

impl Fate {
    /// The task says how it ended.
    pub(crate) fn seal(&self, end: End) {
        self.0.store(end as u8, Release); // Release: pairs with `end`.
    }

    fn end(&self) -> End {
        // Acquire: pairs with `seal`. Never lost: it comes before the answer to the join.
        match self.0.load(Acquire) {
            0 => End::None,
            1 => End::Returned,
            2 => End::Panicked,
            _ => End::Unwound,
        }
    }
}

/// What is owed to whoever joins a task.
pub(crate) struct Owed {
    pub(crate) handle: JoinHandle<u64>,
    /// What the task returns.
    pub(crate) number: u64,
    pub(crate) fate: Arc<Fate>,
}

/// What is wrong with an answer to a join. `never_started_is_right` while the runtime is shut down.
pub(crate) fn objection(
    fate: &Fate,
    number: u64,
    answer: &Result<u64, JoinError>,
    never_started_is_right: bool,
) -> Option<String> {
    let end = fate.end();
    let is_right = match (end, answer) {
        (End::Returned, Ok(value)) => *value == number,
        (End::Panicked, Err(JoinError::Panicked(payload))) => is_planned(&**payload),
        (End::Unwound, Err(JoinError::Cancelled)) => true,
        (End::None, Err(JoinError::Cancelled)) => never_started_is_right,
        _ => false,
    };
    (!is_right).then(|| format!("join: task {number} ended as {end:?}, the answer is {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::Planned;

    fn is_accepted(end: End, answer: Result<u64, JoinError>, is_closing: bool) -> bool {
        let fate = Fate::default();
        fate.seal(end);
        objection(&fate, 7, &answer, is_closing).is_none()
    }

    #[test]
    fn an_answer_that_agrees_with_the_task_is_accepted() {
        let planned = JoinError::Panicked(Box::new(Planned));
        assert!(is_accepted(End::Returned, Ok(7), false));
        assert!(is_accepted(End::Panicked, Err(planned), false));
        assert!(is_accepted(End::Unwound, Err(JoinError::Cancelled), false));
        assert!(is_accepted(End::None, Err(JoinError::Cancelled), true));
    }

    #[test]
    fn an_answer_that_does_not_is_named() {
        let panic = || JoinError::Panicked(Box::new("not planned"));
        assert!(!is_accepted(End::Returned, Ok(8), true), "another's value");
        assert!(!is_accepted(End::Returned, Err(JoinError::Cancelled), true));
        assert!(!is_accepted(End::Panicked, Err(JoinError::Cancelled), true));
        assert!(!is_accepted(End::Panicked, Err(panic()), true));
        assert!(!is_accepted(End::Unwound, Err(panic()), true));
        assert!(!is_accepted(End::Unwound, Ok(7), true));
        assert!(!is_accepted(End::None, Ok(7), true), "it has not run");
        let unasked = Err(JoinError::Cancelled);
        assert!(!is_accepted(End::None, unasked, false), "nobody shuts down");
    }
}
