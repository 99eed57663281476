//! The runqueue of one CPU: its current task and those that wait for it.
//!
//! The kernel keeps a queue of all runnable tasks and, beside it, a sorted list of the pushable ones.
//! Two lists per task double the work of every enqueue. Here a queued task is in exactly one of three
//! arrays, by why it may or may not leave: *free*, *held* (it has a migrate-disable guard) and *bound*
//! (one CPU only). The free array is the pushable list; the held array is who might be stuck. Picking
//! compares three heads.
//!
//! The current task is not in an array. Its place is kept by its key: put back as preempted it stands in
//! front of its level, put back as yielded behind it.
//!
//! Cost: every operation is constant, but for inserting a task that comes from elsewhere (the tasks of
//! its level with a later key) and [`Runqueue::remove`]. Nothing allocates.

mod published;
mod turn;

use crate::fifo::{FifoArray, KEY_ORDINARY};
use crate::primitives::atomic::Ordering::Relaxed;
use crate::{CarrierId, CpuId, Entity, Level, Movable, Node, Prio, Residence, TaskRef};

/// Where a CPU's clock of enqueues starts: so many tasks can be put in front of one that stays.
const SEQ_START: u64 = 1 << 32;

/// Where in its level a task is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Place {
    /// Behind its equals: a wake, a yield, the end of a slice, a raise.
    Tail = 0,
    /// In front of those that have not run: it was preempted, here or elsewhere.
    Preempted = 1,
    /// As it stood on the runqueue that it comes from: it was pushed or pulled while queued.
    Keep = 2,
    /// In front of all its equals: its priority was lowered.
    Head = 3,
}

/// What became of a task that was to be enqueued.
#[must_use]
pub enum Arrival<T> {
    /// It is queued here; `preempts` says that it is above the current task.
    Queued {
        /// Whether the CPU should switch to it.
        preempts: bool,
    },
    /// It may not run here (its affinity changed on the way): the caller places it anew.
    Elsewhere(TaskRef<T>),
}

/// What publishing changed.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The CPU's level went down, now or since the last pull: the worker of this CPU pulls.
    Lowered,
    /// It stayed or went up.
    NotLowered,
}

/// The runnable tasks of one CPU.
pub struct Runqueue<T> {
    cpu: CpuId,
    free: FifoArray<T>,
    held: FifoArray<T>,
    bound: FifoArray<T>,
    current: Option<TaskRef<T>>,
    /// The least level to publish: the one of a CPU with nothing real-time runnable.
    rest: Level,
    seq: u64,
    owes_pull: bool,
    worker: Option<CarrierId>,
}

impl<T> Runqueue<T> {
    /// An empty runqueue for `cpu`.
    pub fn new(cpu: CpuId) -> Runqueue<T> {
        let (free, held, bound) = (FifoArray::new(), FifoArray::new(), FifoArray::new());
        Runqueue {
            cpu,
            free,
            held,
            bound,
            current: None,
            rest: Level::IDLE,
            seq: SEQ_START,
            owes_pull: false,
            worker: None,
        }
    }

    /// The CPU this runqueue belongs to.
    pub fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// Gives the worker role of this CPU to `carrier`.
    pub fn grant_role(&mut self, carrier: CarrierId) {
        self.worker = Some(carrier);
    }

    /// Who has the worker role.
    pub fn worker(&self) -> Option<CarrierId> {
        self.worker
    }

    /// Sets the least level to publish: idle, background, that of work that the runqueue does not see, or
    /// invalid.
    pub fn set_rest(&mut self, rest: Level) {
        self.rest = rest;
    }

    /// The task that the CPU runs.
    pub fn current(&self) -> Option<&TaskRef<T>> {
        self.current.as_ref()
    }

    /// The number of queued tasks, the current one not among them.
    pub fn queued(&self) -> usize {
        self.free.len() + self.held.len() + self.bound.len()
    }

    /// The most urgent queued priority.
    #[inline]
    pub fn top_queued(&self) -> Option<Prio> {
        if self.all_are_free() {
            return self.free.top();
        }
        self.free.top().max(self.held.top()).max(self.bound.top())
    }

