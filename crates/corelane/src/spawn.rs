//! Spawning and joining.
//!
//! Whoever spawns many small tasks pays for three things: memory, counting, and references to what is shared.
//! A task is one allocation, in which its closure and later its result lie ([`crate::job`]); it is counted in
//! the spawner's own lane ([`crate::admission`]); and it holds the one reference to the runtime that spawning
//! makes. A handle refers to the task and to nothing else.

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

use corelane_sched::{CpuId, CpuMask, Prio};

use crate::config::Policy;
use crate::current::Fiber;
use crate::error::{JoinError, SpawnError};
use crate::job::Job;
use crate::runtime::Shared;
use crate::task_body::{Body, Class, Spec, TaskHandle};
use crate::{Priority, shutdown, wake};

/// Configures a task. Made by `Runtime::build_task` or `task::build`.
#[must_use]
#[derive(Clone)]
pub struct TaskBuilder {
    shared: Arc<Shared>,
    options: Options,
}

/// What a user can choose about a task.
#[derive(Clone)]
pub(crate) struct Options {
    name: Option<Box<str>>,
    priority: Priority,
    policy: Policy,
    affinity: Option<CpuMask>,
}

impl Options {
    #[inline]
    pub(crate) fn new(priority: Priority) -> Options {
        Options {
            name: None,
            priority,
            policy: Policy::Fifo,
            affinity: None,
        }
    }
}

impl TaskBuilder {
    pub(crate) fn new(shared: Arc<Shared>) -> TaskBuilder {
        TaskBuilder {
            shared,
            options: Options::new(Priority::MIN),
        }
    }

    /// A name for reports and panics.
    pub fn name(mut self, name: impl Into<String>) -> TaskBuilder {
        self.options.name = Some(name.into().into());
        self
    }

    /// Its priority; [`Priority::MIN`] unless set.
    pub fn priority(mut self, priority: Priority) -> TaskBuilder {
        self.options.priority = priority;
        self
    }

    /// How it shares its level; [`Policy::Fifo`] unless set.
    pub fn policy(mut self, policy: Policy) -> TaskBuilder {
        self.options.policy = policy;
        self
    }

    /// The CPU slots where it may run; all unless set.
    pub fn affinity(mut self, affinity: CpuMask) -> TaskBuilder {
        self.options.affinity = Some(affinity);
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
        try_spawn(&self.shared, self.options, f)
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
        spawn(&self.shared, self.options, f)
    }
}

pub(crate) fn check_affinity(affinity: &CpuMask, all_cpus: &CpuMask) -> Result<(), SpawnError> {
    if affinity.is_empty() {
        return Err(SpawnError::EmptyAffinity);
    }
    if !affinity.is_subset(all_cpus) {
        let cpus = all_cpus.count();
        return Err(SpawnError::ForeignCpu { cpus });
    }
    Ok(())
}

/// Spawns a real-time task; see [`TaskBuilder::spawn`].
pub(crate) fn spawn<F, T>(shared: &Arc<Shared>, options: Options, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match try_spawn(shared, options, f) {
        Ok(handle) => handle,
        Err(SpawnError::ShuttingDown) => cancelled(shared),
        Err(error) => panic!("{error}"),
    }
}

fn try_spawn<F, T>(
    shared: &Arc<Shared>,
    options: Options,
    f: F,
) -> Result<JoinHandle<T>, SpawnError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // With room for every CPU, so that it can be widened later.
    let own_affinity = match &options.affinity {
        Some(set) => {
            Some(check_affinity(set, &shared.all_cpus).map(|()| set.resized(shared.cpus().len()))?)
        }
        None => None,
    };
    let affinity = own_affinity.as_ref().unwrap_or(&shared.all_cpus);
    let spawner = spawner(shared);
    let Some(id) = shared.admission.admit(spawner) else {
        return Err(SpawnError::ShuttingDown);
    };
    let spec = Spec {
        id,
        name: options.name,
        class: Class::RealTime,
        prio: options.priority.prio(),
        policy: options.policy,
        home: first_home(spawner, affinity),
        affinity,
    };
    Ok(start(shared, spec, f))
}

