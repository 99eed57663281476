//! I3: no stuck task waits under one that could make room.
//!
//! A task is stuck if it has a guard or may run on one CPU only. The task above it could make room if it
//! has no guard and may run on a CPU that runs less than the stuck one.

use super::Truth;

pub(super) fn check(truth: &Truth<'_>) -> Option<String> {
    let stuck = truth.queued.iter().filter(|(_, task)| !task.may_leave());
    stuck.into_iter().find_map(|(cpu, task)| {
        let above = truth.running_on(*cpu).filter(|above| !above.held)?;
        let lower = truth.lower_for(above, task.prio)?;
        let running = truth.running_prio[lower];
        Some(format!(
            "held shift: task {} of {} is stuck on CPU {cpu} under task {}, CPU {lower} runs {running}",
            task.task, task.prio, above.task
        ))
    })
}
