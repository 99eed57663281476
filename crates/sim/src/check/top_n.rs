//! I4: if no runnable task has a guard or bounds, the N highest priorities run.

use super::Truth;
use super::truth::IDLE;

pub(super) fn check(truth: &Truth<'_>) -> Option<String> {
    let cpus = truth.cpus();
    let mut prios = Vec::with_capacity(truth.runnable().max(cpus));
    for (_, task) in truth.everywhere() {
        if task.held || task.allowed.count() < cpus {
            return None;
        }
        prios.push(i16::from(task.prio));
    }
    prios.sort_unstable_by(|a, b| b.cmp(a));
    prios.resize(cpus, IDLE);
    let mut running = truth.running_prio.clone();
    running.sort_unstable_by(|a, b| b.cmp(a));
    (prios != running).then(|| format!("top N: {running:?} run, {prios:?} should"))
}
