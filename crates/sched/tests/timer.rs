//! The timer queue against a vector that is searched for the smallest.

use corelane_sched::{CpuId, CpuMask, Node, Policy, Prio, TaskRef, TimerQueue};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Arm { deadline_ns: u64 },
    Disarm { nth: prop::sample::Index },
    Expire { now_ns: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0u64..20).prop_map(|deadline_ns| Op::Arm { deadline_ns }),
        1 => any::<prop::sample::Index>().prop_map(|nth| Op::Disarm { nth }),
        2 => (0u64..20).prop_map(|now_ns| Op::Expire { now_ns }),
    ]
}

fn task(name: usize) -> TaskRef<usize> {
    Node::new(
        Prio::MIN,
        Policy::Fifo,
        &CpuMask::full(1),
        CpuId::new(0),
        name,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn timers_expire_like_a_sorted_vector(ops in prop::collection::vec(op(), 1..150)) {
        let mut timers = TimerQueue::new();
        let mut tasks: Vec<TaskRef<usize>> = Vec::new();
        // Deadline, then the order of arming, which is the name.
        let mut armed: Vec<(u64, usize)> = Vec::new();
        for op in ops {
            match op {
                Op::Arm { deadline_ns } => {
                    let name = tasks.len();
                    tasks.push(task(name));
                    timers.arm(tasks[name].clone(), deadline_ns);
                    armed.push((deadline_ns, name));
                }
                Op::Disarm { nth } if !tasks.is_empty() => {
                    let name = nth.index(tasks.len());
                    let at = armed.iter().position(|(_, other)| *other == name);
                    prop_assert_eq!(timers.disarm(&tasks[name]), at.is_some());
                    at.map(|at| armed.remove(at));
                }
                Op::Disarm { .. } => {}
                Op::Expire { now_ns } => {
                    let due = armed.iter().copied().filter(|(deadline, _)| *deadline <= now_ns).min();
                    prop_assert_eq!(timers.expire(now_ns).map(|task| task.body), due.map(|(_, name)| name));
                    armed.retain(|entry| Some(*entry) != due);
                }
            }
            prop_assert_eq!(timers.count(), armed.len());
            prop_assert_eq!(timers.next_deadline_ns(), armed.iter().map(|(deadline, _)| *deadline).min());
        }
    }
}
