//! What the scheduler knows of a task, and the reference by which a task is handed around.
//!
//! A [`Node`] is one allocation: the scheduler's [`Entity`] followed by a body that this crate never
//! looks at. Queues link entities, so queueing a million tasks allocates nothing. A [`TaskRef`] moves
//! *into* a queue and comes out again; there is no way to hold a task that is queued twice.
//!
//! Fields and who writes them:
//! - `state`: anyone, by its transitions.
//! - `own`, `affinity`: whoever changes a live task; followed by a letter to [`Entity::home`].
//! - `home`, `residence`, `level`, `key`, `links`: under the lock of the runqueue that the task is on.
//! - `held`: the running task itself (nesting of migrate-disable).
//! - `letters`: the inbox that the task is in.
//!
//! Raw here: `links` is an `UnsafeCell` that only `fifo.rs` opens, under `&mut` of the queue that holds
//! the entity, and `from_raw` rebuilds a reference from a pointer made by `into_raw`. The property tests
//! of `tests/` and the runtime's AddressSanitizer runs exercise both.

use crate::primitives::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::*, fence,
};
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use intrusive_collections::RBTreeAtomicLink;

use crate::{CpuId, CpuMask, Level, Place, Prio, SharedMask, StateWord};

/// How a task shares its level with its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// It runs until it waits, yields or is preempted.
    Fifo,
    /// It goes behind its peers after `slice_ns` of running.
    RoundRobin {
        /// How long it may run before a peer's turn, in nanoseconds.
        slice_ns: u64,
    },
}

/// Where a task may go when it is queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Movable {
    /// To any CPU of its affinity.
    Free = 0,
    /// Nowhere: it holds a migrate-disable guard.
    Held = 1,
    /// Nowhere: its affinity is a single CPU.
    Bound = 2,
}

/// What the runqueue of its home does with a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Residence {
    /// It is on no runqueue: waiting, done, or on its way.
    Away = 0,
    /// It is queued on its home.
    Queued = 1,
    /// It is its home's current task.
    Current = 2,
    /// It is on its way, in an inbox or a slot.
    Letter = 3,
}

/// The links of an entity in a runqueue, owned by whoever has `&mut` of that runqueue.
#[derive(Default)]
pub(crate) struct Links {
    pub(crate) prev: Option<NonNull<Entity>>,
    pub(crate) next: Option<NonNull<Entity>>,
}

/// The scheduler's part of a task.
///
/// What a waker on another CPU reads and writes stands together at the front: each line of it that the
/// task's last CPU wrote costs the waker a trip to that CPU.
#[repr(C)]
pub struct Entity {
    state: StateWord,
    held: AtomicU32,
    home: AtomicU16,
    own: AtomicU8,
    residence: AtomicU8,
    place: AtomicU8,
    filed: AtomicU8,
    pub(crate) level: AtomicU8,
    wants_attention: AtomicBool,
    pub(crate) change_posted: AtomicBool,
    affinity: SharedMask,
    pub(crate) arrival_next: AtomicPtr<Entity>,
    pub(crate) change_next: AtomicPtr<Entity>,
    pub(crate) key: AtomicU64,
    pub(crate) links: UnsafeCell<Links>,
    slice_ns: AtomicU64,
}

// SAFETY: every field but `links` is atomic. `links` is opened only by `fifo.rs`, with `&mut` of the one
// list that holds the entity; an entity enters a list by value of its only `TaskRef` in flight.
unsafe impl Sync for Entity {}
// SAFETY: as above; the pointers in `links` are to entities that the same list keeps alive.
unsafe impl Send for Entity {}

impl Entity {
    #[inline]
    fn new(prio: Prio, policy: Policy, affinity: SharedMask, home: CpuId) -> Entity {
        let slice_ns = match policy {
            Policy::Fifo => 0,
            Policy::RoundRobin { slice_ns } => slice_ns.max(1),
        };
        Entity {
            state: StateWord::new(),
            own: AtomicU8::new(prio.get()),
            slice_ns: AtomicU64::new(slice_ns),
            affinity,
            home: AtomicU16::new(home.index() as u16),
            residence: AtomicU8::new(Residence::Away as u8),
            filed: AtomicU8::new(Movable::Free as u8),
            place: AtomicU8::new(Place::Tail as u8),
            held: AtomicU32::new(0),
            wants_attention: AtomicBool::new(false),
            level: AtomicU8::new(0),
            key: AtomicU64::new(0),
            links: UnsafeCell::new(Links::default()),
            arrival_next: AtomicPtr::default(),
            change_next: AtomicPtr::default(),
            change_posted: AtomicBool::new(false),
        }
    }

    /// The task's state word.
    #[inline]
    pub fn state(&self) -> &StateWord {
        &self.state
    }

    /// The effective priority: what queues, cpupri and pushing go by.
    ///
    /// Inheritance will raise it above the task's own; today they are equal.
    #[inline]
    pub fn prio(&self) -> Prio {
        // Relaxed: a change is followed by a letter to the task's home, which orders it.
        Prio::from_raw(self.own.load(Relaxed))
    }

