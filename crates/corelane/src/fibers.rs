//! The pool of fibers: threads and stacks, made before they are needed.
//!
//! Creating a thread takes tens of microseconds and may fail, so a task is bound to a fiber when it first
//! runs and the fiber returns to the pool when it ends; a million queued closures need no stacks. The pool
//! is filled when the runtime is built. When it runs dry a growth thread adds more, above the workers'
//! level but off their path: the task waits among the starved until then, and other tasks run.
//!
//! Workers take fibers from a small stock of their own CPU and refill it here in batches.
//!
//! # Unsafe
//! What is raw: spawning a body that refers to its `Fiber`, and ending it. A `Fiber` is never freed before
//! its thread is joined, and carriers follow references only while they serve. Shown by `tests/lifecycle.rs`.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};

use corelane_os::fiber::{Backend, Fiber as OsFiber, FiberError, FiberSpec, Suspender};
use corelane_os::futex;
use corelane_os::thread::{self, Policy};
use corelane_sched::{Inbox, Letter, Place};
use parking_lot::{Mutex, RwLock};

use crate::cpu::FIBERS_KEPT_MAX;
use crate::current::{Fiber, Intent};
use crate::float::FloatControls;
use crate::job::Ended;
use crate::runtime::Shared;
use crate::task_body::{Body, Task};
use crate::{JoinError, wake};

pub(crate) struct FiberPool {
    /// Every fiber ever made, by index; written by the builder and the growth thread only.
    all: RwLock<Vec<&'static Fiber>>,
    free: Mutex<Vec<&'static Fiber>>,
    /// Tasks that could not start for want of a fiber.
    starved: Inbox<Body>,
    starved_count: AtomicUsize,
    stack_bytes: usize,
    backend: Backend,
    /// The growth thread sleeps on this; it counts requests.
    requests: AtomicU32,
    stopping: AtomicBool,
}

/// The most fibers added at once.
const GROWTH_STEP_MAX: usize = 64;

