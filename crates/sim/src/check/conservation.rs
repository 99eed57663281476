//! I6: each runnable task is in exactly one place; nothing is lost, nothing runs twice.
//!
//! The ledger follows each hand-over as it happens. Here the runqueues are opened and compared with it:
//! every task in one is where the ledger says, and as many are found as there are runnable tasks. A task
//! that nobody has woken waits, and one that was woken does not.

use crate::ledger::Spot;
use crate::machine::Machine;

pub(super) fn check(machine: &Machine) -> Option<String> {
    letters_left(machine)
        .or_else(|| misplaced(machine))
        .or_else(|| lost(machine))
        .map(|objection| format!("conservation: {objection}"))
}

fn letters_left(machine: &Machine) -> Option<String> {
    let cpu = machine.cpus.iter().find(|cpu| !cpu.inbox.is_empty())?;
    Some(format!(
        "CPU {} is at rest with letters in its inbox",
        cpu.id
    ))
}

fn misplaced(machine: &Machine) -> Option<String> {
    for (index, cpu) in machine.cpus.iter().enumerate() {
        let current = cpu
            .rq
            .current()
            .map(|task| (task.body, Spot::Current(index)));
        let queued = cpu
            .rq
            .iter_queued()
            .map(|task| (task.body, Spot::Queued(index)));
        for (task, found) in queued.chain(current) {
            let spot = machine.ledger.get(task).spot;
            if spot != found {
                return Some(format!(
                    "{task:?} is found at {found:?}, but should be at {spot:?}"
                ));
            }
        }
    }
    None
}

fn lost(machine: &Machine) -> Option<String> {
    let found: usize = machine
        .cpus
        .iter()
        .map(|cpu| cpu.rq.queued() + usize::from(cpu.rq.current().is_some()))
        .sum();
    let mut runnable = 0;
    for task in machine.ledger.live() {
        let record = machine.ledger.get(*task);
        runnable += usize::from(!record.waits);
        if record.waits != (record.spot == Spot::Waiting) {
            let (waits, spot) = (record.waits, record.spot);
            return Some(format!(
                "{task:?} is at {spot:?}, and that it waits is {waits}"
            ));
        }
    }
    (found != runnable).then(|| format!("{runnable} tasks are runnable, {found} are on runqueues"))
}
