//! A task without a guard is not where its affinity forbids.

use super::Truth;

pub(super) fn check(truth: &Truth<'_>) -> Option<String> {
    truth.everywhere().find_map(|(cpu, task)| {
        let is_allowed = task.held || task.is_allowed(cpu);
        let (id, allowed) = (task.task, task.allowed);
        (!is_allowed).then(|| format!("bounds: task {id} is on CPU {cpu}, allowed is {allowed:?}"))
    })
}
