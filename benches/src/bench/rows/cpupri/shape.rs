//! How busy the CPUs are, who asks for one, and where the asker may run.

use corelane_benches::Random;

/// One state of all CPUs and a question about it.
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// The priority of a CPU of so many; 0 is idle.
    pub(super) prio: fn(cpu: usize, cpus: usize, random: &mut Random) -> u8,
    /// The CPUs `64 * word..` that the asker may run on, as bits.
    pub(super) affinity: fn(word: usize, cpus: usize) -> u64,
    /// The priority of an asker.
    pub(super) asker: fn(random: &mut Random) -> u8,
}

/// A priority in the middle.
const ASKER: u8 = 50;

pub(super) const SHAPES: [Shape; 4] = [ALL_BUSY, LAST_IDLE, AFFINITY, MIXED];

pub(super) const ALL_BUSY: Shape = Shape {
    name: "all busy",
    prio: |cpu, _, _| busy(cpu),
    affinity: |_, _| u64::MAX,
    asker: |_| ASKER,
};

const LAST_IDLE: Shape = Shape {
    name: "last idle",
    prio: |cpu, cpus, _| if cpu + 1 == cpus { 0 } else { busy(cpu) },
    affinity: |_, _| u64::MAX,
    asker: |_| ASKER,
};

const AFFINITY: Shape = Shape {
    name: "affinity",
    // Every level below the asker has CPUs; those that the asker may use are just below it.
    prio: |cpu, cpus, _| {
        if is_allowed(cpu, cpus) {
            ASKER - 1
        } else {
            (cpu % (ASKER as usize - 1)) as u8
        }
    },
    affinity: |word, cpus| {
        let bit = |bit: usize| u64::from(is_allowed(word * 64 + bit, cpus)) << bit;
        (0..64).map(bit).sum()
    },
    asker: |_| ASKER,
};

pub(super) const MIXED: Shape = Shape {
    name: "mixed",
    prio: |_, _, random| random.below(100) as u8,
    affinity: |_, _| u64::MAX,
    asker: |random| 1 + random.below(99) as u8,
};

/// Above the asker.
fn busy(cpu: usize) -> u8 {
    ASKER + 1 + (cpu % (99 - ASKER as usize)) as u8
}

/// The last four CPUs.
fn is_allowed(cpu: usize, cpus: usize) -> bool {
    cpu >= cpus - 4
}
