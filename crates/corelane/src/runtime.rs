//! The runtime: what its threads share, and the handle that owns it.
//!
//! [`Shared`] lives as long as anybody refers to it: threads, tasks, handles. [`Runtime`] is the one owner
//! that ends it.

use crate::primitives::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};
use std::sync::Arc;
use std::time::Duration;

use corelane_os::thread::Policy as ThreadPolicy;
use corelane_sched::{CpuId, RootDomain};

use crate::background::Background;
use crate::builder::Builder;
use crate::carriers::Carriers;
use crate::config::{Config, Idle};
use crate::cpu::Cpu;
use crate::event::Event;
use crate::fibers::FiberPool;
use crate::housekeeping::Housekeeping;
use crate::job::Ended;
use crate::shutdown::{self, Report};
use crate::snapshot::Snapshot;
use crate::spawn::{self, JoinHandle, TaskBuilder};
use crate::stats::{Counter, Stats};
use crate::status::Status;
use crate::task_body::Task;
use crate::{Priority, snapshot};

/// The runtime takes tasks.
const RUNNING: u32 = 0;
/// It takes no more, and ends those it has.
const DRAINING: u32 = 1;
/// Its threads return.
const STOPPING: u32 = 2;

/// What the threads of a runtime share.
pub(crate) struct Shared {
    pub(crate) domain: RootDomain,
    cpus: Box<[Cpu]>,
    pub(crate) fibers: FiberPool,
    pub(crate) background: Background,
    pub(crate) housekeeping: Housekeeping,
    pub(crate) idle: Idle,
    pub(crate) fifo_level: u8,
    /// Whether the host grants SCHED_FIFO.
    pub(crate) fifo_granted: bool,
    phase: AtomicU32,
    /// Tasks accepted. A task is counted here before it can end.
    spawned: AtomicU64,
    /// Tasks that ended elsewhere than on a worker.
    outside: OutsideStats,
}

#[derive(Default)]
struct OutsideStats {
    finished: Counter,
    cancelled: Counter,
}

// Not through `primitives`: a checker has no atomics in statics.
static NEXT_TASK: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(1);

impl Shared {
    pub(crate) fn new(
        domain: RootDomain,
        cpus: Box<[Cpu]>,
        fibers: FiberPool,
        config: &Config,
        fifo_granted: bool,
    ) -> Shared {
        Shared {
            background: Background::new(cpus.len()),
            housekeeping: Housekeeping::new(),
            domain,
            cpus,
            fibers,
            idle: config.idle,
            fifo_level: config.fifo_level,
            fifo_granted,
            phase: AtomicU32::new(RUNNING),
            spawned: AtomicU64::new(0),
            outside: OutsideStats::default(),
        }
    }

    pub(crate) fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    #[inline]
    pub(crate) fn cpu(&self, id: CpuId) -> &Cpu {
        &self.cpus[id.index()]
    }

    /// A number for a new task.
    pub(crate) fn next_task_id() -> u64 {
        NEXT_TASK.fetch_add(1, Relaxed) // Relaxed: only uniqueness matters.
    }

    /// The policy of a fiber's own thread while it stands in for a worker.
    pub(crate) fn native_policy(&self) -> ThreadPolicy {
        if self.fifo_granted {
            ThreadPolicy::Fifo {
                level: self.fifo_level + 1,
            }
        } else {
            ThreadPolicy::Other
        }
    }

    /// Counts a task that is about to be spawned; says whether the runtime still takes tasks.
    #[must_use]
    pub(crate) fn admit(&self) -> bool {
        self.spawned.fetch_add(1, Relaxed); // Relaxed: the fence orders it.
        fence(SeqCst); // pairs with the fence in `live_tasks`: we see the end, or it sees our task
        if self.is_draining() {
            self.spawned.fetch_sub(1, Relaxed); // Relaxed: it was never more than an intention.
            return false;
        }
        true
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase.load(Relaxed) != RUNNING // Relaxed: `admit` fences; elsewhere it is advice.
    }

    pub(crate) fn is_stopping(&self) -> bool {
        // SeqCst: pairs with `stop`, and for a spawner that looks after it left its task with the fence in
        // `shutdown::discard_queued`: either it sees us stopping, or its task is seen there.
        self.phase.load(SeqCst) == STOPPING
    }

    pub(crate) fn drain(&self) {
        self.phase.store(DRAINING, Release); // Release: what the dropper did before is visible.
    }

    pub(crate) fn stop(&self) {
        self.phase.store(STOPPING, SeqCst); // SeqCst: pairs with `is_stopping`.
        self.cpus.iter().for_each(Cpu::kick);
        self.background.stop();
        self.fibers.stop();
        self.housekeeping.stop();
    }