    /// The level of [`Entity::prio`].
    #[inline]
    pub fn level(&self) -> Level {
        Level::of(self.prio())
    }

    /// Changes the task's priority. Afterwards the caller posts a change letter to [`Entity::home`].
    #[inline]
    pub fn set_prio(&self, prio: Prio) {
        self.own.store(prio.get(), Relaxed); // Relaxed: `home` fences, see there.
    }

    /// The policy among equals.
    #[inline]
    pub fn policy(&self) -> Policy {
        // Relaxed: a single value, read by the CPU that runs the task at its safe points.
        match self.slice_ns.load(Relaxed) {
            0 => Policy::Fifo,
            slice_ns => Policy::RoundRobin { slice_ns },
        }
    }

    /// Where the task may run, apart from migrate-disable.
    #[inline]
    pub fn affinity(&self) -> &SharedMask {
        &self.affinity
    }

    /// Whether and why the task cannot leave its home.
    #[inline]
    pub fn movable(&self) -> Movable {
        if self.held() > 0 {
            Movable::Held
        } else if self.affinity.count() == 1 {
            Movable::Bound
        } else {
            Movable::Free
        }
    }

    /// The CPU on whose runqueue the task is, or last was.
    ///
    /// Someone who changed a live task reads this to know whom to tell. Fences: the changer writes, then
    /// reads `home`; an enqueuer writes `home`, then reads. One of the two sees the other, so either the
    /// enqueuer uses the new value or the letter reaches the new home.
    #[inline]
    pub fn home(&self) -> CpuId {
        fence(SeqCst); // pairs with the fence in `adopt`
        CpuId::new(self.home.load(Relaxed) as usize) // Relaxed: the fence orders it.
    }

    /// Where the task was last, as a hint.
    #[inline]
    pub fn last_cpu(&self) -> CpuId {
        CpuId::new(self.home.load(Relaxed) as usize) // Relaxed: a hint.
    }

    /// What its home does with the task; exact only under the home's lock.
    #[inline]
    pub fn residence(&self) -> Residence {
        // Acquire: pairs with `set_residence`, so that a task seen queued is seen on its new home.
        match self.residence.load(Acquire) {
            0 => Residence::Away,
            1 => Residence::Queued,
            2 => Residence::Current,
            _ => Residence::Letter,
        }
    }

    /// Takes the task, which is nowhere, to where it is linked.
    ///
    /// # Panics
    /// If it is somewhere already: a task that is linked twice would corrupt the lists.
    #[inline]
    pub(crate) fn claim(&self, residence: Residence) {
        // AcqRel: pairs with itself, so that one of two claims fails.
        let seen = self.residence.swap(residence as u8, AcqRel);
        assert_eq!(
            seen,
            Residence::Away as u8,
            "a task is in one place at a time"
        );
    }

    #[inline]
    pub(crate) fn set_residence(&self, residence: Residence) {
        self.residence.store(residence as u8, Release); // Release: pairs with `residence`.
    }

    /// In which array of its runqueue the task was put; its affinity may have changed since.
    #[inline]
    pub(crate) fn filed(&self) -> Movable {
        match self.filed.load(Relaxed) {
            // Relaxed: under the runqueue lock.
            0 => Movable::Free,
            1 => Movable::Held,
            _ => Movable::Bound,
        }
    }

    #[inline]
    pub(crate) fn set_filed(&self, movable: Movable) {
        self.filed.store(movable as u8, Relaxed); // Relaxed: under the runqueue lock.
    }

    /// Makes `cpu` the task's home, before priority and affinity are read for queueing.
    #[inline]
    pub fn adopt(&self, cpu: CpuId) {
        if self.last_cpu() != cpu {
            self.home.store(cpu.index() as u16, Relaxed); // Relaxed: the fence orders it.
            fence(SeqCst); // pairs with the fence in `home`; lost: the letter comes to this CPU
        }
    }

    /// Where in its level the task is to be put when it arrives.
    #[inline]
    pub(crate) fn place(&self) -> Place {
        match self.place.load(Relaxed) {
            // Relaxed: travels with the task through an inbox or a slot, which order it.
            0 => Place::Tail,
            1 => Place::Preempted,
            2 => Place::Keep,
            _ => Place::Head,
        }
    }

    #[inline]
    pub(crate) fn set_place(&self, place: Place) {
        self.place.store(place as u8, Relaxed); // Relaxed: see `place`.
    }

    /// How many migrate-disable guards the task holds.
    #[inline]
    pub fn held(&self) -> u32 {
        self.held.load(Relaxed) // Relaxed: others use it as advice, or after the task has been left.
    }

    /// Files how many guards the task holds, for a runtime that counts them elsewhere while it runs.
    #[inline]
    pub fn set_held(&self, held: u32) {
        self.held.store(held, Relaxed); // Relaxed: only the task itself writes it.
    }