    /// The level of the most urgent runnable task, running or queued.
    pub fn top(&self) -> Level {
        let queued = self.top_queued().map_or(self.rest, Level::of);
        queued.max(self.running()).max(self.rest)
    }

    /// The level of the current task.
    pub fn running(&self) -> Level {
        self.current
            .as_ref()
            .map_or(self.rest, |task| task.entity().level())
    }

    /// Whether a queued task is above the current one.
    pub fn must_switch(&self) -> bool {
        self.top_queued().map_or(Level::IDLE, Level::of) > self.running()
    }

    /// Whether a queued task is at the level of the current one, or above.
    pub fn has_peer(&self) -> bool {
        self.top_queued()
            .is_some_and(|prio| Level::of(prio) >= self.running())
    }

    /// Enqueues a task that is runnable and on no queue.
    pub fn enqueue(&mut self, task: TaskRef<T>, place: Place) -> Arrival<T> {
        let entity = task.entity();
        entity.adopt(self.cpu);
        let movable = entity.movable();
        if movable != Movable::Held && !entity.affinity().contains(self.cpu) {
            return Arrival::Elsewhere(task);
        }
        entity.claim(Residence::Queued);
        let level = self.file(task, movable, place);
        Arrival::Queued {
            preempts: level > self.running(),
        }
    }

    /// Puts a task that is claimed for this queue into its array; returns its level.
    #[inline]
    fn file(&mut self, task: TaskRef<T>, movable: Movable, place: Place) -> Level {
        let entity = task.entity();
        let prio = entity.prio();
        let key = self.key(entity, prio, place);
        entity.set_filed(movable);
        self.array_mut(movable).insert(task, prio, key);
        Level::of(prio)
    }

    /// Makes the most urgent queued task current and returns it.
    ///
    /// # Panics
    /// If there is a current task: it is put back or taken first.
    pub fn pick_next(&mut self) -> Option<&TaskRef<T>> {
        assert!(
            self.current.is_none(),
            "the current task is put back before the next is picked"
        );
        let task = self.array_mut(self.best()?).pop()?;
        task.entity().set_residence(Residence::Current);
        self.current = Some(task);
        self.current.as_ref()
    }

    /// The task that [`Runqueue::pick_next`] would pick.
    #[inline]
    pub fn peek(&self) -> Option<&Node<T>> {
        self.array(self.best()?).first_node()
    }

    /// Whether no queued task is held or bound.
    #[inline]
    fn all_are_free(&self) -> bool {
        self.held.len() + self.bound.len() == 0
    }

    /// The array whose first task is picked next.
    #[inline]
    fn best(&self) -> Option<Movable> {
        let (free, held, bound) = (&self.free, &self.held, &self.bound);
        if self.all_are_free() {
            return free.top().map(|_| Movable::Free);
        }
        // The last of equals is taken: those who may leave go first.
        let arrays = [
            (bound, Movable::Bound),
            (held, Movable::Held),
            (free, Movable::Free),
        ];
        let firsts = arrays.map(|(array, movable)| (array.first().map(rank), movable));
        let best = firsts.into_iter().max_by_key(|(rank, _)| *rank)?;
        best.0.map(|_| best.1)
    }

    /// A queued task whose priority or affinity no longer fits where it is filed; walks the queue.
    ///
    /// For a CPU that knows of a change but not of which task: a second changer must not depend on the
    /// letter of a first one that was stopped before it left it.
    pub fn misfiled(&self) -> Option<TaskRef<T>> {
        let is_misfiled = |task: &&Node<T>| {
            let entity = task.entity();
            let may_stay = entity.held() > 0 || entity.affinity().contains(self.cpu);
            entity.prio() != queued_prio(entity) || entity.movable() != entity.filed() || !may_stay
        };
        self.iter_queued().find(is_misfiled).map(Node::reference)
    }

    /// Takes the most urgent queued task off, whoever is current: for emptying a CPU that ends.
    pub fn pop_queued(&mut self) -> Option<TaskRef<T>> {
        let arrays = [&mut self.free, &mut self.held, &mut self.bound];
        let array = arrays.into_iter().max_by_key(|array| array.top())?;
        let task = array.pop()?;
        task.entity().set_residence(Residence::Away);
        Some(task)
    }

