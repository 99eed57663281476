//! How busy the CPUs are, who asks for one, and where the asker may run: the shapes in which the two
//! schemes differ most.
//!
//! | shape | what it shows |
//! |---|---|
//! | all busy | nothing is lower: the port reads a count for each level below the asker's |
//! | last idle | the only idle CPU is the last: the port finds it at its first count, we scan |
//! | affinity | many CPUs are lower, and the asker may run on four of them only: the port meets mask after mask |
//! | mixed | every CPU at a random level, the asker at a random priority |

use corelane_benches::Random;

/// One state of all CPUs and a question about it.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// The priority of a CPU of so many; 0 is idle.
    pub(crate) prio: fn(cpu: usize, cpus: usize, random: &mut Random) -> u8,
    /// The CPUs `64 * word..` that the asker may run on, as bits.
    pub(crate) affinity: fn(word: usize, cpus: usize) -> u64,
    /// The priority of an asker.
    pub(crate) asker: fn(random: &mut Random) -> u8,
}

/// A priority in the middle.
const ASKER: u8 = 50;

pub(crate) const SHAPES: [Shape; 4] = [ALL_BUSY, LAST_IDLE, AFFINITY, MIXED];

const ALL_BUSY: Shape = Shape {
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

pub(crate) const MIXED: Shape = Shape {
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
