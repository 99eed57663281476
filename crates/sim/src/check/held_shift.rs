//! I3: no stuck task waits under one that could make room.
//!
//! A task is stuck if it has a guard or may run on one CPU only. The task above it could make room if it
//! has no guard and may run on a CPU that runs less than the stuck one.

use super::Truth;
use crate::machine::Machine;

pub(super) fn check(machine: &Machine, truth: &Truth) -> Option<String> {
    let stuck = truth
        .queued(machine)
        .filter(|(_, _, record)| record.held > 0 || record.allowed_count == 1);
    stuck.into_iter().find_map(|(cpu, task, record)| {
        let above = truth.running[cpu]?;
        let above_record = machine.ledger.get(above);
        if above_record.held > 0 {
            return None;
        }
        let lower = truth.lower_for(above_record, record.prio)?;
        let running = truth.running_prio[lower];
        Some(format!(
            "held shift: {task:?} of {} is stuck on CPU {cpu} under {above:?}, CPU {lower} runs {running}",
            record.prio
        ))
    })
}
