//! The runtime: what its threads share, and the handle that owns it.
//!
//! [`Shared`] lives as long as anybody refers to it: threads, tasks, handles. [`Runtime`] is the one owner
//! that ends it.

use crate::primitives::atomic::{Ordering::*, fence};
use std::sync::Arc;
use std::time::Duration;

use corelane_os::fiber::Backend;
use corelane_os::thread::Policy as ThreadPolicy;
use corelane_sched::{CpuId, CpuMask, RootDomain};

use crate::admission::Admission;
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
use crate::spawn::{self, JoinHandle, Options, TaskBuilder};
use crate::stats::{Counter, Stats};
use crate::status::Status;
use crate::task_body::Task;
use crate::{Priority, snapshot};

/// What the threads of a runtime share.
pub(crate) struct Shared {
    pub(crate) domain: RootDomain,
    cpus: Box<[Cpu]>,
    pub(crate) fibers: FiberPool,
    /// Whether fibers run on their carriers' kernel threads, so that one can switch to another.
    pub(crate) is_carried: bool,
    pub(crate) background: Background,
    pub(crate) housekeeping: Housekeeping,
    pub(crate) idle: Idle,
    pub(crate) fifo_level: u8,
    /// Whether the host grants SCHED_FIFO.
    pub(crate) fifo_granted: bool,
    pub(crate) admission: Admission,
    /// The affinity of a task that has none of its own.
    pub(crate) all_cpus: CpuMask,
    /// Tasks that ended elsewhere than on a worker.
    outside: OutsideStats,
}

#[derive(Default)]
struct OutsideStats {
    finished: Counter,
    cancelled: Counter,
}

impl Shared {
    pub(crate) fn new(
        domain: RootDomain,
        cpus: Box<[Cpu]>,
        fibers: FiberPool,
        config: &Config,
        fifo_granted: bool,
    ) -> Shared {
        Shared {
            admission: Admission::new(cpus.len()),
            all_cpus: CpuMask::full(cpus.len()),
            background: Background::new(cpus.len()),
            housekeeping: Housekeeping::new(),
            domain,
            cpus,
            is_carried: matches!(fibers.backend(), Backend::Carried(_)),
            fibers,
            idle: config.idle,
            fifo_level: config.fifo_level,
            fifo_granted,
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

    pub(crate) fn is_draining(&self) -> bool {
        self.admission.is_draining()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.admission.is_stopping()
    }

    pub(crate) fn stop(&self) {
        self.admission.stop();
        self.cpus.iter().for_each(Cpu::kick);
        self.background.stop();
        self.fibers.stop();
        self.housekeeping.stop();
    }

    /// A task ended on the worker of `cpu`.
    pub(crate) fn ended(&self, cpu: &Cpu, ended: Ended) {
        fence(Release); // pairs with the fence in `live_tasks`: who sees the end counts the admission
        cpu.stats.finished.add_own();
        if ended == Ended::Cancelled {
            cpu.stats.cancelled.add_own();
        }
    }

    /// A task ended elsewhere.
    pub(crate) fn ended_outside(&self, ended: Ended) {
        fence(Release); // as in `ended`
        self.outside.finished.add_shared(1);
        if ended == Ended::Cancelled {
            self.outside.cancelled.add_shared(1);
        }
    }

    /// How many tasks have not ended. Zero is exact once none is taken: what ended is read before what was
    /// admitted, so that whoever is counted as ended is counted as admitted too.
    pub(crate) fn live_tasks(&self) -> u64 {
        let finished = self.stats().finished;
        fence(Acquire); // pairs with the fences in `ended`, `ended_outside`
        self.admission.count().saturating_sub(finished)
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
        let mut core = cpu.lock_as_task();
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
    /// From an ordinary thread or a task. The task runs wherever the promise puts it. Costs one allocation,
    /// one more each for a closure or a result of more than 96 bytes, and what a wake costs; no system
    /// call unless the chosen CPU sleeps in the kernel.
    pub fn spawn<F, T>(&self, priority: Priority, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        spawn::spawn(&self.shared, Options::new(priority), f)
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
