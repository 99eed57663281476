//! Spawning and joining.

use core::fmt;
use std::sync::Arc;

use corelane_sched::{CpuId, CpuMask, Prio};

use crate::config::Policy;
use crate::current::Fiber;
use crate::error::{JoinError, SpawnError};
use crate::job::{Closure, Packet};
use crate::runtime::Shared;
use crate::task_body::{Body, Class, Spec, TaskHandle};
use crate::{Priority, shutdown, wake};

/// Configures a task. Made by `Runtime::build_task` or `task::build`.
#[must_use]
#[derive(Clone)]
pub struct TaskBuilder {
    shared: Arc<Shared>,
    name: Option<Box<str>>,
    priority: Priority,
    policy: Policy,
    affinity: Option<CpuMask>,
}

impl TaskBuilder {
    pub(crate) fn new(shared: Arc<Shared>) -> TaskBuilder {
        TaskBuilder {
            shared,
            name: None,
            priority: Priority::MIN,
            policy: Policy::Fifo,
            affinity: None,
        }
    }

    /// A name for reports and panics.
    pub fn name(mut self, name: impl Into<String>) -> TaskBuilder {
        self.name = Some(name.into().into());
        self
    }

    /// Its priority; [`Priority::MIN`] unless set.
    pub fn priority(mut self, priority: Priority) -> TaskBuilder {
        self.priority = priority;
        self
    }

    /// How it shares its level; [`Policy::Fifo`] unless set.
    pub fn policy(mut self, policy: Policy) -> TaskBuilder {
        self.policy = policy;
        self
    }

    /// The CPU slots where it may run; all unless set.
    pub fn affinity(mut self, affinity: CpuMask) -> TaskBuilder {
        self.affinity = Some(affinity);
        self
    }

    /// Runs `f` as this task.
    ///
    /// # Errors
    /// If the affinity is empty or names a slot the runtime does not have, or the runtime is ending.
    pub fn try_spawn<F, T>(self, f: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let cpus = self.shared.cpus().len();
        if let Some(affinity) = &self.affinity {
            check_affinity(affinity, cpus)?;
        }
        if !self.shared.admit() {
            return Err(SpawnError::ShuttingDown);
        }
        // With room for every CPU, so that it can be widened later.
        let affinity = self
            .affinity
            .map_or_else(|| CpuMask::full(cpus), |set| set.resized(cpus));
        let spec = Spec {
            name: self.name,
            class: Class::RealTime,
            prio: self.priority.prio(),
            policy: self.policy,
            home: first_home(&self.shared, &affinity),
            affinity: &affinity,
        };
        Ok(start(&self.shared, spec, f))
    }

    /// Runs `f` as this task.
    ///
    /// While the runtime is ending, the task is cancelled at once and its handle says so.
    ///
    /// # Panics
    /// If the affinity is empty or names a slot the runtime does not have.
    pub fn spawn<F, T>(self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let shared = self.shared.clone();
        match self.try_spawn(f) {
            Ok(handle) => handle,
            Err(SpawnError::ShuttingDown) => cancelled(&shared),
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn check_affinity(affinity: &CpuMask, cpus: usize) -> Result<(), SpawnError> {
    if affinity.is_empty() {
        return Err(SpawnError::EmptyAffinity);
    }
    if !affinity.is_subset(&CpuMask::full(cpus)) {
        return Err(SpawnError::ForeignCpu { cpus });
    }
    Ok(())
}

/// Where a new task is taken to have run last: the spawner's CPU if it may run there, else the first.
fn first_home(shared: &Shared, affinity: &CpuMask) -> CpuId {
    let own = Fiber::on_worker().filter(|fiber| core::ptr::eq(fiber.shared(), shared));
    match own.map(Fiber::cpu_id) {
        Some(cpu) if affinity.contains(cpu) => cpu,
        _ => affinity
            .iter()
            .next()
            .expect("an affinity that was checked has a CPU"),
    }
}

pub(crate) fn spawn_background<F, T>(shared: &Arc<Shared>, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if !shared.admit() {
        return cancelled(shared);
    }
    let affinity = CpuMask::full(shared.cpus().len());
    let spec = Spec {
        name: None,
        class: Class::Background,
        prio: Prio::BACKGROUND,
        policy: Policy::Fifo,
        home: first_home(shared, &affinity),
        affinity: &affinity,
    };
    start(shared, spec, f)
}

/// Starts a task that was admitted.
fn start<F, T>(shared: &Arc<Shared>, spec: Spec<'_>, closure: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let packet = Packet::new();
    let job = Box::new(Closure {
        closure,
        packet: packet.clone(),
    });
    let task = Body::new_task(shared, Shared::next_task_id(), spec, job);
    let handle = TaskHandle(task.clone());
    wake::enqueue(task);
    if shared.is_stopping() {
        // We were held up between being admitted and here, and its threads may be gone.
        shutdown::discard_queued(shared);
    }
    JoinHandle {
        packet,
        task: handle,
    }
}

/// A handle to a task that will not be.
fn cancelled<T: Send + 'static>(shared: &Arc<Shared>) -> JoinHandle<T> {
    let packet = Packet::new();
    let never: Closure<fn() -> T, T> = Closure {
        closure: || unreachable!("a cancelled task does not run"),
        packet: packet.clone(),
    };
    let affinity = CpuMask::full(shared.cpus().len());
    let (class, prio, policy) = (Class::RealTime, Prio::MIN, Policy::Fifo);
    let spec = Spec {
        name: None,
        class,
        prio,
        policy,
        home: CpuId::new(0),
        affinity: &affinity,
    };
    let task = Body::new_task(shared, Shared::next_task_id(), spec, Box::new(never));
    if let Some(job) = task.body.take_job() {
        job.abandon(JoinError::Cancelled);
    }
    let _ = task.entity().state().finish();
    JoinHandle {
        packet,
        task: TaskHandle(task),
    }
}

/// The right to a task's result. Dropping it detaches the task, which goes on.
pub struct JoinHandle<T> {
    packet: Arc<Packet<T>>,
    task: TaskHandle,
}

impl<T> JoinHandle<T> {
    /// Waits for the task to end and returns its result. From a task or an ordinary thread.
    ///
    /// # Errors
    /// If it panicked, was cancelled, never got a fiber, or is the caller itself.
    pub fn join(self) -> Result<T, JoinError> {
        if self.task.is_current() {
            return Err(JoinError::Itself);
        }
        self.packet.done.wait();
        self.packet
            .take()
            .expect("a result is taken once, by the handle's owner")
    }

    /// A handle to the task itself.
    pub fn task(&self) -> TaskHandle {
        self.task.clone()
    }

    /// Whether [`JoinHandle::join`] would return at once.
    pub fn is_finished(&self) -> bool {
        self.packet.done.is_done()
    }

    /// Asks the task to end; see [`TaskHandle::cancel`].
    pub fn cancel(&self) {
        self.task.cancel();
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("task", &self.task)
            .finish()
    }
}
