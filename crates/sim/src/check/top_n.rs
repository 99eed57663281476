//! I4: if no runnable task has a guard or bounds, the N highest priorities run.

use super::Truth;
use super::truth::IDLE;
use crate::machine::Machine;

pub(super) fn check(machine: &Machine, truth: &Truth) -> Option<String> {
    let cpus = machine.cpus();
    let runnable = machine
        .ledger
        .live()
        .iter()
        .map(|task| machine.ledger.get(*task));
    let mut prios = Vec::with_capacity(truth.runnable);
    for record in runnable.filter(|record| !record.waits) {
        if record.held > 0 || record.allowed_count < cpus {
            return None;
        }
        prios.push(i16::from(record.prio));
    }
    prios.sort_unstable_by(|a, b| b.cmp(a));
    prios.resize(cpus, IDLE);
    let mut running = truth.running_prio.clone();
    running.sort_unstable_by(|a, b| b.cmp(a));
    (prios != running).then(|| format!("top N: {running:?} run, {prios:?} should"))
}
