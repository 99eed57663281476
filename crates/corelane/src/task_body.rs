//! A task's body: what belongs to it apart from scheduling. And the handle that users hold.
//!
//! # Unsafe
//! What is raw: the pointer to the fiber of a started task. Fibers live until every carrier has been
//! joined (`fibers.rs`), and only carriers follow the pointer. Shown by `tests/lifecycle.rs`.

use crate::primitives::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use core::fmt;
use std::sync::Arc;

use crate::primitives::Mutex;
use corelane_sched::{CpuId, CpuMask, Node, Prio, TaskPhase, TaskRef};

use crate::current::Fiber;
use crate::job::Job;
use crate::permit::Permit;
use crate::runtime::Shared;
use crate::{ChangeError, Policy, Priority, change, wake};

pub(crate) type Task = TaskRef<Body>;

/// Where a task may run at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    RealTime,
    Background,
}

/// No CPU holds a timer of the task.
pub(crate) const NOT_ARMED: u32 = u32::MAX;

pub(crate) struct Body {
    pub(crate) id: u64,
    pub(crate) name: Option<Box<str>>,
    pub(crate) class: Class,
    pub(crate) shared: Arc<Shared>,
    /// Taken by the fiber that starts the task, or by whoever gives it up.
    pub(crate) job: Job,
    pub(crate) cancelled: AtomicBool,
    /// What `task::park` waits for.
    pub(crate) permit: Permit,
    /// The CPU or lane in whose timer queue the task is, or [`NOT_ARMED`].
    pub(crate) armed_on: AtomicU32,
    /// What is left of a round-robin slice, in nanoseconds.
    pub(crate) slice_left_ns: AtomicU64,
    /// Held while an affinity is replaced, for the few stores that takes.
    pub(crate) changing: Mutex<()>,
    /// The fiber that a started task is on.
    fiber: AtomicPtr<Fiber>,
}

/// What a new task is.
pub(crate) struct Spec<'a> {
    pub(crate) id: u64,
    pub(crate) name: Option<Box<str>>,
    pub(crate) class: Class,
    pub(crate) prio: Prio,
    pub(crate) policy: Policy,
    pub(crate) affinity: &'a CpuMask,
    pub(crate) home: CpuId,
}

impl Body {
    /// A new task that nobody else knows and whose job is vacant.
    pub(crate) fn new_task(shared: &Arc<Shared>, spec: Spec<'_>) -> Task {
        let (policy, shared) = (spec.policy.sched(), shared.clone());
        Node::new_with(spec.prio, policy, spec.affinity, spec.home, || Body {
            id: spec.id,
            name: spec.name,
            class: spec.class,
            shared,
            job: Job::vacant(),
            cancelled: AtomicBool::new(false),
            permit: Permit::new(),
            armed_on: AtomicU32::new(NOT_ARMED),
            slice_left_ns: AtomicU64::new(0),
            changing: Mutex::new(()),
            fiber: AtomicPtr::default(),
        })
    }

    /// The fiber the task is on, once it has started. For its carrier, and for nobody after its end.
    pub(crate) fn fiber(&self) -> Option<&'static Fiber> {
        // Relaxed: written by the worker that started the task, before it became resumable.
        let fiber = self.fiber.load(Relaxed);
        // SAFETY: null, or a fiber of the pool, which lives until all carriers are gone.
        unsafe { fiber.as_ref() }
    }

    pub(crate) fn set_fiber(&self, fiber: &'static Fiber) {
        self.fiber
            .store(core::ptr::from_ref(fiber).cast_mut(), Relaxed); // Relaxed: see `fiber`.
    }
}

/// What a task is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TaskState {
    /// It is ready and waits for a CPU, or for its first fiber.
    Runnable,
    /// It runs.
    Running,
    /// It waits: parked, asleep or joining.
    Waiting,
    /// It has ended.
    Done,
}

/// A handle to a task. Cheap to clone; keeps the task's memory, not the task, alive.
#[derive(Clone)]
pub struct TaskHandle(pub(crate) Task);

impl TaskHandle {
    /// A number that no other task of this process has.
    pub fn id(&self) -> u64 {
        self.0.body.id
    }

    /// The name that the builder gave it.
    pub fn name(&self) -> Option<&str> {
        self.0.body.name.as_deref()
    }

    /// Its own priority; `None` for the background class.
    pub fn priority(&self) -> Option<Priority> {
        Priority::new(self.0.entity().prio().get()).ok()
    }

    /// The priority it is scheduled by. Equal to [`TaskHandle::priority`] until priority inheritance exists.
    pub fn effective_priority(&self) -> Option<Priority> {
        self.priority()
    }

    /// What it was doing at some instant of the call.
    pub fn state(&self) -> TaskState {
        match self.0.entity().state().phase() {
            TaskPhase::Queued => TaskState::Runnable,
            TaskPhase::Running => TaskState::Running,
            TaskPhase::Leaving | TaskPhase::Parked => TaskState::Waiting,
            TaskPhase::Done => TaskState::Done,
        }
    }

    /// The CPU slot where it runs, is queued, or was last.
    pub fn cpu(&self) -> CpuId {
        self.0.entity().last_cpu()
    }

    /// The CPU slots where it may run.
    pub fn affinity(&self) -> CpuMask {
        self.0.entity().affinity().load()
    }

    /// Changes its priority, whatever it is doing. A raised task goes behind the equals of its new
    /// priority, a lowered one in front of them.
    ///
    /// On another CPU the change takes effect at that CPU's next safe point.
    ///
    /// # Errors
    /// If it has ended, or belongs to the background class.
    pub fn set_priority(&self, priority: Priority) -> Result<(), ChangeError> {
        change::set_priority(&self.0, priority)
    }

    /// Changes where it may run. Returns once it is on an allowed CPU, or waits for something; while it
    /// holds a migrate-disable guard on a CPU that is now forbidden, this waits for the guard.
    ///
    /// # Errors
    /// If the set is empty or names a CPU slot that the runtime does not have, if the task has ended or
    /// belongs to the background class, or if the task excludes the CPU that its own guard holds it to.
    pub fn set_affinity(&self, affinity: &CpuMask) -> Result<(), ChangeError> {
        change::set_affinity(&self.0, affinity)
    }

    /// Gives it the permit that `task::park` waits for. One permit is kept; more are lost.
    ///
    /// From a task on the same CPU this is a safe point: a more urgent task runs at once. Costs no system
    /// call unless the task's CPU sleeps in the kernel.
    pub fn unpark(&self) {
        self.0.body.permit.grant();
        wake::wake_ref(&self.0);
    }

    /// Asks it to end: it unwinds at its next safe point, running destructors; if it has not started, it
    /// never will. Its joiner gets `JoinError::Cancelled`.
    pub fn cancel(&self) {
        change::cancel(&self.0);
    }

    pub(crate) fn is_current(&self) -> bool {
        Fiber::current().is_some_and(|fiber| fiber.is_running(&self.0))
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Task");
        debug.field("id", &self.id()).field("name", &self.name());
        debug
            .field("priority", &self.priority().map(Priority::get))
            .field("state", &self.state())
            .finish()
    }
}

impl PartialEq for TaskHandle {
    fn eq(&self, other: &TaskHandle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TaskHandle {}
