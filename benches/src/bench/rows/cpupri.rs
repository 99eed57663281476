//! Finding a lowest CPU, and publishing what a CPU runs.
//!
//! The peer is a port of the kernel's scheme, a count and a mask for each level ([`CountMask`]); both keep
//! the same CPUs at the same priorities and are asked the same questions. One thread asks, so up to 1024
//! CPUs are a matter of memory; only the contended rows need two. Both structures answer with the first
//! CPU of the lowest level: the kernel's search makes the set of them, from which its caller picks.
//!
//! The shapes are those in which the two schemes differ most:
//!
//! | shape | what it shows |
//! |---|---|
//! | all busy | nothing is lower: the port reads a count for each level below the asker's, we read every group |
//! | last idle | the only idle CPU is the last: the best case of the port, and our whole scan |
//! | affinity | many CPUs are lower, and the asker may run on four of them only: the port meets one mask after the other |
//! | mixed | every CPU at a random level, the asker at a random priority |

use core::hint::black_box;
use std::sync::Arc;

use corelane_benches::{Block, Claim, CountMask, Need, Random, Seat, Stopwatch, run_both};
use corelane_sched::{CpuId, Cpupri, Level, Prio};

use crate::rows::Row;
use crate::run::Run;

mod shape;

use shape::{ALL_BUSY, MIXED, SHAPES, Shape};

pub(crate) const FIND: Row = Row {
    name: "cpupri_find",
    about: "finding a lowest CPU of 64 and 1024: the kernel's count + mask scheme, itself at 64",
    compare: compare_find,
};

pub(crate) const SET: Row = Row {
    name: "cpupri_set",
    about: "publishing a CPU's level, alone and contended: the kernel's count + mask scheme",
    compare: compare_set,
};

const TARGET_FIND: f64 = 0.25;
const TARGET_SET: f64 = 0.5;
const TARGET_SCALE: f64 = 2.0;
const PEER: &str = "count + mask per level";
const SIZES: [usize; 2] = [64, 1024];

fn compare_find(run: &mut Run) {
    let seat = run.site.seat(run.site.cpu(), 0);
    for shape in &SHAPES {
        let (small, large) = (State::of(shape, SIZES[0]), State::of(shape, SIZES[1]));
        for state in [&small, &large] {
            let case = format!("{} of {} CPUs", shape.name, state.cpus);
            let claim = Claim::throughput(PEER).case(case).at_most(TARGET_FIND);
            let mut ours = |finds| find(seat, state, finds);
            let mut peer = |finds| find_by_port(seat, state, finds);
            run.compare(claim, &[], &mut ours, &mut peer);
        }
        let case = format!("{} of {} CPUs", shape.name, large.cpus);
        let claim = Claim::throughput("itself at 64 CPUs").case(case);
        let mut ours = |finds| find(seat, &large, finds);
        let mut peer = |finds| find(seat, &small, finds);
        run.compare(claim.at_most(TARGET_SCALE), &[], &mut ours, &mut peer);
    }
}

fn compare_set(run: &mut Run) {
    let seat = run.site.seat(run.site.cpu(), 0);
    for cpus in SIZES {
        let state = State::of(&MIXED, cpus);
        let case = format!("random of {cpus} CPUs");
        let claim = Claim::throughput(PEER).case(case).at_most(TARGET_SET);
        let mut ours = |sets| set(seat, &state, sets);
        let mut peer = |sets| set_by_port(seat, &state, sets);
        run.compare(claim, &[], &mut ours, &mut peer);
    }
    for cpus in SIZES {
        let case = format!("two CPUs of {cpus} at once");
        let claim = Claim::throughput(PEER).case(case).at_most(TARGET_SET);
        contended(run, claim, cpus);
    }
}

/// Two CPUs of one word, each by its own thread, go up and down between the same two levels.
fn contended(run: &mut Run, claim: Claim, cpus: usize) {
    const NEEDS: &[Need] = &[Need::TwoCpus];
    const PRIOS: [u8; 2] = [20, 80];
    if run.leaves_out(core::slice::from_ref(&claim), NEEDS) {
        return;
    }
    let seats = run.site.pair().map(|cpu| run.site.seat(cpu, 0));
    let state = State::of(&ALL_BUSY, cpus);
    let (ours, port) = (state.ours.clone(), state.port.clone());
    let mut ours = |sets: u64| {
        let ours = ours.clone();
        alternately(seats, sets, PRIOS.map(level), move |cpu, level| {
            black_box(ours.set(cpu, level));
        })
    };
    let mut peer = |sets: u64| {
        let port = port.clone();
        alternately(seats, sets, PRIOS, move |cpu, prio| port.set(cpu, prio))
    };
    run.compare(claim, NEEDS, &mut ours, &mut peer);
}

fn alternately<L: Copy + Send + Sync + 'static>(
    seats: [Seat; 2],
    sets: u64,
    levels: [L; 2],
    set: impl Fn(CpuId, L) + Send + Sync + 'static,
) -> Block {
    let each = sets.div_ceil(2);
    run_both(seats, each, move |cpu| {
        let cpu = black_box(CpuId::new(cpu));
        (0..each).for_each(|n| set(cpu, black_box(levels[n as usize % 2])));
    })
}