    /// One more guard, for a scheduler that counts here: the simulator and the tests. The runtime counts in a word
    /// of the fiber and files the number ([`Entity::set_held`]). Only the running task itself calls this.
    ///
    /// # Panics
    /// After 2^32 - 1 nested guards.
    #[inline]
    pub fn hold(&self) {
        let held = self.held.load(Relaxed); // Relaxed: only the task itself writes it.
        assert!(
            held != u32::MAX,
            "migrate-disable guards nest at most 2^32 - 1 deep"
        );
        self.held.store(held + 1, Relaxed);
    }

    /// One guard less. Says whether the scheduler has been waiting for the last one.
    #[inline]
    #[must_use]
    pub fn release(&self) -> bool {
        let held = self.held.load(Relaxed); // Relaxed: only the task itself writes it.
        debug_assert!(held > 0, "a guard is released once");
        self.held.store(held - 1, Relaxed);
        // Relaxed: set by the scheduler of this CPU, on this thread, while the task was suspended.
        held == 1 && self.wants_attention.load(Relaxed)
    }

    /// Releases all guards at once, at the end of the task; returns how many there were.
    #[inline]
    pub fn release_all(&self) -> u32 {
        self.held.swap(0, Relaxed) // Relaxed: only the task itself writes it.
    }

    /// Asks the task to enter the scheduler when it drops its last guard.
    #[inline]
    pub fn ask_attention(&self) {
        self.wants_attention.store(true, Relaxed); // Relaxed: see `release`.
    }

    /// Whether the task has been asked and not been seen to since; exact under its CPU's lock while it
    /// holds a guard.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.wants_attention.load(Relaxed) // Relaxed: under the runqueue lock, as are the writers.
    }

    /// The scheduler has seen to it.
    #[inline]
    pub fn attended(&self) {
        self.wants_attention.store(false, Relaxed); // Relaxed: see `release`.
    }
}

/// A task: the scheduler's entity and a body of the runtime's or the simulator's.
#[repr(C)]
pub struct Node<T> {
    entity: Entity,
    /// What belongs to the task apart from scheduling.
    pub body: T,
    pub(crate) timer: RBTreeAtomicLink,
    pub(crate) deadline_ns: AtomicU64,
    pub(crate) armed: AtomicU64,
}

/// A counted reference to a task.
pub type TaskRef<T> = Arc<Node<T>>;

impl<T> Node<T> {
    /// A new task that is runnable and belongs to the caller until it is enqueued.
    #[inline]
    pub fn new(prio: Prio, policy: Policy, affinity: &CpuMask, home: CpuId, body: T) -> TaskRef<T> {
        Node::new_with(prio, policy, affinity, home, || body)
    }

    /// The same for a body that is made where it will be. A node that is put together on the stack is copied
    /// from there, right after many small stores that the copy has to wait for.
    #[inline]
    pub fn new_with(
        prio: Prio,
        policy: Policy,
        affinity: &CpuMask,
        home: CpuId,
        body: impl FnOnce() -> T,
    ) -> TaskRef<T> {
        let memory = Arc::<Node<T>>::new_uninit();
        let affinity = SharedMask::new(affinity);
        let node = Arc::as_ptr(&memory).cast_mut().cast::<Node<T>>();
        // SAFETY: nobody else has a reference to the memory yet; every field is written, and nothing was
        // there to be dropped. If `body` unwinds, what was written is forgotten.
        unsafe {
            (&raw mut (*node).entity).write(Entity::new(prio, policy, affinity, home));
            (&raw mut (*node).timer).write(RBTreeAtomicLink::new());
            (&raw mut (*node).deadline_ns).write(AtomicU64::new(0));
            (&raw mut (*node).armed).write(AtomicU64::new(0));
            (&raw mut (*node).body).write(body());
            memory.assume_init()
        }
    }

    /// The scheduler's part.
    #[inline]
    pub fn entity(&self) -> &Entity {
        &self.entity
    }

    /// One more reference to a task that is linked in a queue.
    #[inline]
    pub(crate) fn reference(&self) -> TaskRef<T> {
        // SAFETY: nodes are only made inside an `Arc`, and one that is linked is still in it.
        unsafe {
            Arc::increment_strong_count(self);
            Arc::from_raw(self)
        }
    }

    /// Turns a reference into a pointer that owns it.
    #[inline]
    pub(crate) fn into_raw(task: TaskRef<T>) -> NonNull<Entity> {
        // SAFETY: `Arc::into_raw` is not null, and `Node` is `repr(C)` with the entity first.
        unsafe { NonNull::new_unchecked(Arc::into_raw(task).cast::<Entity>().cast_mut()) }
    }

    /// Takes the reference out of a pointer.
    ///
    /// # Safety
    /// `raw` comes from `into_raw` of the same `T`, and its reference has not been taken out yet.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<Entity>) -> TaskRef<T> {
        // SAFETY: the caller hands over the reference that `into_raw` put into the pointer.
        unsafe { Arc::from_raw(raw.as_ptr().cast::<Node<T>>().cast_const()) }
    }
}
