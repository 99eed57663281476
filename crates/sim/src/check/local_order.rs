//! I1: no CPU runs less than it has queued.

use super::Truth;
use crate::machine::Machine;

pub(super) fn check(machine: &Machine, truth: &Truth) -> Option<String> {
    let (cpu, task, record) = truth
        .queued(machine)
        .find(|(cpu, _, record)| truth.running_prio[*cpu] < i16::from(record.prio))?;
    let running = truth.running_prio[cpu];
    Some(format!(
        "local order: CPU {cpu} runs {running}, {task:?} of {} is queued",
        record.prio
    ))
}
