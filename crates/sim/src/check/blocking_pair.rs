//! I2: no queued task could run on a CPU that runs less.
//!
//! Such a pair of task and CPU blocks each other for no reason. A task with a guard cannot leave its CPU
//! and is the business of I3.

use super::Truth;
use crate::machine::Machine;

pub(super) fn check(machine: &Machine, truth: &Truth) -> Option<String> {
    truth.queued(machine).filter(|(_, _, record)| record.held == 0).find_map(|(cpu, task, record)| {
        let lower = truth.lower_for(record, record.prio)?;
        let (prio, running) = (record.prio, truth.running_prio[lower]);
        Some(format!(
            "blocking pair: {task:?} of {prio} is queued on CPU {cpu}, CPU {lower} runs {running}"
        ))
    })
}