impl FiberPool {
    pub(crate) fn new(backend: Backend, stack_bytes: usize) -> FiberPool {
        FiberPool {
            all: RwLock::new(Vec::new()),
            free: Mutex::new(Vec::new()),
            starved: Inbox::new(),
            starved_count: AtomicUsize::new(0),
            stack_bytes,
            backend,
            requests: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    pub(crate) fn len(&self) -> usize {
        self.all.read().len()
    }

    /// Adds `count` fibers.
    pub(crate) fn grow(&self, shared: &Shared, count: usize) -> Result<(), FiberError> {
        for _ in 0..count {
            let index = self.len() as u32;
            let fiber: &'static Fiber = Box::leak(Box::new(Fiber::new(shared)));
            let name = format!("corelane-f{index}");
            let spec = FiberSpec {
                name: &name,
                stack_size: self.stack_bytes,
                backend: self.backend,
            };
            let inner = match OsFiber::spawn(&spec, move |suspender| live(fiber, suspender)) {
                Ok(inner) => inner,
                Err(error) => {
                    free(fiber);
                    return Err(error);
                }
            };
            fiber.tid.set(Some(inner.tid()));
            // SAFETY: nobody else knows the fiber yet.
            unsafe { *fiber.inner.get() = Some(inner) };
            self.all.write().push(fiber);
            let mut free = self.free.lock();
            free.reserve(index as usize + 1);
            free.push(fiber);
        }
        Ok(())
    }

    /// Takes an idle fiber for a worker: from the CPU's stock, else a batch from the pool.
    pub(crate) fn take(&self, stock: &mut Vec<&'static Fiber>) -> Option<&'static Fiber> {
        if stock.is_empty() {
            let mut free = self.free.lock();
            let keep = free.len().saturating_sub(FIBERS_KEPT_MAX / 2);
            stock.extend(free.drain(keep..));
        }
        stock.pop()
    }

    /// Takes an idle fiber for a background carrier.
    pub(crate) fn take_shared(&self) -> Option<&'static Fiber> {
        self.free.lock().pop()
    }

    /// Gives a fiber back to a worker's stock; the surplus goes to the pool.
    pub(crate) fn give(&self, stock: &mut Vec<&'static Fiber>, fiber: &'static Fiber) {
        if stock.len() == FIBERS_KEPT_MAX {
            self.free.lock().extend(stock.drain(FIBERS_KEPT_MAX / 2..));
        }
        stock.push(fiber);
    }

    /// Gives a fiber back from a background carrier.
    pub(crate) fn give_shared(&self, fiber: &'static Fiber) {
        self.free.lock().push(fiber);
    }

    /// Puts aside a task that found no fiber, and asks for more.
    pub(crate) fn starve(&self, task: Task) {
        // AcqRel: pairs with the load in `feed`; counted before it can be seen.
        self.starved_count.fetch_add(1, AcqRel);
        self.starved.leave_arrival(task, Place::Keep);
        self.request();
    }

    fn request(&self) {
        // Release: pairs with the Acquire in `serve_growth`; a request that comes late is counted.
        self.requests.fetch_add(1, Release);
        futex::wake(&self.requests, 1);
    }

    /// Whether tasks wait for fibers.
    pub(crate) fn has_starved(&self) -> bool {
        self.starved_count.load(Acquire) > 0 // Acquire: pairs with `starve`.
    }

    /// Takes the tasks that wait for fibers.
    pub(crate) fn take_starved(&self) -> Vec<Task> {
        let tasks: Vec<Task> = self
            .starved
            .take()
            .filter_map(|letter| match letter {
                Letter::Arrival(task, _) => Some(task),
                Letter::Change(_) => None,
            })
            .collect();
        self.starved_count.fetch_sub(tasks.len(), AcqRel); // AcqRel: see `starve`.
        tasks
    }

    /// A fiber came back to the pool: gives the tasks that wait for one another chance.
    pub(crate) fn feed(&self) {
        if self.has_starved() {
            self.take_starved().into_iter().for_each(wake::enqueue);
        }
    }

    /// The life of the growth thread.
    pub(crate) fn serve_growth(&self, shared: &Shared) {
        loop {
            let seen = self.requests.load(Acquire); // Acquire: pairs with `request`.
            if self.stopping.load(Acquire) {
                return; // Acquire: pairs with the Release in `stop`.
            }
            let starved = self.take_starved();
            if starved.is_empty() {
                let _ = futex::wait(&self.requests, seen, None);
                continue;
            }
            match self.grow(shared, starved.len().min(GROWTH_STEP_MAX)) {
                Ok(()) => starved.into_iter().for_each(wake::enqueue),
                Err(error) => starved.into_iter().for_each(|task| refuse(&task, &error)),
            }
        }
    }

    /// Makes the growth thread return.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Release); // Release: pairs with `serve_growth`.
        self.request();
    }

    /// Calls `f` with each task that is bound to a fiber.
    pub(crate) fn for_each_bound(&self, mut f: impl FnMut(&Task)) {
        let all: Vec<&'static Fiber> = self.all.read().clone();
        for fiber in all {
            let task = fiber.bound.lock().clone();
            if let Some(task) = task {
                f(&task);
            }
        }
    }

    /// Takes the threads of fibers that still have a task out of the real-time class: a task may be in a
    /// native part, at a level above the workers.
    pub(crate) fn demote_bound(&self) {
        for fiber in self
            .all
            .read()
            .iter()
            .filter(|fiber| fiber.bound.lock().is_some())
        {
            if let Some(tid) = fiber.tid.get() {
                // It may refuse only if the thread is gone, which is as good.
                let _ = thread::set_policy(tid, Policy::Other);
            }
        }
    }

    /// Ends every idle fiber and joins its thread. Those that still have a task stay as they are, for
    /// ever: their stacks are in use.
    ///
    /// What is idle is found in the pool and in the stocks, under their locks: a worker that is stuck, and
    /// goes on later, finds them empty.
    pub(crate) fn finish(&self, shared: &Shared) {
        let mut idle = core::mem::take(&mut *self.free.lock());
        shared
            .cpus()
            .iter()
            .for_each(|cpu| idle.append(&mut cpu.core.lock().fibers));
        self.all.write().clear();
        for fiber in idle {
            fiber.leaving.set(true);
            // SAFETY: the fiber is idle, and ours since it was taken out of the pool or a stock.
            if let Some(inner) = unsafe { (*fiber.inner.get()).take() } {
                inner
                    .finish()
                    .expect("an idle fiber that is told to leave returns");
            }
            free(fiber);
        }
    }
}

/// A task for which no fiber can be had.
fn refuse(task: &Task, error: &FiberError) {
    if let Some(job) = task.body.take_job() {
        job.abandon(JoinError::NoFiber(error.to_string()));
    }
    let _ = task.entity().state().finish();
    task.body.shared.ended_outside(Ended::Cancelled);
}

/// The body of every fiber: runs one task after the other.
fn live(fiber: &Fiber, suspender: &Suspender<'_>) {
    fiber.enter(suspender);
    let controls = FloatControls::current();
    while !fiber.leaving.get() {
        run_bound(fiber);
        controls.restore();
        fiber.suspend(Intent::Exit);
    }
}

fn run_bound(fiber: &Fiber) {
    let task = fiber.task_node();
    let ended = match task.body.take_job() {
        Some(job) if fiber.is_cancelled() || fiber.shared().is_draining() => {
            job.abandon(JoinError::Cancelled);
            Ended::Cancelled
        }
        Some(job) => job.run(),
        None => Ended::Cancelled,
    };
    let leaked = task.entity().release_all();
    task.entity().attended();
    if leaked > 0 {
        fiber
            .cpu()
            .stats
            .leaked_guards
            .add_shared(u64::from(leaked));
    }
    fiber.set_ended(ended);
}

/// Frees a fiber of which no thread knows any more.
fn free(fiber: &'static Fiber) {
    // SAFETY: leaked in `grow`; its thread was never made or has been joined, it is in no list, and the
    // carriers are gone or never saw it.
    drop(unsafe { Box::from_raw(core::ptr::from_ref(fiber).cast_mut()) });
}
