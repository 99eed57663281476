//! I2: no queued task could run on a CPU that runs less.
//!
//! Such a pair of task and CPU blocks each other for no reason. A task with a guard cannot leave its CPU
//! and is the business of I3.

use super::Truth;

pub(super) fn check(truth: &Truth<'_>) -> Option<String> {
    let free = truth.queued.iter().filter(|(_, task)| !task.held);
    free.into_iter().find_map(|(cpu, task)| {
        let lower = truth.lower_for(task, task.prio)?;
        let (id, prio, running) = (task.task, task.prio, truth.running_prio[lower]);
        Some(format!(
            "blocking pair: task {id} of {prio} is queued on CPU {cpu}, CPU {lower} runs {running}"
        ))
    })
}