/// Both structures in the same state, and the questions asked of them.
struct State {
    cpus: usize,
    ours: Arc<Cpupri>,
    port: Arc<CountMask>,
    /// The CPUs that the asker may run on.
    affinity: Arc<[u64]>,
    /// The priorities of the askers, in turn.
    askers: Arc<[u8]>,
    /// Changes, in turn.
    changes: Arc<[(CpuId, u8)]>,
}

const TURNS: usize = 256;

impl State {
    fn of(shape: &Shape, cpus: usize) -> State {
        let mut random = Random::new(cpus as u64);
        let (ours, port) = (Cpupri::new(cpus), CountMask::new(cpus));
        for cpu in 0..cpus {
            let prio = (shape.prio)(cpu, cpus, &mut random);
            ours.set(CpuId::new(cpu), level(prio));
            port.set(CpuId::new(cpu), prio);
        }
        let affinity: Arc<[u64]> = (0..cpus / 64)
            .map(|word| (shape.affinity)(word, cpus))
            .collect();
        let changes = changes(cpus, &mut random);
        let askers = (0..TURNS).map(|_| (shape.asker)(&mut random)).collect();
        State {
            cpus,
            ours: Arc::new(ours),
            port: Arc::new(port),
            affinity,
            askers,
            changes,
        }
    }
}

/// Changes of random CPUs to random priorities, and then of the same CPUs to others: a list that set each
/// CPU to what it is already, turn after turn, would change nothing.
fn changes(cpus: usize, random: &mut Random) -> Arc<[(CpuId, u8)]> {
    let mut change = || {
        let cpu = CpuId::new(random.below(cpus as u64) as usize);
        (cpu, random.below(100) as u8)
    };
    let first: Vec<(CpuId, u8)> = (0..TURNS / 2).map(|_| change()).collect();
    let second = first.iter().map(|&(cpu, prio)| (cpu, (prio + 37) % 100));
    first.iter().copied().chain(second).collect()
}

/// The level of a priority; 0 is idle.
fn level(prio: u8) -> Level {
    Prio::new(prio).map_or(Level::IDLE, Level::of)
}

fn find(seat: Seat, state: &State, finds: u64) -> Block {
    let (ours, affinity, askers) = (
        state.ours.clone(),
        state.affinity.clone(),
        state.askers.clone(),
    );
    seat.run(move || {
        let levels: Vec<Level> = askers.iter().map(|prio| level(*prio)).collect();
        let watch = Stopwatch::start();
        for turn in 0..finds as usize {
            let affinity = black_box(&affinity[..]);
            black_box(ours.find(levels[turn % TURNS], |word| affinity[word]));
        }
        watch.throughput(finds)
    })
}

fn find_by_port(seat: Seat, state: &State, finds: u64) -> Block {
    let (port, affinity, askers) = (
        state.port.clone(),
        state.affinity.clone(),
        state.askers.clone(),
    );
    seat.run(move || {
        let mut lowest = vec![0; affinity.len()];
        let watch = Stopwatch::start();
        for turn in 0..finds as usize {
            let affinity = black_box(&affinity[..]);
            black_box(port.find_first(askers[turn % TURNS], affinity, &mut lowest));
        }
        watch.throughput(finds)
    })
}

fn set(seat: Seat, state: &State, sets: u64) -> Block {
    let (ours, changes) = (state.ours.clone(), state.changes.clone());
    seat.run(move || {
        let levels: Vec<(CpuId, Level)> = changes
            .iter()
            .map(|(cpu, prio)| (*cpu, level(*prio)))
            .collect();
        let watch = Stopwatch::start();
        for turn in 0..sets as usize {
            let (cpu, level) = levels[turn % TURNS];
            black_box(ours.set(cpu, level));
        }
        watch.throughput(sets)
    })
}

fn set_by_port(seat: Seat, state: &State, sets: u64) -> Block {
    let (port, changes) = (state.port.clone(), state.changes.clone());
    seat.run(move || {
        let watch = Stopwatch::start();
        for turn in 0..sets as usize {
            let (cpu, prio) = changes[turn % TURNS];
            port.set(cpu, prio);
        }
        watch.throughput(sets)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_every_change_changes_something() {
        for cpus in SIZES {
            let changes = changes(cpus, &mut Random::new(1));
            let mut levels = vec![0; cpus];
            let mut changed = 0;
            for turn in 0..10 * TURNS {
                let (cpu, prio) = changes[turn % TURNS];
                changed += usize::from(std::mem::replace(&mut levels[cpu.index()], prio) != prio);
            }
            assert!(changed > 9 * TURNS, "{changed} of {}", 10 * TURNS);
        }
    }

    #[test]
    fn both_arms_find_the_same_cpu_in_every_shape() {
        for shape in &SHAPES {
            for cpus in SIZES {
                let state = State::of(shape, cpus);
                let mut lowest = vec![0; cpus / 64];
                for asker in state.askers.iter() {
                    let ours = state.ours.find(level(*asker), |word| state.affinity[word]);
                    let port = state.port.find_first(*asker, &state.affinity, &mut lowest);
                    assert_eq!(ours, port, "{} of {cpus}", shape.name);
                }
            }
        }
    }
}
