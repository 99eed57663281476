//! Where a task wakes up, against the policy stated as a list of wishes.

use corelane_sched::{CpuId, CpuMask, Level, Node, Policy, Prio, RootDomain, select_cpu};
use proptest::prelude::*;

const CPUS: usize = 6;

fn level() -> impl Strategy<Value = Level> {
    let real_time = (1u8..=99).prop_map(|prio| Level::of(Prio::new(prio).unwrap()));
    prop_oneof![
        1 => Just(Level::IDLE),
        1 => Just(Level::BACKGROUND),
        1 => Just(Level::INVALID),
        5 => real_time,
    ]
}

/// The CPUs among which the policy leaves the choice open.
fn acceptable(
    levels: &[Level],
    allowed: &[usize],
    last: usize,
    mine: Level,
    held: bool,
) -> Vec<usize> {
    let lowest = |below: Level| {
        let candidates: Vec<usize> = allowed
            .iter()
            .copied()
            .filter(|cpu| levels[*cpu] < below)
            .collect();
        let least = candidates.iter().map(|cpu| levels[*cpu]).min();
        candidates
            .into_iter()
            .filter(|cpu| Some(levels[*cpu]) == least)
            .collect::<Vec<_>>()
    };
    let is_spare = |cpu: usize| levels[cpu] <= Level::BACKGROUND;
    let last_is_allowed = allowed.contains(&last);
    let wishes = [
        // A guard pins.
        if held { vec![last] } else { vec![] },
        // A CPU without real-time work: the last one first.
        if last_is_allowed && is_spare(last) {
            vec![last]
        } else {
            vec![]
        },
        lowest(mine)
            .into_iter()
            .filter(|cpu| is_spare(*cpu))
            .collect(),
        // The last CPU, if the task is above all there.
        if last_is_allowed && levels[last] < mine {
            vec![last]
        } else {
            vec![]
        },
        // A lowest CPU below the task.
        lowest(mine),
        // The last CPU, to queue; any other that takes work; else to wait where it was.
        if last_is_allowed && levels[last] != Level::INVALID {
            vec![last]
        } else {
            vec![]
        },
        lowest(Level::INVALID),
        vec![last],
    ];
    wishes.into_iter().find(|wish| !wish.is_empty()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_task_wakes_up_where_the_policy_says(
        levels in prop::collection::vec(level(), CPUS),
        allowed in prop::sample::subsequence((0..CPUS).collect::<Vec<_>>(), 1..=CPUS),
        last in 0..CPUS, prio in 1u8..=99, is_held in prop::bool::weighted(0.1),
    ) {
        let domain = RootDomain::flat(CPUS);
        for (cpu, level) in levels.iter().enumerate() {
            domain.cpupri.set(CpuId::new(cpu), *level);
        }
        let mut mask = CpuMask::empty(CPUS);
        allowed.iter().for_each(|cpu| mask.insert(CpuId::new(*cpu)));
        let prio = Prio::new(prio).unwrap();
        let task = Node::new(prio, Policy::Fifo, &mask, CpuId::new(last), ());
        if is_held {
            task.entity().hold();
        }
        let chosen = select_cpu(&domain, task.entity()).index();
        let acceptable = acceptable(&levels, &allowed, last, Level::of(prio), is_held);
        prop_assert!(acceptable.contains(&chosen), "{chosen} is not among {acceptable:?}");
    }
}
