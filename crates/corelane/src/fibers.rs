//! The pool of fibers: threads and stacks, made before they are needed.
//!
//! Creating a thread takes tens of microseconds and may fail, so a task is bound to a fiber when it first
//! runs and the fiber returns to the pool when it ends; a million queued closures need no stacks. The pool
//! is filled when the runtime is built. When it runs dry a growth thread adds more, above the workers'
//! level but off their path: the task waits among the starved until then, and other tasks run. The starved
//! are fed most urgent first, and only as many as fibers were added or came back: were all of them tried at
//! each return, n tasks would cost n² passes.
//!
//! Workers take fibers from a small stock of their own CPU and refill it here in batches.
//!
//! # Unsafe
//! What is raw: taking the job of a task that is bound to the fiber or came out of a queue; and spawning a
//! body that refers to its `Fiber`, and ending it. A `Fiber` is never freed before
//! its thread is joined and no pop of the free list is under way, and carriers follow references only while they serve. Shown by `tests/lifecycle.rs`.

use crate::primitives::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use core::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::primitives::futex;
use crate::primitives::{Mutex, RwLock};
use corelane_os::fiber::{Backend, Fiber as OsFiber, FiberError, FiberSpec, Suspender};
use corelane_os::thread::{self, Policy};
use corelane_sched::{Inbox, Letter, Place};

use crate::cpu::{Cpu, FIBERS_KEPT_MAX};
use crate::current::{Fiber, Intent};
use crate::direct::{self, Direct};
use crate::float::FloatControls;
use crate::free_list::{self, FreeList};
use crate::job::Ended;
use crate::runtime::Shared;
use crate::task_body::{Body, Task};
use crate::{JoinError, wake};

pub(crate) struct FiberPool {
    /// Every fiber ever made, by index; written by the builder and the growth thread only.
    all: RwLock<Vec<&'static Fiber>>,
    free: FreeList<Fiber>,
    /// Tasks that could not start for want of a fiber.
    starved: Inbox<Body>,
    /// Those of them that the growth thread has read, most urgent first. Shared with the shutdown only.
    waiting: Mutex<Waiting>,
    /// How many are in `starved` and in `waiting`.
    starved_count: AtomicUsize,
    /// Fibers that came back while tasks starved, and for which none has been fed yet.
    returned: AtomicUsize,
    stack_bytes: usize,
    backend: Backend,
    /// The growth thread sleeps on this; it counts requests.
    requests: AtomicU32,
    stopping: AtomicBool,
}

/// The most fibers added at once.
const GROWTH_STEP_MAX: usize = 64;
/// How long CPUs get to return the fibers they keep before tasks are refused.
const RETURN_TIME: Duration = Duration::from_millis(1);

/// Starved tasks by priority, then by arrival.
#[derive(Default)]
struct Waiting {
    arrivals: u64,
    heap: BinaryHeap<Starved>,
}

struct Starved {
    /// The priority when it was put aside, then how early it came.
    rank: (u8, Reverse<u64>),
    task: Task,
}

impl Waiting {
    fn push(&mut self, task: Task) {
        self.arrivals += 1;
        let rank = (task.entity().prio().get(), Reverse(self.arrivals));
        self.heap.push(Starved { rank, task });
    }
}

