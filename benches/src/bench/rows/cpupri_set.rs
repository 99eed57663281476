//! Publishing the level of what a CPU runs.
//!
//! The kernel's change is four locked instructions on two masks and two counts, ours one
//! compare-and-swap, and up to two more beyond 64 CPUs. Uncontended, one thread changes random
//! CPUs. Contended, two CPUs publish at once, each its own level, up and down between the same two: the
//! usual case, as every switch publishes.

use core::hint::black_box;

use corelane_benches::{Block, Claim, Need, Seat, time_both};
use corelane_sched::CpuId;

use crate::cpupri::{MIXED, PEER, SIZES, State, level, timed_on};
use crate::rows::Row;
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "cpupri_set",
    about: "publishing a CPU's level, alone and contended: the kernel's count + mask scheme",
    compare,
};

const TARGET: f64 = 0.5;

/// The levels between which contended CPUs change.
const PRIOS: [u8; 2] = [20, 80];

fn compare(run: &mut Run) {
    let seat = run.site.seat(run.site.cpu(), 0);
    for cpus in SIZES {
        let state = State::of(&MIXED, cpus);
        let case = format!("random of {cpus} CPUs");
        let claim = Claim::throughput(PEER).case(case).at_most(TARGET);
        let mut ours = |sets| ours(seat, &state, sets);
        let mut peer = |sets| port(seat, &state, sets);
        run.compare(claim, &[], &mut ours, &mut peer);
    }
    SIZES.iter().for_each(|cpus| contended(run, *cpus));
}

fn ours(seat: Seat, state: &State, sets: u64) -> Block {
    let changes = state.changes.iter().map(|&(cpu, prio)| (cpu, level(prio)));
    let cpupri = state.ours.clone();
    timed_on(seat, changes.collect(), sets, move |(cpu, level)| {
        cpupri.set(cpu, level)
    })
}

fn port(seat: Seat, state: &State, sets: u64) -> Block {
    let cpupri = state.port.clone();
    timed_on(seat, state.changes.clone(), sets, move |(cpu, prio)| {
        cpupri.set(cpu, prio);
    })
}

fn contended(run: &mut Run, cpus: usize) {
    const NEEDS: &[Need] = &[Need::TwoCpus];
    let case = format!("two CPUs of {cpus} at once");
    let claim = Claim::contended(PEER).case(case).at_most(TARGET);
    if run.leaves_out(core::slice::from_ref(&claim), NEEDS) {
        return;
    }
    let seats = run.site.pair().map(|cpu| run.site.seat(cpu, 0));
    let state = State::of(&MIXED, cpus);
    let mut ours = |sets| {
        let cpupri = state.ours.clone();
        up_and_down(seats, sets, PRIOS.map(level), move |cpu, level| {
            black_box(cpupri.set(cpu, level));
        })
    };
    let mut peer = |sets| {
        let cpupri = state.port.clone();
        up_and_down(seats, sets, PRIOS, move |cpu, prio| cpupri.set(cpu, prio))
    };
    run.compare(claim, NEEDS, &mut ours, &mut peer);
}

/// Two neighbouring CPUs, each by its own thread.
fn up_and_down<L: Copy + Send + Sync + 'static>(
    seats: [Seat; 2],
    sets: u64,
    levels: [L; 2],
    set: impl Fn(CpuId, L) + Send + Sync + 'static,
) -> Block {
    let each = sets.div_ceil(2);
    time_both(seats, each, move |cpu| {
        let cpu = CpuId::new(cpu);
        (0..each).for_each(|n| set(cpu, black_box(levels[n as usize % 2])));
    })
}
