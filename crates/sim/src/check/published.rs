//! I7 and I8: each CPU publishes the level of its top task and of its best candidate.
//!
//! The levels are written out here as numbers: 0 for an idle CPU, else the priority plus two.

use super::Truth;
use super::truth::IDLE;
use crate::machine::Machine;

pub(super) fn check(machine: &Machine, truth: &Truth) -> Option<String> {
    let cpus = machine.cpus();
    let mut top = truth.running_prio.clone();
    let mut candidate = vec![IDLE; cpus];
    for (cpu, _, record) in truth.queued(machine) {
        let prio = i16::from(record.prio);
        top[cpu] = top[cpu].max(prio);
        let may_leave = record.held == 0 && record.allowed_count > 1;
        let above = truth.running[cpu].map(|task| machine.ledger.get(task));
        if may_leave || above.is_none_or(|above| above.allowed_count > 1) {
            candidate[cpu] = candidate[cpu].max(prio);
        }
    }
    (0..cpus).find_map(|cpu| {
        let id = machine.cpus[cpu].id;
        let (level, wanted) = (machine.domain.cpupri.level(id).get(), level_of(top[cpu]));
        if level != wanted {
            return Some(format!(
                "cpupri: CPU {cpu} publishes {level}, its top is {wanted}"
            ));
        }
        let level = machine.domain.overload.level(id).map(|level| level.get());
        let wanted = (candidate[cpu] != IDLE).then(|| level_of(candidate[cpu]));
        (level != wanted).then(|| {
            format!("overload: CPU {cpu} publishes {level:?}, its candidate is {wanted:?}")
        })
    })
}

fn level_of(prio: i16) -> u8 {
    match prio {
        IDLE => 0,
        prio => prio as u8 + 2,
    }
}