impl PartialEq for Starved {
    fn eq(&self, other: &Starved) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Starved {}

impl PartialOrd for Starved {
    fn partial_cmp(&self, other: &Starved) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Starved {
    fn cmp(&self, other: &Starved) -> core::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl FiberPool {
    pub(crate) fn new(backend: Backend, stack_bytes: usize) -> FiberPool {
        FiberPool {
            all: RwLock::new(Vec::new()),
            free: FreeList::new(),
            starved: Inbox::new(),
            waiting: Mutex::default(),
            starved_count: AtomicUsize::new(0),
            returned: AtomicUsize::new(0),
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
            let fiber: &'static Fiber = free_list::leak(Fiber::new(shared));
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
            fiber.set_stack(inner.stack_low(), inner.stack_bytes());
            // SAFETY: nobody else knows the fiber yet.
            unsafe { *fiber.inner.get() = Some(inner) };
            self.all.write().push(fiber);
            self.give_shared(fiber);
        }
        Ok(())
    }

    /// Takes an idle fiber for a worker: from the CPU's stock, else a batch from the pool.
    pub(crate) fn take(&self, stock: &mut Vec<&'static Fiber>) -> Option<&'static Fiber> {
        if stock.is_empty() {
            let batch = if self.has_starved() {
                1
            } else {
                FIBERS_KEPT_MAX / 2
            };
            stock.extend(core::iter::from_fn(|| self.free.pop()).take(batch));
        }
        stock.pop()
    }

    /// Takes an idle fiber for a background carrier.
    pub(crate) fn take_shared(&self) -> Option<&'static Fiber> {
        self.free.pop()
    }

    /// Gives a fiber back to a worker's stock; the surplus goes to the pool.
    pub(crate) fn give(&self, stock: &mut Vec<&'static Fiber>, fiber: &'static Fiber) {
        if fiber.is_deserted() {
            return;
        }
        if stock.len() == FIBERS_KEPT_MAX {
            stock
                .drain(FIBERS_KEPT_MAX / 2..)
                .for_each(|fiber| self.give_shared(fiber));
        }
        stock.push(fiber);
    }

    /// Gives a worker's whole stock to the pool if tasks starve. Says whether the growth thread must be
    /// told ([`Self::request`]), once no lock is held.
    #[must_use]
    pub(crate) fn share_stock(&self, stock: &mut Vec<&'static Fiber>) -> bool {
        if stock.is_empty() || !self.has_starved() {
            return false;
        }
        self.returned.fetch_add(stock.len(), Relaxed); // Relaxed: a count; the request publishes it.
        stock.drain(..).for_each(|fiber| self.give_shared(fiber));
        true
    }

    /// Gives a fiber back from a background carrier, and feeds a starved task. No lock is held.
    pub(crate) fn give_back(&self, fiber: &'static Fiber) {
        if fiber.is_deserted() {
            return;
        }
        self.give_shared(fiber);
        if self.has_starved() {
            self.returned.fetch_add(1, Relaxed); // Relaxed: as in `share_stock`.
            self.request();
        }
    }

    fn give_shared(&self, fiber: &'static Fiber) {
        // SAFETY: made in `grow` by `leak`; idle, and the caller's: no longer in a stock or on a task.
        unsafe { self.free.push(fiber) };
    }

    /// Puts aside a task that found no fiber. The caller then makes a [`Self::request`], with no lock held.
    pub(crate) fn starve(&self, task: Task) {
        // AcqRel: pairs with the load in `has_starved`; counted before it can be seen.
        self.starved_count.fetch_add(1, AcqRel);
        self.starved.leave_arrival(task, Place::Keep);
    }

    /// Makes the growth thread look at the starved. A system call.
    pub(crate) fn request(&self) {
        // Release: pairs with the Acquire in `serve_growth`; a request that comes late is counted.
        self.requests.fetch_add(1, Release);
        futex::wake(&self.requests, 1);
    }

    /// Whether tasks wait for fibers.
    pub(crate) fn has_starved(&self) -> bool {
        self.starved_count.load(Acquire) > 0 // Acquire: pairs with `starve`.
    }

    /// Takes the tasks that wait for fibers, most urgent first.
    pub(crate) fn take_starved(&self) -> Vec<Task> {
        self.read_starved();
        self.take_waiting(usize::MAX)
    }

    /// Moves what was put aside into the heap; says whether anything waits.
    fn read_starved(&self) -> bool {
        let mut waiting = self.waiting.lock();
        for letter in self.starved.take() {
            if let Letter::Arrival(task, _) = letter {
                waiting.push(task);
            }
        }
        !waiting.heap.is_empty()
    }

    fn take_waiting(&self, count: usize) -> Vec<Task> {
        let mut waiting = self.waiting.lock();
        let next = || waiting.heap.pop().map(|starved| starved.task);
        let tasks: Vec<Task> = core::iter::from_fn(next).take(count).collect();
        self.starved_count.fetch_sub(tasks.len(), AcqRel); // AcqRel: see `starve`.
        tasks
    }

    /// Gives the most urgent of the starved another chance, as many as there are fibers.
    fn feed(&self, count: usize) {
        let tasks = self.take_waiting(count.min(self.free.len()));
        tasks.into_iter().for_each(wake::enqueue);
    }

    /// The life of the growth thread.
    pub(crate) fn serve_growth(&self, shared: &Shared) {
        loop {
            let seen = self.requests.load(Acquire); // Acquire: pairs with `request`.
            if self.stopping.load(Acquire) {
                return; // Acquire: pairs with the Release in `stop`.
            }
            if self.read_starved() {
                // Relaxed: the request that was seen published it; what is missed comes with its own.
                self.feed(self.returned.swap(0, Relaxed));
                self.grow_and_feed(shared);
            } else {
                let _ = futex::wait(&self.requests, seen, None);
            }
        }
    }

    fn grow_and_feed(&self, shared: &Shared) {
        let count = self.waiting.lock().heap.len().min(GROWTH_STEP_MAX);
        let Err(error) = self.grow(shared, count) else {
            return self.feed(count);
        };
        self.feed(usize::MAX);
        // What the CPUs keep for themselves is the last there is: each returns it in its next pass.
        if self.has_starved() {
            shared.cpus().iter().for_each(Cpu::kick);
            crate::primitives::thread::sleep(RETURN_TIME);
            self.feed(usize::MAX);
        }
        let refused = self.take_waiting(usize::MAX);
        refused.into_iter().for_each(|task| refuse(&task, &error));
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
            if let Some(task) = fiber.bound.look() {
                f(&task);
            }
        }
    }

    /// Takes the threads of fibers that still have a task out of the real-time class: a task may be in a
    /// native part, at a level above the workers.
    pub(crate) fn demote_bound(&self) {
        for fiber in self.all.read().iter().filter(|fiber| fiber.bound.is_some()) {
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
        let mut idle: Vec<&'static Fiber> = core::iter::from_fn(|| self.free.pop()).collect();
        shared
            .cpus()
            .iter()
            .for_each(|cpu| idle.append(&mut cpu.core.lock().fibers));
        self.all.write().clear();
        // A lane that was stopped in the middle of a pop may yet look at a fiber: then their memory stays.
        let is_quiet = self.free.is_quiet();
        for fiber in idle {
            fiber.leaving.set(true);
            // SAFETY: the fiber is idle, and ours since it was taken out of the pool or a stock.
            if let Some(inner) = unsafe { (*fiber.inner.get()).take() } {
                inner
                    .finish()
                    .expect("an idle fiber that is told to leave returns");
            }
            if is_quiet {
                free(fiber);
            }
        }
    }
}

/// A task for which no fiber can be had.
fn refuse(task: &Task, error: &FiberError) {
    // SAFETY: the task is the caller's: it came out of a queue.
    if let Some(job) = unsafe { task.body.job.take() } {
        job.abandon(JoinError::NoFiber(error.to_string()))
            .complete_and_discard();
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
        // A native part may have changed its thread's affinity or policy: the next task's is placed anew.
        fiber.lender_place.set(None);
        if direct::exit(fiber) == Direct::No {
            fiber.suspend(Intent::Exit);
        }
    }
    fiber.exit();
}

fn run_bound(fiber: &Fiber) {
    fiber.arrive();
    let task = fiber.task_node();
    // SAFETY: the task is bound to this fiber, so it is out of every queue.
    let ran = match unsafe { task.body.job.take() } {
        Some(job) if fiber.is_cancelled() || fiber.shared().is_draining() => {
            job.abandon(JoinError::Cancelled)
        }
        Some(job) => job.run(),
        None => return fiber.set_ended(Ended::Cancelled),
    };
    // From here on the joiner's wake switches to nobody: the exit does.
    let ended = ran.ended;
    fiber.set_ended(ended);
    if let Some(orphan) = ran.complete() {
        fiber.go_on(); // its destructor may do what tasks do
        orphan.discard();
        fiber.set_ended(ended);
    }
    fiber.release_guards();
}

/// Frees a fiber of which no thread knows any more.
fn free(fiber: &'static Fiber) {
    // SAFETY: leaked in `grow`; its thread was never made or has been joined, it is in no list, and the
    // carriers are gone or never saw it.
    unsafe { free_list::free(fiber) };
}
