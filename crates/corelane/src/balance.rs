//! Performing pushes and pulls: the locks and letters around what `corelane_sched` decides.
//!
//! A push needs the own lock only: the task leaves through the target's inbox. A pull takes the lock of
//! the source alone, while the own lock is *not* held; so no worker ever holds two locks and no order among
//! them is needed. System calls wait until no lock is held: who must be woken is noted in [`Kicks`].
//!
//! See `sched/balance.md` for why a plan may be stale and what heals it.

use corelane_sched::{Change, CpuId, CpuMask, Level, Place, pull, push};

use crate::cpu::{Core, Cpu};
use crate::event::EventKind;
use crate::runtime::Shared;
use crate::task_body::Task;
use crate::wake::{self, Left};

/// CPUs to kick once no lock is held.
#[derive(Default)]
pub(crate) struct Kicks {
    first: Option<CpuId>,
    /// More than one kick at a time is rare; a bit per CPU modulo 64 then stands for all of its class.
    others: u64,
}

impl Kicks {
    pub(crate) fn add(&mut self, cpu: CpuId) {
        match self.first {
            None => self.first = Some(cpu),
            Some(first) if first == cpu => {}
            Some(_) => self.others |= 1 << (cpu.index() % 64),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Kicks them. No lock is held.
    pub(crate) fn perform(self, shared: &Shared) {
        let Some(first) = self.first else { return };
        shared.cpu(first).kick();
        if self.others != 0 {
            let chosen = |cpu: &&Cpu| self.others >> (cpu.id.index() % 64) & 1 == 1;
            shared.cpus().iter().filter(chosen).for_each(Cpu::kick);
        }
    }
}

/// Leaves a task for another CPU, which is raised in cpupri at once; the kick is noted.
pub(crate) fn send_later(shared: &Shared, task: Task, place: Place, to: CpuId, kicks: &mut Kicks) {
    let level = task.entity().level();
    if wake::leave(shared, task, place, to) == Left::NeedsKick {
        // Before the kick, which makes the CPU publish again whatever it did in between.
        shared.domain.cpupri.raise(to, level);
        kicks.add(to);
    }
}

/// Gives queued tasks to less urgent CPUs, most urgent first, until none can be given.
///
/// Holds the own lock. Each round moves a task or ends, so there are at most as many as queued tasks.
pub(crate) fn push(shared: &Shared, core: &mut Core, cpu: &Cpu, kicks: &mut Kicks) {
    while !crate::primitives::sabotaged!(OmitPush)
        && let Some(plan) = push::plan(&core.rq, &shared.domain)
    {
        match push::commit(&mut core.rq, &shared.domain, plan) {
            push::Outcome::Moved { task, to } => {
                cpu.stats.pushes.add_own();
                cpu.events.push(|| EventKind::Migrate {
                    task: task.body.id,
                    to: to.index() as u16,
                });
                send_later(shared, task, Place::Keep, to, kicks);
                let _ = core.rq.publish(&shared.domain);
            }
            push::Outcome::Stale => {
                // The target rose between two reads; it will push on what it gets. Look again at the
                // next pass instead of chasing.
                cpu.stats.stale.add_own();
                cpu.need_resched
                    .store(true, crate::primitives::atomic::Ordering::Relaxed); // Relaxed: own CPU.
                break;
            }
        }
    }
}

/// How often a foreign lock is tried before the puller waits for it.
const TRIES_MAX: u32 = 8;

/// Takes over the most urgent task above `my_level` that waits elsewhere. No lock is held by the caller.
///
/// One foreign lock per answer that was not stale; at most one answer per CPU. The holder of a foreign lock
/// is a worker inside the scheduler, which holds it for a bounded time and sleeps on nothing.
///
/// `first` is the plan to begin with; CPUs that had nothing after all are put into `tried`.
pub(crate) fn pull(
    shared: &Shared,
    cpu: &Cpu,
    my_level: Level,
    first: pull::Plan,
    tried: &mut CpuMask,
    kicks: &mut Kicks,
) -> Option<Task> {
    let mut next = Some(first).filter(|_| !crate::primitives::sabotaged!(OmitPull));
    while let Some(plan) = next {
        let source = shared.cpu(plan.from);
        let mut core = lock(source);
        let outcome = pull::commit(&mut core.rq, cpu.id, my_level);
        if core.rq.publish(&shared.domain) == Change::Lowered {
            kicks.add(plan.from); // that CPU owes a pull for it
        }
        if let pull::Outcome::Moved(task) = &outcome {
            let to = cpu.id.index() as u16;
            source.events.push(|| EventKind::Migrate {
                task: task.body.id,
                to,
            });
            source.show(&core);
        }
        drop(core);
        match outcome {
            pull::Outcome::Moved(task) => {
                cpu.stats.pulls.add_own();
                return Some(task);
            }
            pull::Outcome::AskToLeave => kicks.add(plan.from),
            pull::Outcome::Stale => cpu.stats.stale.add_own(),
        }
        tried.insert(plan.from);
        next = pull::plan(&shared.domain, cpu.id, my_level, tried);
    }
    None
}

fn lock(source: &Cpu) -> crate::primitives::MutexGuard<'_, Core> {
    for _ in 0..TRIES_MAX {
        if let Some(core) = source.core.try_lock() {
            return core;
        }
        crate::primitives::hint::spin_loop();
    }
    source.core.lock()
}
