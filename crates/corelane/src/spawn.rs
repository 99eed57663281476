//! Spawning and joining.
//!
//! Whoever spawns many small tasks pays for three things: memory, counting, and references to what is shared.
//! A task is one allocation, in which its closure and later its result lie ([`crate::job`]); it is counted in
//! the spawner's own lane ([`crate::admission`]); and it holds the one reference to the runtime that spawning
//! makes. A handle refers to the task and to nothing else.
//!
//! # Unsafe
//! What is raw: who a task's job belongs to. A task that was just made is its spawner's, which fills the job;
//! a handle is made with the job and knows the type of its result. Shown by `tests/payloads.rs`.

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

use corelane_sched::{CpuId, CpuMask, Prio};

use crate::config::Policy;
use crate::current::Fiber;
use crate::error::{JoinError, SpawnError};
use crate::job::Job;
use crate::runtime::Shared;
use crate::task_body::{Body, Class, Spec, Task, TaskHandle};
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
        admit(&self.shared, self.options).map(|task| start(task, f))
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
#[inline]
pub(crate) fn spawn<F, T>(shared: &Arc<Shared>, options: Options, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match admit(shared, options) {
        Ok(task) => start(task, f),
        Err(SpawnError::ShuttingDown) => cancelled(shared),
        Err(error) => panic!("{error}"),
    }
}

#[inline]
pub(crate) fn spawn_background<F, T>(shared: &Arc<Shared>, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match admit_background(shared) {
        Some(task) => start(task, f),
        None => cancelled(shared),
    }
}

/// Makes a real-time task, still without a closure.
fn admit(shared: &Arc<Shared>, options: Options) -> Result<Task, SpawnError> {
    // With room for every CPU, so that it can be widened later.
    let resized = |set: &CpuMask| {
        check_affinity(set, &shared.all_cpus)?;
        Ok(set.resized(shared.cpus().len()))
    };
    let own_affinity = options.affinity.as_ref().map(resized).transpose()?;
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
    Ok(Body::new_task(shared, spec))
}

/// The same for a background task; `None` if the runtime takes no more.
fn admit_background(shared: &Arc<Shared>) -> Option<Task> {
    let spawner = spawner(shared);
    let spec = Spec {
        id: shared.admission.admit(spawner)?,
        name: None,
        class: Class::Background,
        prio: Prio::BACKGROUND,
        policy: Policy::Fifo,
        home: first_home(spawner, &shared.all_cpus),
        affinity: &shared.all_cpus,
    };
    Some(Body::new_task(shared, spec))
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

/// Starts a task that was admitted. What depends on the closure's type is in here, and no more.
#[inline]
fn start<F, T>(task: Task, closure: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: nobody else knows the task yet.
    unsafe { task.body.job.fill(closure) };
    JoinHandle::new(launch(task))
}

fn launch(task: Task) -> TaskHandle {
    let handle = TaskHandle(task.clone());
    wake::enqueue(task);
    let shared = &handle.0.body.shared;
    if shared.is_stopping() {
        // We were held up between being admitted and here, and its threads may be gone.
        Fiber::for_others(|| shutdown::discard_queued(shared));
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
    let task = Body::new_task(shared, spec);
    // SAFETY: nobody else knows the task.
    unsafe { task.body.job.fill(never) };
    // SAFETY: as above.
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