    /// A task ended on the worker of `cpu`.
    pub(crate) fn ended(&self, cpu: &Cpu, ended: Ended) {
        cpu.stats.finished.add_own();
        if ended == Ended::Cancelled {
            cpu.stats.cancelled.add_own();
        }
    }

    /// A task ended elsewhere.
    pub(crate) fn ended_outside(&self, ended: Ended) {
        self.outside.finished.add_shared(1);
        if ended == Ended::Cancelled {
            self.outside.cancelled.add_shared(1);
        }
    }

    /// How many tasks have not ended. Zero is exact: what ended is read before what was spawned.
    pub(crate) fn live_tasks(&self) -> u64 {
        let finished = self.stats().finished;
        fence(SeqCst); // ended tasks are counted first; pairs with the fence in `admit`
        self.spawned.load(Relaxed).saturating_sub(finished) // Relaxed: the fence orders it.
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for cpu in &self.cpus {
            cpu.stats.add_to(&mut sum);
            sum.events_dropped += cpu.events.dropped();
        }
        sum.finished += self.outside.finished.get();
        sum.cancelled += self.outside.cancelled.get();
        sum
    }

    /// Disarms the timer of `task`, which was armed on `cpu`. The caller is the task itself, on its
    /// carrier: a worker in the scheduler may take another CPU's lock.
    pub(crate) fn disarm(&self, task: &Task, cpu: CpuId) {
        if task.body.class == crate::task_body::Class::Background {
            return self.background.disarm(task, cpu);
        }
        let cpu = self.cpu(cpu);
        let mut core = cpu.core.lock();
        if core.timers.disarm(task) {
            cpu.show(&core);
        }
    }
}

/// A real-time executor: one worker per CPU, and the promise that the N most urgent runnable tasks run on
/// its N CPUs.
///
/// Dropping it ends every task that is left, within a second; see [`Runtime::shutdown`].
///
/// ```
/// use corelane::{Priority, Runtime};
///
/// let runtime = Runtime::builder().build()?;
/// let answer = runtime.spawn(Priority::new(80)?, || 6 * 7);
/// assert_eq!(answer.join().unwrap(), 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
    pub(crate) carriers: Option<Carriers>,
    pub(crate) status: Status,
}

impl Runtime {
    /// Starts to configure a runtime.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Runs `f` as a task of that priority.
    ///
    /// From an ordinary thread or a task. The task runs wherever the promise puts it. Costs two
    /// allocations and what a wake costs; no system call unless the chosen CPU sleeps in the kernel.
    pub fn spawn<F, T>(&self, priority: Priority, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.build_task().priority(priority).spawn(f)
    }

    /// Configures a task: name, priority, policy, affinity.
    pub fn build_task(&self) -> TaskBuilder {
        TaskBuilder::new(self.shared.clone())
    }

    /// Runs `f` below every real-time task, on a thread of the ordinary scheduling class, shared fairly
    /// with the rest of the host.
    pub fn spawn_background<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        spawn::spawn_background(&self.shared, f)
    }

    /// What the host granted, and what not, with reasons and remedies.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Who runs where, at about this instant. Reads published values, stops nobody.
    pub fn snapshot(&self) -> Snapshot {
        snapshot::take(&self.shared)
    }

    /// What the scheduler did so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Takes the events recorded so far, ordered by time, and on each CPU in the order they happened.
    /// Empty unless [`Builder::events`] gave the rings room; [`Stats::events_dropped`] counts the holes.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        self.shared
            .cpus()
            .iter()
            .for_each(|cpu| cpu.events.drain(cpu.id, &mut events));
        events.sort_by_key(|event| event.at_ns);
        events
    }

    /// The number of CPU slots.
    pub fn cpus(&self) -> usize {
        self.shared.cpus().len()
    }

    /// The kernel's number of a CPU slot.
    ///
    /// # Panics
    /// If the runtime has no such slot.
    pub fn kernel_cpu(&self, cpu: CpuId) -> usize {
        self.shared.cpu(cpu).kernel.0 as usize
    }

    /// Ends the runtime: takes no more tasks, cancels those that are left, and returns after at most about
    /// `limit`, with a report.
    ///
    /// A task that has not started never will. One that waits or reaches a safe point unwinds there, running
    /// destructors. One that reaches none within `limit` is abandoned: its thread is taken out of the
    /// real-time class and goes on, and its memory is kept.
    ///
    /// # Panics
    /// If called by one of the runtime's own tasks, which would wait for itself. The runtime then ends
    /// without it.
    pub fn shutdown(mut self, limit: Duration) -> Report {
        shutdown::shutdown(&mut self, limit)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        shutdown::dropped(self);
    }
}
