//! I1: no CPU runs less than it has queued.

use super::Truth;

pub(super) fn check(truth: &Truth<'_>) -> Option<String> {
    let mut queued = truth.queued.iter();
    let (cpu, task) = queued.find(|(cpu, task)| truth.running_prio[*cpu] < i16::from(task.prio))?;
    let running = truth.running_prio[*cpu];
    Some(format!(
        "local order: CPU {cpu} runs {running}, task {} of {} is queued",
        task.task, task.prio
    ))
}