pub(crate) fn spawn_background<F, T>(shared: &Arc<Shared>, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let spawner = spawner(shared);
    let Some(id) = shared.admission.admit(spawner) else {
        return cancelled(shared);
    };
    let spec = Spec {
        id,
        name: None,
        class: Class::Background,
        prio: Prio::BACKGROUND,
        policy: Policy::Fifo,
        home: first_home(spawner, &shared.all_cpus),
        affinity: &shared.all_cpus,
    };
    start(shared, spec, f)
}

/// The CPU of the caller, if the caller is a task on a worker of this runtime.
#[inline]
fn spawner(shared: &Shared) -> Option<CpuId> {
    let own = Fiber::on_worker().filter(|fiber| core::ptr::eq(fiber.shared(), shared));
    own.map(Fiber::cpu_id)
}

/// Where a new task is taken to have run last: the spawner's CPU if it may run there, else the first.
#[inline]
fn first_home(spawner: Option<CpuId>, affinity: &CpuMask) -> CpuId {
    match spawner {
        Some(cpu) if affinity.contains(cpu) => cpu,
        _ => affinity
            .iter()
            .next()
            .expect("an affinity that was checked has a CPU"),
    }
}

/// Starts a task that was admitted.
fn start<F, T>(shared: &Arc<Shared>, spec: Spec<'_>, closure: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let task = Body::new_task(shared, spec, Job::new(closure));
    let handle = JoinHandle::new(TaskHandle(task.clone()));
    wake::enqueue(task);
    if shared.is_stopping() {
        // We were held up between being admitted and here, and its threads may be gone.
        shutdown::discard_queued(shared);
    }
    handle
}

/// A handle to a task that will not be.
#[cold]
fn cancelled<T: Send + 'static>(shared: &Arc<Shared>) -> JoinHandle<T> {
    let never: fn() -> T = || unreachable!("a cancelled task does not run");
    let spec = Spec {
        id: shared.admission.number(),
        name: None,
        class: Class::RealTime,
        prio: Prio::MIN,
        policy: Policy::Fifo,
        home: CpuId::new(0),
        affinity: &shared.all_cpus,
    };
    let task = Body::new_task(shared, spec, Job::new(never));
    // SAFETY: nobody else knows the task yet.
    if let Some(job) = unsafe { task.body.job.take() } {
        job.abandon(JoinError::Cancelled).complete_and_discard();
    }
    let _ = task.entity().state().finish();
    JoinHandle::new(TaskHandle(task))
}

/// The right to a task's result. Dropping it detaches the task, which goes on.
pub struct JoinHandle<T> {
    task: TaskHandle,
    /// `T` is the type of the result that the task's job leaves.
    result: PhantomData<fn(T) -> T>,
}

impl<T> JoinHandle<T> {
    /// The one handle of a task whose job leaves a `T`.
    fn new(task: TaskHandle) -> JoinHandle<T> {
        JoinHandle {
            task,
            result: PhantomData,
        }
    }

    /// Waits for the task to end and returns its result. From a task or an ordinary thread.
    ///
    /// # Errors
    /// If it panicked, was cancelled, never got a fiber, or is the caller itself.
    pub fn join(self) -> Result<T, JoinError> {
        if self.task.is_current() {
            return Err(JoinError::Itself);
        }
        // SAFETY: this is the job's handle, which waits here only.
        unsafe { self.job().wait() };
        // SAFETY: this is the job's handle, whose type was made with the job in `start` or `cancelled`.
        unsafe { self.job().take_result::<T>() }
    }

    /// A handle to the task itself.
    pub fn task(&self) -> TaskHandle {
        self.task.clone()
    }

    /// Whether [`JoinHandle::join`] would return at once.
    pub fn is_finished(&self) -> bool {
        self.job().is_done()
    }

    /// Asks the task to end; see [`TaskHandle::cancel`].
    pub fn cancel(&self) {
        self.task.cancel();
    }

    #[inline]
    fn job(&self) -> &Job {
        &self.task.0.body.job
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // SAFETY: this is the job's handle, and the last that is heard of it.
        unsafe { self.job().detach() };
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("task", &self.task)
            .finish()
    }
}
