//! Taking tasks in: each gets a number, is counted, and after a certain moment none is taken.
//!
//! One counter for all CPUs would travel between their caches at each spawn. So every CPU has a lane of its
//! own, and ordinary threads share one: a count of the tasks that were taken in through it, and the rest of
//! a block of numbers.
//!
//! A runtime that ends must know that no task is left, and a task that spawns at that moment must not slip
//! through. Both sides announce first and look second:
//!
//! ```text
//!   admit: count up (SeqCst), read the phase (SeqCst)      drain: set the phase (SeqCst), read the counts (SeqCst)
//! ```
//!
//! In the one order of all SeqCst accesses either the spawner's read comes after the phase was set, and it
//! takes its count back; or it comes before, then its count does too, and whoever drains sees it. A count that
//! is taken back was too high for a moment, never too low: whoever drains looks once more.
//!
//! Cost: two locked instructions on a cache line of the own CPU; every [`BLOCK`] tasks one on a shared line.

use crate::primitives::atomic::{AtomicU32, AtomicU64, Ordering::*};

use corelane_percpu::CachePadded;
use corelane_sched::CpuId;

/// The runtime takes tasks.
const RUNNING: u32 = 0;
/// It takes no more, and ends those it has.
const DRAINING: u32 = 1;
/// Its threads return.
const STOPPING: u32 = 2;

/// How many numbers a lane takes at once. The first of a block is not given to a task: it says that the block
/// before it is used up.
const BLOCK: u64 = 1 << 10;

crate::primitives::global! {
    /// The first block that nobody has. Numbers are unique in the process.
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);
}

pub(crate) struct Admission {
    phase: AtomicU32,
    /// One for each CPU, and the last one for everybody else.
    lanes: Box<[CachePadded<Lane>]>,
}

struct Lane {
    /// Tasks taken in here. A task is counted before it can end.
    admitted: AtomicU64,
    next_id: AtomicU64,
}

impl Admission {
    pub(crate) fn new(cpus: usize) -> Admission {
        let lane = |_| {
            CachePadded::new(Lane {
                admitted: AtomicU64::new(0),
                next_id: AtomicU64::new(0),
            })
        };
        Admission {
            phase: AtomicU32::new(RUNNING),
            lanes: (0..=cpus).map(lane).collect(),
        }
    }

    /// Counts a task that is about to be spawned by `spawner`, the CPU of a task or an ordinary thread, and
    /// numbers it; `None` if the runtime takes no more.
    #[inline]
    pub(crate) fn admit(&self, spawner: Option<CpuId>) -> Option<u64> {
        let lane = self.lane(spawner);
        if !crate::primitives::sabotaged!(OmitAdmission) {
            lane.admitted.fetch_add(1, SeqCst); // SeqCst, as the load: see the module's page.
        }
        if self.phase.load(SeqCst) != RUNNING {
            lane.admitted.fetch_sub(1, Relaxed); // Relaxed: it was never more than an intention.
            return None;
        }
        Some(lane.number())
    }

    /// A number for a task that was not taken in.
    pub(crate) fn number(&self) -> u64 {
        self.lane(None).number()
    }

    fn lane(&self, spawner: Option<CpuId>) -> &Lane {
        let others = self.lanes.len() - 1;
        &self.lanes[spawner.map_or(others, CpuId::index)]
    }

    /// How many tasks were taken in: at least those whose end the caller has seen, and after [`Self::drain`]
    /// at least all there are.
    pub(crate) fn count(&self) -> u64 {
        // SeqCst: see the module's page.
        let counts = self.lanes.iter().map(|lane| lane.admitted.load(SeqCst));
        counts.sum()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase.load(Relaxed) != RUNNING // Relaxed: advice; `admit` has a load of its own.
    }

    pub(crate) fn is_stopping(&self) -> bool {
        // SeqCst: pairs with `stop`, and for a spawner that looks after it left its task with the fence in
        // `shutdown::discard_queued`: either it sees us stopping, or its task is seen there.
        self.phase.load(SeqCst) == STOPPING
    }

    /// From now on no task is taken.
    pub(crate) fn drain(&self) {
        // SeqCst: see the module's page. What the dropper did before is visible as well.
        self.phase.store(DRAINING, SeqCst);
    }

    /// From now on threads return.
    pub(crate) fn stop(&self) {
        self.phase.store(STOPPING, SeqCst); // SeqCst: pairs with `is_stopping`.
    }
}

impl Lane {
    /// A number that no other task has.
    #[inline]
    fn number(&self) -> u64 {
        let mut seen = self.next_id.load(Relaxed); // Relaxed, as all here: only uniqueness matters.
        loop {
            let id = if seen.is_multiple_of(BLOCK) {
                NEXT_BLOCK.fetch_add(1, Relaxed) * BLOCK + 1
            } else {
                seen
            };
            // Blocks only grow, so a word that has the same value again was not changed in between. Lost to
            // another thread of the lane: again; a block that was taken for nothing stays unused.
            match self
                .next_id
                .compare_exchange_weak(seen, id + 1, Relaxed, Relaxed)
            {
                Ok(_) => return id,
                Err(now) => seen = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tasks_have_the_same_number() {
        const EACH: usize = 5_000;
        let admissions = [Admission::new(1), Admission::new(1)];
        let admit = |thread: usize| {
            let (admission, spawner) = (
                &admissions[thread % 2],
                (thread >= 4).then(|| CpuId::new(0)),
            );
            let admit = |_| admission.admit(spawner).expect("it runs");
            (0..EACH).map(admit).collect::<Vec<u64>>()
        };
        let mut ids: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || admit(i))).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        ids.sort_unstable();
        assert!(ids[0] > 0);
        ids.dedup();
        assert_eq!(ids.len(), 8 * EACH);
        assert!(
            admissions
                .iter()
                .all(|admission| admission.count() == 4 * EACH as u64)
        );
    }

    #[test]
    fn after_draining_every_task_that_was_taken_is_counted_and_none_is_taken() {
        for _ in 0..500 {
            let admission = Admission::new(1);
            let spawn = |spawner: Option<CpuId>| {
                let taken = (0..20)
                    .filter(|_| admission.admit(spawner).is_some())
                    .count();
                taken as u64
            };
            std::thread::scope(|scope| {
                let (spawn, admission) = (&spawn, &admission);
                let near = scope.spawn(move || spawn(Some(CpuId::new(0))));
                let far = scope.spawn(move || spawn(None));
                admission.drain();
                let counted = admission.count();
                let taken = near.join().unwrap() + far.join().unwrap();
                assert!(counted >= taken, "{taken} were taken, {counted} counted");
                assert_eq!(admission.count(), taken);
                assert_eq!(admission.admit(None), None);
            });
        }
    }
}