    /// Puts the current task back into the queue.
    ///
    /// It stays claimed for this runqueue throughout, so that costs no locked instruction.
    ///
    /// # Panics
    /// If there is none.
    pub fn put_prev(&mut self, place: Place) -> Arrival<T> {
        let task = self
            .current
            .take()
            .expect("only a current task is put back");
        let movable = task.entity().movable();
        if movable != Movable::Held && !task.entity().affinity().contains(self.cpu) {
            task.entity().set_residence(Residence::Away);
            return Arrival::Elsewhere(task);
        }
        task.entity().set_residence(Residence::Queued);
        let level = self.file(task, movable, place);
        Arrival::Queued {
            preempts: level > self.rest,
        }
    }

    /// Takes the current task off the runqueue: it waits, ends or leaves for another CPU.
    pub fn take_current(&mut self) -> Option<TaskRef<T>> {
        let task = self.current.take()?;
        task.entity().set_residence(Residence::Away);
        Some(task)
    }

    /// Takes `task` out of the queue if it is queued here.
    pub fn remove(&mut self, task: &Node<T>) -> Option<TaskRef<T>> {
        let entity = task.entity();
        if entity.residence() != Residence::Queued || entity.last_cpu() != self.cpu {
            return None;
        }
        let task = self.array_mut(entity.filed()).remove(task);
        task.entity().set_residence(Residence::Away);
        Some(task)
    }

    /// Every queued task: most urgent first within free, then held, then bound.
    pub fn iter_queued(&self) -> impl Iterator<Item = &Node<T>> {
        self.free
            .iter()
            .chain(self.held.iter())
            .chain(self.bound.iter())
    }

    #[inline]
    fn array(&self, movable: Movable) -> &FifoArray<T> {
        match movable {
            Movable::Free => &self.free,
            Movable::Held => &self.held,
            Movable::Bound => &self.bound,
        }
    }

    #[inline]
    fn array_mut(&mut self, movable: Movable) -> &mut FifoArray<T> {
        match movable {
            Movable::Free => &mut self.free,
            Movable::Held => &mut self.held,
            Movable::Bound => &mut self.bound,
        }
    }

    #[inline]
    fn key(&mut self, entity: &Entity, prio: Prio, place: Place) -> u64 {
        let stamp = entity.key.load(Relaxed) & !KEY_ORDINARY; // Relaxed: under the runqueue lock.
        match place {
            Place::Tail => {
                // A clock in Lamport's sense: later than all that this CPU has seen.
                self.seq = self.seq.max(stamp) + 1;
                KEY_ORDINARY | self.seq
            }
            Place::Preempted | Place::Keep => {
                self.seq = self.seq.max(stamp);
                let ordinary = entity.key.load(Relaxed) & KEY_ORDINARY; // Relaxed: as above.
                if place == Place::Keep {
                    ordinary | stamp
                } else {
                    stamp
                }
            }
            Place::Head => {
                let arrays = [&self.free, &self.held, &self.bound];
                let first = arrays.iter().filter_map(|array| array.first_of(prio));
                let first = first.map(|entity| entity.key.load(Relaxed)).min(); // Relaxed: as above.
                // Just before the first one in time: the stamp stays one that a clock may go on from.
                first.map_or(stamp, |key| (key & !KEY_ORDINARY).saturating_sub(1))
            }
        }
    }
}

/// Greater is picked first: by priority, then by the smaller key.
#[inline]
fn rank(entity: &Entity) -> (u8, core::cmp::Reverse<u64>) {
    let level = entity.level.load(Relaxed); // Relaxed: under the runqueue lock, as is the key.
    (level, core::cmp::Reverse(entity.key.load(Relaxed)))
}

/// The priority by which a queued task is filed.
#[inline]
fn queued_prio(entity: &Entity) -> Prio {
    Prio::from_raw(entity.level.load(Relaxed)) // Relaxed: under the runqueue lock.
}
