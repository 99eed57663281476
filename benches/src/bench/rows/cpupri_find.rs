//! Finding a CPU that runs less urgent work.
//!
//! Both arms answer with the first CPU of the lowest level: the kernel's search makes the set of them, from
//! which its caller picks. The shapes are in `cpupri/shape.rs`. In the contended lines another CPU keeps
//! changing levels meanwhile, at the same pace in both arms, and only the searches are timed: what a
//! search reads is then no longer all in its own cache.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use corelane_benches::{Block, Claim, Need, Seat, run_both};
use corelane_sched::{CpuId, Level};

use crate::cpupri::{MIXED, PEER, SHAPES, SIZES, State, level, timed, timed_on};
use crate::rows::Row;
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "cpupri_find",
    about: "finding a lowest CPU of 64 and 1024: the kernel's count + mask scheme, itself at 64",
    compare,
};

const TARGET: f64 = 0.25;
const TARGET_SCALE: f64 = 2.0;

/// Between two changes by the other CPU in the contended lines.
const PACE_NS: u64 = 500;

fn compare(run: &mut Run) {
    let seat = run.site.seat(run.site.cpu(), 0);
    for shape in &SHAPES {
        let [small, large] = SIZES.map(|cpus| State::of(shape, cpus));
        for state in [&small, &large] {
            let case = format!("{} of {} CPUs", shape.name, state.cpus);
            let claim = Claim::throughput(PEER).case(case).at_most(TARGET);
            let mut ours = |finds| ours(seat, state, finds);
            let mut peer = |finds| port(seat, state, finds);
            run.compare(claim, &[], &mut ours, &mut peer);
        }
        let case = format!("{} of {} CPUs", shape.name, large.cpus);
        let claim = Claim::throughput("itself at 64 CPUs").case(case);
        let mut at_large = |finds| ours(seat, &large, finds);
        let mut at_small = |finds| ours(seat, &small, finds);
        let claim = claim.at_most(TARGET_SCALE);
        run.compare(claim, &[], &mut at_large, &mut at_small);
    }
    SIZES.iter().for_each(|cpus| contended(run, *cpus));
}

fn contended(run: &mut Run, cpus: usize) {
    const NEEDS: &[Need] = &[Need::TwoCpus];
    let case = format!("mixed of {cpus} CPUs, one changes");
    let claim = Claim::contended(PEER).case(case).at_most(TARGET);
    if run.leaves_out(core::slice::from_ref(&claim), NEEDS) {
        return;
    }
    let seats = run.site.pair().map(|cpu| run.site.seat(cpu, 0));
    let (state, stamp) = (State::of(&MIXED, cpus), run.site.stamp);
    let mut ours = |finds| {
        let (cpupri, affinity) = (state.ours.clone(), state.affinity.clone());
        let levels: Vec<Level> = state.askers.iter().map(|prio| level(*prio)).collect();
        let changes = state.changes.iter().map(|&(cpu, prio)| (cpu, level(prio)));
        let changes: Vec<(CpuId, Level)> = changes.collect();
        let find = {
            let cpupri = cpupri.clone();
            move || {
                timed(&levels, finds, |level| {
                    cpupri.find(level, |word| affinity[word])
                })
            }
        };
        meanwhile(seats, find, move |turn| {
            let (cpu, level) = changes[turn % changes.len()];
            cpupri.set(cpu, level);
            stamp.spin(PACE_NS);
        })
    };
    let mut peer = |finds| {
        let (cpupri, affinity) = (state.port.clone(), state.affinity.clone());
        let (askers, changes) = (state.askers.clone(), state.changes.clone());
        let find = {
            let cpupri = cpupri.clone();
            move || {
                let mut lowest = vec![0; affinity.len()];
                timed(&askers, finds, |prio| {
                    cpupri.find_first(prio, &affinity, &mut lowest)
                })
            }
        };
        meanwhile(seats, find, move |turn| {
            let (cpu, prio) = changes[turn % changes.len()];
            cpupri.set(cpu, prio);
            stamp.spin(PACE_NS);
        })
    };
    run.compare(claim, NEEDS, &mut ours, &mut peer);
}

/// The block of `find` on the first seat, while `change` is called on the second, turn by turn.
fn meanwhile(
    seats: [Seat; 2],
    find: impl Fn() -> Block + Send + Sync + 'static,
    change: impl Fn(usize) + Send + Sync + 'static,
) -> Block {
    let is_over = AtomicBool::new(false);
    let [block, _] = run_both(seats, move |one| match one {
        0 => {
            let block = find();
            is_over.store(true, Relaxed); // Relaxed: an end, and nothing else.
            Some(block)
        }
        _ => {
            // Relaxed: as above.
            let turns = (0..).take_while(|_| !is_over.load(Relaxed));
            turns.for_each(&change);
            None
        }
    });
    block.expect("the first seat finds")
}

fn ours(seat: Seat, state: &State, finds: u64) -> Block {
    let (cpupri, affinity) = (state.ours.clone(), state.affinity.clone());
    let levels = state.askers.iter().map(|prio| level(*prio)).collect();
    timed_on(seat, levels, finds, move |level| {
        cpupri.find(level, |word| affinity[word])
    })
}

fn port(seat: Seat, state: &State, finds: u64) -> Block {
    let (cpupri, affinity) = (state.port.clone(), state.affinity.clone());
    let mut lowest = vec![0; affinity.len()];
    timed_on(seat, state.askers.clone(), finds, move |prio| {
        cpupri.find_first(prio, &affinity, &mut lowest)
    })
}
