//! Sleep and wake on a word, as the kernel does it: the word is compared and the sleeper queued in one step
//! that no wake can come between.
//!
//! Loading the word lets the checker choose another thread first; after that nothing switches until the
//! sleeper is in the queue. Sleepers wake in the order in which they came, by deadline, or for no reason.

use shuttle::sync::atomic::{AtomicU32, Ordering::SeqCst};

pub use corelane_os::futex::Wait;

use crate::machine::{self, Sleeper, switch};
use crate::sabotage::{Sabotage, is_sabotaged};

/// Sleeps while `*word == expected`; see `corelane_os::futex::wait`.
pub fn wait(word: &AtomicU32, expected: u32, deadline_ns: Option<u64>) -> Wait {
    let found = word.load(SeqCst);
    if found != expected && !is_sabotaged(Sabotage::WaitWithoutComparing) {
        return Wait::Changed;
    }
    sleep(word, deadline_ns)
}

/// Wakes at most `count` sleepers of `word` and returns how many it woke.
pub fn wake(word: &AtomicU32, count: u32) -> u32 {
    switch();
    let is_dropped = is_sabotaged(Sabotage::DropWakes)
        && machine::with(|machine| {
            machine.wakes += 1;
            machine.wakes.is_multiple_of(3)
        });
    if is_dropped { 0 } else { rouse(word, count) }
}

/// The same for the seam itself, which no control breaks.
pub(crate) fn wait_for_change(word: &AtomicU32, from: u32) -> u32 {
    loop {
        match word.load(SeqCst) {
            now if now != from => return now,
            _ => _ = sleep(word, None),
        }
    }
}

pub(crate) fn rouse(word: &AtomicU32, count: u32) -> u32 {
    let key = core::ptr::from_ref(word).addr();
    let mut woken = 0;
    while woken < count
        && let Some(thread) = machine::with(|machine| machine.first_sleeper(key))
    {
        thread.unpark();
        woken += 1;
    }
    woken
}

/// The word has been compared, and nobody has run since.
fn sleep(word: &AtomicU32, deadline_ns: Option<u64>) -> Wait {
    let (task, thread) = (shuttle::current::me(), shuttle::thread::current());
    let word = core::ptr::from_ref(word).addr();
    machine::with(|machine| {
        machine.sleepers.push(Sleeper { word, task, thread });
    });
    match deadline_ns.filter(|_| !is_sabotaged(Sabotage::ForgetDeadlines)) {
        Some(deadline_ns) => machine::sleep_until(deadline_ns),
        None => shuttle::thread::park(),
    }
    let was_not_woken = machine::with(|machine| machine.leave_queue(task));
    match deadline_ns {
        Some(_) if was_not_woken => Wait::TimedOut,
        _ => Wait::Woken, // also for no reason
    }
}
