//! What must come out even: tasks, closures, joins, permits.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Counts of one runtime's life. Each pair is equal at its end.
#[derive(Default)]
pub(crate) struct Counts {
    /// Counted before the task can exist.
    pub(crate) spawned: AtomicU64,
    /// Closures that were handed to the runtime.
    pub(crate) closures_made: AtomicU64,
    pub(crate) closures_dropped: AtomicU64,
    pub(crate) joins_begun: AtomicU64,
    pub(crate) joins_answered: AtomicU64,
    /// Joins from which a cancelled task unwound.
    pub(crate) joins_left: AtomicU64,
    pub(crate) permits_given: AtomicU64,
    pub(crate) permits_taken: AtomicU64,
    /// Permits given to a task that was cancelled before it could take them.
    pub(crate) permits_forfeited: AtomicU64,
    pub(crate) returned: AtomicU64,
    pub(crate) panicked: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    /// Bodies of tasks that run.
    pub(crate) bodies: AtomicI64,
    wrong: Mutex<Vec<String>>,
}

pub(crate) fn add(count: &AtomicU64) {
    count.fetch_add(1, Relaxed); // Relaxed: a count; read after everything has ended.
}

/// Takes back what was counted in advance.
pub(crate) fn take_back(count: &AtomicU64) {
    count.fetch_sub(1, Relaxed); // Relaxed: as in `add`.
}

pub(crate) fn get(count: &AtomicU64) -> u64 {
    count.load(Relaxed) // Relaxed: as above.
}

/// Objections that are kept in words.
const WRONG_MAX: usize = 20;

impl Counts {
    /// Something is wrong that no sum would show.
    pub(crate) fn object(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() < WRONG_MAX {
            wrong.push(what);
        }
    }

    /// Takes what was wrong so far.
    pub(crate) fn take_wrong(&self) -> Vec<String> {
        core::mem::take(&mut *self.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Compares what must be equal now that everything has ended. `finished` is what the runtime counted.
    pub(crate) fn settle(&self, finished: u64) {
        let even = |what: &str, left: u64, right: u64| {
            if left != right {
                self.object(format!("count: {what}: {left} and {right}"));
            }
        };
        even("spawned and finished", get(&self.spawned), finished);
        let (made, dropped) = (&self.closures_made, &self.closures_dropped);
        even("closures made and dropped", get(made), get(dropped));
        let answered = get(&self.joins_answered) + get(&self.joins_left);
        even("joins begun and over", get(&self.joins_begun), answered);
        let taken = get(&self.permits_taken) + get(&self.permits_forfeited);
        even("permits given and taken", get(&self.permits_given), taken);
        let bodies = self.bodies.load(Relaxed); // Relaxed: everything has ended.
        if bodies != 0 {
            self.object(format!("count: {bodies} bodies of tasks have not ended"));
        }
    }
}

/// Dropped with the closure that it is in: exactly once.
pub(crate) struct Token {
    counts: std::sync::Arc<Counts>,
    is_whole: bool,
}

impl Token {
    pub(crate) fn new(counts: &std::sync::Arc<Counts>) -> Token {
        add(&counts.closures_made);
        Token {
            counts: counts.clone(),
            is_whole: true,
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !core::mem::replace(&mut self.is_whole, false) {
            self.counts
                .object("count: a closure was dropped twice".into());
        }
        add(&self.counts.closures_dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn even_counts_draw_no_objection() {
        let counts = Arc::new(Counts::default());
        add(&counts.spawned);
        drop(Token::new(&counts));
        counts.settle(1);
        assert_eq!(counts.take_wrong(), [""; 0]);
    }

    #[test]
    fn each_uneven_pair_is_named() {
        let counts = Arc::new(Counts::default());
        add(&counts.joins_begun);
        add(&counts.permits_given);
        let token = Token::new(&counts);
        counts.settle(1);
        core::mem::forget(token);
        assert_eq!(counts.take_wrong().len(), 4);
    }
}
