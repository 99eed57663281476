//! What the rows about cpupri share: ours and the kernel's scheme in the same state.
//!
//! The peer is a port of the kernel's scheme, a count and a mask for each level ([`CountMask`]). Both keep
//! the same CPUs at the same priorities and get the same questions and changes. One thread does
//! that, so up to 1024 CPUs are a matter of memory; only the contended lines need two.

mod shape;

use core::hint::black_box;
use std::sync::Arc;

use corelane_benches::{Block, CountMask, Random, Seat, Stopwatch};
use corelane_sched::{CpuId, Cpupri, Level, Prio};

pub(crate) use shape::{MIXED, SHAPES, Shape};

/// The name of the peer.
pub(crate) const PEER: &str = "count + mask per level";

/// How many CPUs.
pub(crate) const SIZES: [usize; 2] = [64, 1024];

/// Questions and changes before they repeat.
const TURNS: usize = 256;

/// Both structures in the same state, and what is done with them.
pub(crate) struct State {
    pub(crate) cpus: usize,
    pub(crate) ours: Arc<Cpupri>,
    pub(crate) port: Arc<CountMask>,
    /// The CPUs that an asker may run on.
    pub(crate) affinity: Arc<[u64]>,
    /// The priorities of the askers, in turn.
    pub(crate) askers: Vec<u8>,
    /// Changes, in turn.
    pub(crate) changes: Vec<(CpuId, u8)>,
}

impl State {
    /// So many CPUs, as busy as the shape says.
    pub(crate) fn of(shape: &Shape, cpus: usize) -> State {
        let mut random = Random::new(cpus as u64);
        let (ours, port) = (Cpupri::new(cpus), CountMask::new(cpus));
        for cpu in 0..cpus {
            let prio = (shape.prio)(cpu, cpus, &mut random);
            ours.set(CpuId::new(cpu), level(prio));
            port.set(CpuId::new(cpu), prio);
        }
        let words = 0..cpus / 64;
        State {
            cpus,
            ours: Arc::new(ours),
            port: Arc::new(port),
            affinity: words.map(|word| (shape.affinity)(word, cpus)).collect(),
            askers: (0..TURNS).map(|_| (shape.asker)(&mut random)).collect(),
            changes: changes(cpus, &mut random),
        }
    }
}

/// Changes of random CPUs to random priorities, and then of the same CPUs to others: a list that set each
/// CPU to what it is already, turn after turn, would change nothing.
fn changes(cpus: usize, random: &mut Random) -> Vec<(CpuId, u8)> {
    let mut change = |_| {
        let cpu = CpuId::new(random.below(cpus as u64) as usize);
        (cpu, random.below(100) as u8)
    };
    let first: Vec<(CpuId, u8)> = (0..TURNS / 2).map(&mut change).collect();
    let second = first.iter().map(|&(cpu, prio)| (cpu, (prio + 37) % 100));
    first.iter().copied().chain(second).collect()
}

/// The level of a priority; 0 is idle.
pub(crate) fn level(prio: u8) -> Level {
    Prio::new(prio).map_or(Level::IDLE, Level::of)
}

/// Does so many times what `act` does with one of `items`, in turn, on the calling thread.
pub(crate) fn timed<Q: Copy, A>(items: &[Q], times: u64, mut act: impl FnMut(Q) -> A) -> Block {
    let items: &[Q; TURNS] = items.try_into().expect("an item for each turn");
    let watch = Stopwatch::start();
    for turn in 0..times as usize {
        black_box(act(items[turn % TURNS]));
    }
    watch.throughput(times)
}

/// The same on a seat.
pub(crate) fn timed_on<Q: Copy + Send + 'static, A>(
    seat: Seat,
    items: Vec<Q>,
    times: u64,
    act: impl FnMut(Q) -> A + Send + 'static,
) -> Block {
    seat.run(move || timed(&items, times, act))
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
    fn both_find_the_same_cpu_in_every_shape_and_size() {
        for (shape, cpus) in SHAPES
            .iter()
            .flat_map(|shape| SIZES.map(|cpus| (shape, cpus)))
        {
            let state = State::of(shape, cpus);
            let mut lowest = vec![0; cpus / 64];
            for asker in &state.askers {
                let ours = state.ours.find(level(*asker), |word| state.affinity[word]);
                let port = state.port.find_first(*asker, &state.affinity, &mut lowest);
                assert_eq!(ours, port, "{} of {cpus}", shape.name);
            }
        }
    }
}
