//! Changing a live task from outside: priority, affinity, and asking it to end.
//!
//! The value is written first, then a letter is sent to the task's home. If the task moves meanwhile,
//! either its new home read the new value when it queued the task, or it finds the letter; see
//! `Entity::home`. Nobody else's runqueue lock is taken.

use crate::primitives::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use corelane_sched::{CpuMask, TaskPhase, Why};

use crate::current::Fiber;
use crate::error::{ChangeError, SpawnError};
use crate::spawn::check_affinity;
use crate::task_body::{Class, Task};
use crate::{Priority, api, wake};

pub(crate) fn set_priority(task: &Task, priority: Priority) -> Result<(), ChangeError> {
    check(task)?;
    task.entity().set_prio(priority.prio());
    announce(task);
    Ok(())
}

pub(crate) fn set_affinity(task: &Task, affinity: &CpuMask) -> Result<(), ChangeError> {
    check(task)?;
    check_affinity(affinity, &task.body.shared.all_cpus).map_err(|error| match error {
        SpawnError::ForeignCpu { cpus } => ChangeError::ForeignCpu { cpus },
        _ => ChangeError::EmptyAffinity,
    })?;
    let own = Fiber::current().filter(|fiber| fiber.is_running(task));
    if own.is_some_and(|fiber| fiber.held.count() > 0 && !affinity.contains(fiber.cpu_id())) {
        return Err(ChangeError::Held);
    }
    {
        let _one_replacer = task.body.changing.lock();
        task.entity().affinity().store(affinity);
    }
    announce(task);
    let is_native = own.is_some() && Fiber::carried().is_none(); // obeyed on its way back
    let waits_for_itself = is_native || own.is_some_and(|fiber| fiber.held.count() > 0);
    if !waits_for_itself {
        settle(task);
    }
    Ok(())
}

/// Asks a task to unwind at its next safe point.
pub(crate) fn cancel(task: &Task) {
    if task.entity().state().phase() == TaskPhase::Done {
        return; // a letter about it could outlive the runtime, which it would keep in memory
    }
    task.body.cancelled.store(true, Relaxed); // Relaxed: the wake and the letter order it.
    if task.body.class == Class::RealTime {
        announce(task);
    }
    if !crate::primitives::sabotaged!(OmitCancelWake) {
        wake::wake_ref(task);
    }
}

fn check(task: &Task) -> Result<(), ChangeError> {
    if task.body.class == Class::Background {
        return Err(ChangeError::Background);
    }
    if task.entity().state().phase() == TaskPhase::Done {
        return Err(ChangeError::Done);
    }
    Ok(())
}

/// Tells the task's home. If the caller is on that CPU, the change takes effect at once.
fn announce(task: &Task) {
    if crate::primitives::sabotaged!(OmitChangeLetter) {
        return;
    }
    let shared = &task.body.shared;
    let home = shared.cpu(task.entity().home());
    if !home.inbox.leave_change(task) {
        // A letter is under way, or its sender was stopped before it left it: do not depend on it.
        home.refile.store(true, Release); // Release: pairs with the swap in the pass
    }
    home.kick();
    if let Some(fiber) = Fiber::on_worker()
        && core::ptr::eq(fiber.cpu(), home)
    {
        fiber.suspend(crate::current::Intent::Review(Why::Asked));
    }
}

/// How long to wait before the second look at whether an affinity has taken effect.
const LOOK_AGAIN: Duration = Duration::from_micros(50);
/// And at most. A worker spins towards a timer that is near, so a task that kept looking every few
/// microseconds for as long as somebody holds a guard would keep a CPU from everybody else in the kernel.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(1);

/// Waits until the task is where it may be: it waits without a guard (its next wake obeys), or its home
/// is allowed (it can no longer be queued elsewhere).
fn settle(task: &Task) {
    let entity = task.entity();
    let mut pause = LOOK_AGAIN;
    loop {
        let phase = entity.state().phase();
        let home_is_allowed = entity.affinity().contains(entity.home());
        let waits_unheld = phase == TaskPhase::Parked && entity.held() == 0;
        if home_is_allowed || waits_unheld || phase == TaskPhase::Done {
            return;
        }
        api::sleep(pause);
        pause = (2 * pause).min(LOOK_AGAIN_MAX);
    }
}
