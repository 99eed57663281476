//! I7 and I8: each CPU publishes the level of its top task and of its best candidate.
//!
//! The levels are written out here as numbers: 0 for an idle CPU, else the priority plus two.

use super::Truth;
use super::truth::IDLE;

/// What a CPU at rest should publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Levels {
    /// The level of its most urgent runnable task; 0 if it has none.
    pub top: u8,
    /// The level of the most urgent queued task that another CPU could help.
    pub candidate: Option<u8>,
}

/// What each CPU should publish.
pub fn levels(truth: &Truth<'_>) -> Vec<Levels> {
    let mut top = truth.running_prio.clone();
    let mut candidate = vec![IDLE; truth.cpus()];
    for (cpu, task) in &truth.queued {
        let (cpu, prio) = (*cpu, i16::from(task.prio));
        top[cpu] = top[cpu].max(prio);
        let above = truth.running_on(cpu);
        if task.may_leave() || above.is_none_or(|above| !above.is_bound()) {
            candidate[cpu] = candidate[cpu].max(prio);
        }
    }
    let levels = top.iter().zip(candidate).map(|(top, candidate)| Levels {
        top: level_of(*top),
        candidate: (candidate != IDLE).then(|| level_of(candidate)),
    });
    levels.collect()
}

/// Compares them with what was published.
pub(super) fn check(truth: &Truth<'_>, published: impl Fn(usize) -> Levels) -> Option<String> {
    let wanted = levels(truth).into_iter().enumerate();
    wanted.into_iter().find_map(|(cpu, wanted)| {
        let (seen, top) = (published(cpu), wanted.top);
        if seen.top != top {
            return Some(format!(
                "cpupri: CPU {cpu} publishes {}, its top is {top}",
                seen.top
            ));
        }
        (seen.candidate != wanted.candidate).then(|| {
            format!(
                "overload: CPU {cpu} publishes {:?}, its candidate is {:?}",
                seen.candidate, wanted.candidate
            )
        })
    })
}

fn level_of(prio: i16) -> u8 {
    match prio {
        IDLE => 0,
        prio => prio as u8 + 2,
    }
}
