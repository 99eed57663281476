//! cpupri: a CPU that is low throughout is never missed, and no change is lost, also beyond 64 CPUs.

use alloc::sync::Arc;

use loom::thread;

use crate::primitives::control::{Protocol, Unnoticed, check, every_ordering_matters};
use crate::{CpuId, Cpupri, Level};

/// CPUs 64 and up are the second group, whose summary word searches read first.
const FIRST: usize = 64;

fn cpu(offset: usize) -> CpuId {
    CpuId::new(FIRST + offset)
}

fn level(raw: u8) -> Level {
    Level::from_raw(raw)
}

/// Two groups; the CPUs of the second are at these levels.
fn levels(of_second_group: &[u8]) -> Arc<Cpupri> {
    let cpupri = Cpupri::new(FIRST + of_second_group.len());
    for (offset, raw) in of_second_group.iter().enumerate() {
        cpupri.set(cpu(offset), level(*raw));
    }
    Arc::new(cpupri)
}

fn lowest(cpupri: &Cpupri, below: u8) -> Option<CpuId> {
    cpupri.find(level(below), |_| u64::MAX)
}

#[test]
fn a_cpu_that_is_low_throughout_is_found_while_another_leaves_the_minimum() {
    check(|| {
        let cpupri = levels(&[10, 20]);
        let theirs = cpupri.clone();
        let riser = thread::spawn(move || theirs.set(cpu(0), level(50)));
        assert!(lowest(&cpupri, 21).is_some(), "a low CPU is missed");
        riser.join().unwrap();
        assert_eq!(lowest(&cpupri, 21), Some(cpu(1)));
    });
}

/// A CPU falls to 30 while the lowest one rises in these steps, and must be found by whoever looks below 31.
fn is_found_while_the_minimum_rises(steps: &'static [u8]) {
    check(move || {
        let cpupri = levels(&[10, 60]);
        let theirs = cpupri.clone();
        let riser = thread::spawn(move || {
            for step in steps {
                theirs.set(cpu(0), level(*step));
            }
        });
        cpupri.set(cpu(1), level(30));
        assert!(
            lowest(&cpupri, 31).is_some(),
            "the own finished change is missed"
        );
        riser.join().unwrap();
        assert_eq!(lowest(&cpupri, 31), Some(cpu(1)), "a CPU is hidden");
    });
}

#[test]
fn a_cpu_that_falls_while_another_leaves_the_minimum_is_found_afterwards() {
    is_found_while_the_minimum_rises(&[50]);
}

#[test]
fn a_cpu_that_falls_above_the_minimum_is_found_after_two_have_left_it() {
    is_found_while_the_minimum_rises(&[20, 50]);
}

#[test]
fn two_cpus_of_one_word_that_change_at_once_both_stand() {
    check(|| {
        let cpupri = levels(&[10, 10, 70]);
        let theirs = cpupri.clone();
        let other = thread::spawn(move || theirs.set(cpu(0), level(40)));
        cpupri.set(cpu(1), level(30));
        other.join().unwrap();
        let now = [0, 1, 2].map(|offset| cpupri.level(cpu(offset)).get());
        assert_eq!(now, [40, 30, 70]);
        assert_eq!(lowest(&cpupri, 31), Some(cpu(1)));
    });
}

#[test]
fn a_raise_never_lowers() {
    check(|| {
        let cpupri = Arc::new(Cpupri::new(2));
        let own = CpuId::new(0);
        cpupri.set(own, level(10));
        let (one, two) = (cpupri.clone(), cpupri.clone());
        let raisers = [
            thread::spawn(move || one.raise(own, level(30))),
            thread::spawn(move || two.raise(own, level(20))),
        ];
        let seen = cpupri.level(own);
        assert!(cpupri.level(own) >= seen, "a raise has lowered");
        raisers
            .into_iter()
            .for_each(|raiser| raiser.join().unwrap());
        assert_eq!(cpupri.level(own), level(30));
    });
}

const ADVICE: &str = "a level is a value that hands no other memory over, and an answer is advice; what \
    orders it against overload are the fences of push and pull, see `overload.rs`";

#[test]
fn every_ordering_of_the_level_map_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "a_raise_never_lowers",
            "two_cpus_of_one_word_that_change_at_once_both_stand",
            "a_cpu_that_falls_while_another_leaves_the_minimum_is_found_afterwards",
            "a_cpu_that_falls_above_the_minimum_is_found_after_two_have_left_it",
            "a_cpu_that_is_low_throughout_is_found_while_another_leaves_the_minimum",
        ],
        sites: &[("level_map.rs", &[]), ("minimum.rs", &[])],
        unnoticed: &[
            Unnoticed {
                weakening: "level_map.rs get load loses Acquire",
                why: ADVICE,
            },
            Unnoticed {
                weakening: "minimum.rs fall load loses Acquire",
                why: "`is_concerned` has read the same word before, with the same order",
            },
            Unnoticed {
                weakening: "minimum.rs rise load loses Acquire",
                why: "it matters where the mark is that of another raiser, which takes a third thread",
            },
        ],
    });
}
