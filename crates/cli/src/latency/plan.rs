//! How the duration is split into blocks.
//!
//! A host changes while it is measured: a neighbour arrives, a clock rises. Ten seconds of one arm
//! and then ten of the other would compare the neighbours. Each scenario therefore runs in rounds,
//! each round in four short blocks in mirrored order (executor, kernel, kernel, executor, and the
//! other way round in the next), so that a drift weighs the same in both arms.
//!
//! A block ends with a pause in which everything of its arm is asleep. It keeps a spinning arm from
//! disturbing its successor, and gives the CPU back to ordinary threads.

use std::time::Duration;

use super::arm::ArmName;

/// Long enough for some dozens of wakes, short enough that a real-time spinner starves nobody.
const SLOT: Duration = Duration::from_millis(50);
const SLOT_MAX: Duration = Duration::from_millis(500);
const INTERVALS_PER_SLOT: u32 = 20;

const BLOCKS_PER_ROUND: u32 = 4;

/// At least one wake to warm up, and a few to measure.
const INTERVALS_MIN: u32 = 4;

/// The pause at the end of a block beyond the time that an idle worker spins.
const PAUSE: Duration = Duration::from_millis(2);

/// The split of the duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rounds of each scenario.
    pub(super) rounds: u32,
    /// The measured part of a block.
    pub(super) block: Duration,
    /// The pause after it.
    pub(super) pause: Duration,
    /// The time between two wakes.
    pub(super) interval: Duration,
}

impl Plan {
    /// Splits `duration` over so many scenarios.
    pub(super) fn new(duration: Duration, interval: Duration, scenarios: usize) -> Plan {
        let share = duration / (scenarios.max(1) as u32 * BLOCKS_PER_ROUND);
        let wanted = (interval * INTERVALS_PER_SLOT).clamp(SLOT, SLOT_MAX);
        let rounds = (share.as_nanos() / wanted.as_nanos()).max(1) as u32;
        let pause = spin_of(interval) + PAUSE;
        let block = (share / rounds)
            .saturating_sub(pause)
            .max(interval * INTERVALS_MIN);
        Plan {
            rounds,
            block,
            pause,
            interval,
        }
    }

    /// How long the idle worker of a spinning arm spins: from each wake to the next, and not on into
    /// the other arm's block.
    pub(super) fn spin(&self) -> Duration {
        spin_of(self.interval)
    }

    /// The arms of a round, in order.
    pub(super) fn order(round: u32) -> [ArmName; BLOCKS_PER_ROUND as usize] {
        use ArmName::{Executor, Kernel};
        match round % 2 {
            0 => [Executor, Kernel, Kernel, Executor],
            _ => [Kernel, Executor, Executor, Kernel],
        }
    }
}

fn spin_of(interval: Duration) -> Duration {
    interval * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_blocks_add_up_to_the_duration() {
        for (duration, scenarios) in [(10_000, 5), (60_000, 5), (1_000, 5), (4_000, 2)] {
            let plan = Plan::new(duration * MS, MS, scenarios);
            let blocks = plan.rounds * BLOCKS_PER_ROUND * scenarios as u32;
            let total = (plan.block + plan.pause) * blocks;
            assert!(
                total.abs_diff(duration * MS) < MS,
                "{total:?} of {duration} ms"
            );
        }
    }

    #[test]
    fn no_block_is_long_and_each_has_room_for_wakes() {
        for (duration, interval) in [(100, MS), (3_600_000, MS), (5_000, 50 * MS)] {
            let plan = Plan::new(duration * MS, interval, 5);
            assert!(plan.block <= SLOT_MAX && plan.block >= interval * INTERVALS_MIN);
            assert!(plan.spin() < plan.pause);
        }
    }

    #[test]
    fn each_arm_has_half_of_a_round() {
        for round in 0..2 {
            let order = Plan::order(round);
            let executor = order
                .iter()
                .filter(|&&arm| arm == ArmName::Executor)
                .count();
            assert_eq!(executor, order.len() / 2);
        }
    }
}
