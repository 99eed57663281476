//! One CPU of the runtime: what its worker guards with the runqueue lock, and what others may touch.
//!
//! Only workers take the lock, and only for steps that make no system call. Everyone else leaves tasks in
//! the slot or the inbox and raises the flag. Fields that others write are kept on cache lines of their
//! own, so that a wake does not disturb what the worker reads.

use crate::primitives::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::*};

use crate::primitives::futex;
use crate::primitives::{Mutex, MutexGuard};
use corelane_os::cpuset::KernelCpu;
use corelane_os::thread;
use corelane_percpu::CachePadded;
use corelane_sched::{CpuId, CpuMask, IdleSlot, IdleWord, Inbox, Kick, Prio, Runqueue, TimerQueue};

use crate::current::Fiber;
use crate::event::EventRing;
use crate::stats::CpuStats;
use crate::task_body::Body;

/// What the runqueue lock guards.
pub(crate) struct Core {
    pub(crate) rq: Runqueue<Body>,
    pub(crate) timers: TimerQueue<Body>,
    /// Idle fibers kept here; refilled from the pool.
    pub(crate) fibers: Vec<&'static Fiber>,
    /// Scratch for pulls: the CPUs already tried. Here so that a pull allocates nothing.
    pub(crate) tried: CpuMask,
}

pub(crate) struct Cpu {
    pub(crate) id: CpuId,
    pub(crate) kernel: KernelCpu,
    pub(crate) core: CachePadded<Mutex<Core>>,
    pub(crate) slot: CachePadded<IdleSlot<Body>>,
    pub(crate) inbox: CachePadded<Inbox<Body>>,
    pub(crate) idle: CachePadded<IdleWord>,
    /// Somebody wants this CPU to enter the scheduler.
    pub(crate) need_resched: CachePadded<AtomicBool>,
    /// A change was announced whose letter may be held up: look through the whole queue.
    pub(crate) refile: AtomicBool,
    /// Tasks of this CPU that are in a native part.
    pub(crate) natives: AtomicU32,
    /// The level of the most urgent of them.
    pub(crate) native_level: AtomicU8,
    /// The earliest deadline of its timers, or `u64::MAX`.
    pub(crate) next_deadline_ns: AtomicU64,
    /// `task number << 8 | priority` of the running task; 0 when idle.
    pub(crate) running: AtomicU64,
    pub(crate) queued: AtomicU32,
    /// The priority of the most urgent queued task, 0 if there is none.
    pub(crate) queued_top: AtomicU8,
    pub(crate) stats: CachePadded<CpuStats>,
    pub(crate) events: EventRing,
}

/// How many idle fibers a CPU keeps for itself.
pub(crate) const FIBERS_KEPT_MAX: usize = 16;

impl Cpu {
    pub(crate) fn new(id: CpuId, kernel: KernelCpu, cpus: usize, events: usize) -> Cpu {
        let core = Core {
            rq: Runqueue::new(id),
            timers: TimerQueue::new(),
            fibers: Vec::with_capacity(FIBERS_KEPT_MAX),
            tried: CpuMask::empty(cpus),
        };
        Cpu {
            id,
            kernel,
            core: CachePadded::new(Mutex::new(core)),
            slot: CachePadded::new(IdleSlot::new()),
            inbox: CachePadded::new(Inbox::new()),
            idle: CachePadded::new(IdleWord::new()),
            need_resched: CachePadded::new(AtomicBool::new(false)),
            refile: AtomicBool::new(false),
            natives: AtomicU32::new(0),
            native_level: AtomicU8::new(0),
            next_deadline_ns: AtomicU64::new(u64::MAX),
            running: AtomicU64::new(0),
            queued: AtomicU32::new(0),
            queued_top: AtomicU8::new(0),
            stats: CachePadded::new(CpuStats::default()),
            events: EventRing::new(events),
        }
    }

    /// Makes the worker enter the scheduler: at its next safe point, or now if it sleeps.
    ///
    /// Called after leaving something for it. At most one system call, none if the worker is awake.
    pub(crate) fn kick(&self) {
        // Release: pairs with the swap at the start of a pass; what was left before is then visible.
        self.need_resched.store(true, Release);
        if self.idle.kick() == Kick::WakeSleeper && !crate::primitives::sabotaged!(OmitKick) {
            self.stats.kicks.add_shared(1);
            futex::wake(self.idle.word(), 1);
        }
    }

    /// Takes the runqueue lock on the stack of a task, whose `errno` must survive a switch: waiting for a
    /// lock is a system call that may set it.
    #[inline]
    pub(crate) fn lock_as_task(&self) -> MutexGuard<'_, Core> {
        match self.core.try_lock() {
            Some(core) => core,
            None => thread::keeping_errno(|| self.core.lock()),
        }
    }

    /// Publishes which task runs, for observers. The caller holds the runqueue lock.
    pub(crate) fn show_running(&self, core: &Core) {
        let running = core.rq.current().map_or(0, |task| {
            task.body.id << 8 | u64::from(task.entity().prio().get())
        });
        self.running.store(running, Relaxed); // Relaxed: a value of its own, for observers.
    }

    /// Publishes what observers see. The caller holds the runqueue lock.
    pub(crate) fn show(&self, core: &Core) {
        self.show_running(core);
        self.queued.store(core.rq.queued() as u32, Relaxed);
        self.queued_top
            .store(core.rq.top_queued().map_or(0, Prio::get), Relaxed);
        let deadline_ns = core.timers.next_deadline_ns().unwrap_or(u64::MAX);
        self.next_deadline_ns.store(deadline_ns, Relaxed);
    }
}
