//! A task without a guard is not where its affinity forbids.

use super::Truth;
use crate::machine::Machine;

pub(super) fn check(machine: &Machine, truth: &Truth) -> Option<String> {
    let running = truth.running.iter().enumerate();
    let running = running.filter_map(|(cpu, task)| Some((cpu, (*task)?)));
    running
        .chain(truth.queued.iter().copied())
        .find_map(|(cpu, task)| {
            let record = machine.ledger.get(task);
            let is_allowed = record.held > 0 || record.allowed.contains(machine.cpus[cpu].id);
            (!is_allowed).then(|| {
                format!(
                    "bounds: {task:?} is on CPU {cpu}, allowed is {:?}",
                    record.allowed
                )
            })
        })
}
