//! The tasks of one runtime and their books.
//!
//! Each task has an entry. Its word says whether it runs about or waits for a permit, together with the
//! number of the task that has the entry now, so that a waker that was held up cannot mistake one for
//! another: a waker wins the word from *parked* to *active* and then gives one permit. So every permit has
//! the park that it was meant for, and they can be counted.
//!
//! Who changes a task's priority or affinity claims that first and notes it before and after. Locks here
//! are held for a few instructions and across no safe point.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corelane::{CpuSet, Priority, Task, TaskBuilder};
use corelane_os::clock;
use corelane_sim::Oracle;
use corelane_sim::stream::{Change, Note};

use crate::act;
use crate::count::{Counts, Token, add, take_back};
use crate::fate::{Fate, Owed};

const EMPTY: u64 = 0;
const ACTIVE: u64 = 1;
const PARKED: u64 = 2;
const PHASE_BITS: u32 = 2;

#[derive(Default)]
pub(crate) struct Entry {
    word: AtomicU64,
    task: Mutex<Option<(u64, Task)>>,
    pub(crate) prio_claim: AtomicBool,
    pub(crate) bounds_claim: AtomicBool,
    /// The number of the youngest task that somebody cancelled here.
    cancelled: AtomicU64,
}

pub(crate) struct Cast {
    pub(crate) cpus: usize,
    pub(crate) entries: Vec<Entry>,
    pub(crate) counts: Arc<Counts>,
    /// Nobody changes anything: the state is to be judged.
    pub(crate) hush: AtomicBool,
    /// Every task ends.
    pub(crate) over: AtomicBool,
    /// The runtime is being shut down: whoever unwinds need not be known to have been cancelled.
    pub(crate) closing: AtomicBool,
    /// How long a task lets the CPU rest between two steps.
    pub(crate) pause_us: AtomicU32,
    pub(crate) handles: Mutex<Vec<Owed>>,
    notes: Mutex<Vec<Note>>,
    numbers: AtomicU64,
    seed: u64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cast {
    pub(crate) fn new(cpus: usize, entries: usize, seed: u64) -> Arc<Cast> {
        Arc::new(Cast {
            cpus,
            entries: (0..entries).map(|_| Entry::default()).collect(),
            counts: Arc::default(),
            hush: AtomicBool::new(false),
            over: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            pause_us: AtomicU32::new(20),
            handles: Mutex::default(),
            notes: Mutex::default(),
            numbers: AtomicU64::new(1),
            seed,
        })
    }

    /// Notes something about a task, with the time.
    pub(crate) fn note(&self, task: u64, change: Change) {
        let at_ns = clock::now_ns();
        lock(&self.notes).push(Note {
            task,
            at_ns,
            change,
        });
    }

    pub(crate) fn take_notes(&self) -> Vec<Note> {
        core::mem::take(&mut *lock(&self.notes))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    pub(crate) fn is_hushed(&self) -> bool {
        self.hush.load(SeqCst)
    }

    /// A stream of choices that no other task of this cast has.
    pub(crate) fn choices(&self, number: u64) -> Oracle {
        Oracle::new(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed) // Relaxed: only uniqueness matters.
    }

    /// Wakes a parked task or spawns one, as a random entry says.
    pub(crate) fn stir(self: &Arc<Cast>, choices: &mut Oracle, builder: &TaskBuilder) {
        let index = choices.below(self.entries.len());
        if !self.wake(index) && !self.is_over() {
            self.spawn(index, choices, builder);
        }
    }

    /// Gives the task of an entry its permit if it is parked.
    pub(crate) fn wake(&self, index: usize) -> bool {
        let entry = &self.entries[index];
        let Some((number, task)) = lock(&entry.task).clone() else {
            return false;
        };
        let (parked, active) = (word(number, PARKED), word(number, ACTIVE));
        let is_won = entry
            .word
            .compare_exchange(parked, active, SeqCst, SeqCst)
            .is_ok();
        if is_won {
            add(&self.counts.permits_given);
            task.unpark();
        }
        is_won
    }

    fn spawn(self: &Arc<Cast>, index: usize, choices: &mut Oracle, builder: &TaskBuilder) {
        let entry = &self.entries[index];
        let seen = entry.word.load(SeqCst);
        if seen & 3 != EMPTY {
            return;
        }
        let number = self.next_number();
        let mine = word(number, ACTIVE);
        if entry
            .word
            .compare_exchange(seen, mine, SeqCst, SeqCst)
            .is_err()
        {
            return;
        }
        let (prio, allowed) = (priority(choices), self.some_cpus(choices));
        let (cast, token, bounds) = (self.clone(), Token::new(&self.counts), allowed.clone());
        let fate = Arc::new(Fate::default());
        let own_fate = fate.clone();
        let body = move || {
            let _token = token;
            act::live(&cast, index, number, &bounds, &own_fate)
        };
        let named = builder.clone().priority(prio).affinity(allowed.clone());
        add(&self.counts.spawned);
        let Ok(handle) = named.try_spawn(body) else {
            take_back(&self.counts.spawned);
            entry.word.store(word(number, EMPTY), SeqCst);
            return;
        };
        let prio = prio.get();
        self.note(handle.task().id(), Change::Born { prio, allowed });
        if choices.chance(60) {
            lock(&self.handles).push(Owed {
                handle,
                number,
                fate,
            });
        }
    }

    /// All CPUs mostly; sometimes fewer.
    pub(crate) fn some_cpus(&self, choices: &mut Oracle) -> CpuSet {
        if choices.chance(75) {
            return CpuSet::full(self.cpus);
        }
        CpuSet::single(self.cpus, corelane::CpuId::new(choices.below(self.cpus)))
    }

    /// A task of a random entry.
    pub(crate) fn someone(&self, choices: &mut Oracle) -> Option<(&Entry, u64, Task)> {
        let entry = &self.entries[choices.below(self.entries.len())];
        let (number, task) = lock(&entry.task).clone()?;
        Some((entry, number, task))
    }
}

impl Entry {
    pub(crate) fn task(&self) -> &Mutex<Option<(u64, Task)>> {
        &self.task
    }

    /// The task says that it is here.
    pub(crate) fn enter(&self, number: u64, task: Task) {
        *lock(&self.task) = Some((number, task));
    }

    /// The task has ended; says whether a permit is on its way to it.
    pub(crate) fn leave(&self, number: u64) -> bool {
        let was = self.word.swap(word(number, ACTIVE), SeqCst);
        *lock(&self.task) = None;
        self.word.store(word(number, EMPTY), SeqCst);
        was == word(number, ACTIVE)
    }

    /// The task is about to wait for a permit.
    pub(crate) fn expect_permit(&self, number: u64) {
        self.word.store(word(number, PARKED), SeqCst);
    }

    /// The task gives up waiting, unless a permit is on its way.
    pub(crate) fn give_up(&self, number: u64) -> bool {
        let (parked, active) = (word(number, PARKED), word(number, ACTIVE));
        self.word
            .compare_exchange(parked, active, SeqCst, SeqCst)
            .is_ok()
    }

    /// Somebody is about to cancel the task with this number. A canceller that was held up may come when
    /// the entry is another task's, which must not lose its own mark.
    pub(crate) fn mark_cancelled(&self, number: u64) {
        self.cancelled.fetch_max(number, SeqCst);
    }

    /// Whether somebody has; for that task itself, while the entry is its own.
    pub(crate) fn was_cancelled(&self, number: u64) -> bool {
        self.cancelled.load(SeqCst) == number
    }

    pub(crate) fn has_permit(&self, number: u64) -> bool {
        self.word.load(SeqCst) == word(number, ACTIVE)
    }
}

fn word(number: u64, phase: u64) -> u64 {
    number << PHASE_BITS | phase
}

/// Few enough priorities that many tasks are equals.
pub(crate) fn priority(choices: &mut Oracle) -> Priority {
    let value = 5 + 10 * choices.below(8) as u8;
    Priority::new(value).unwrap_or(Priority::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_canceller_takes_no_mark_away() {
        let entry = Entry::default();
        entry.mark_cancelled(2);
        entry.mark_cancelled(1);
        assert!(entry.was_cancelled(2) && !entry.was_cancelled(3));
    }
}
