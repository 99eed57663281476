//! Two arms in rounds.
//!
//! A round is four short blocks, `ABBA` or `BAAB` by a seeded coin: whatever drifts during the round
//! drifts through both arms. Its ratio is the sum of A's blocks over the sum of B's.
//!
//! The self-control is the same estimator with one arm on both sides. Two rounds hold four blocks of
//! each arm; the outer two over the inner two is a duel of the arm against itself. It costs no time,
//! and it is made of the very blocks whose noise is in question.
//!
//! The arms pause between blocks: real-time threads that never sleep starve whatever shares the CPU,
//! and whoever polled in the last block has gone to sleep before the next one.

use std::time::Duration;

use crate::{Block, Disturbance, Interval, Random};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds to run, disturbed ones included.
    pub rounds: usize,
    /// How long a block should last.
    pub block_ns: u64,
    /// The sleep before each block.
    pub pause: Duration,
    /// The seed of the orders.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            rounds: 80,
            block_ns: 3_000_000,
            pause: Duration::from_millis(3),
            seed: 1,
        }
    }
}

/// What a duel found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Ours over the peer's, and its interval; `None` if no round was left.
    pub ratio: Option<Interval>,
    /// Ours against itself.
    pub control_ours: Option<Interval>,
    /// The peer against itself.
    pub control_peer: Option<Interval>,
    /// The median of our blocks in nanoseconds per operation; for orientation only.
    pub ours_ns: Option<f64>,
    /// The median of the peer's blocks in nanoseconds per operation; for orientation only.
    pub peer_ns: Option<f64>,
    /// Rounds that count.
    pub rounds_kept: usize,
    /// Rounds dropped because a CPU was stolen from.
    pub rounds_stolen: usize,
    /// Rounds dropped because a measured thread lost its CPU, and not dropped for theft.
    pub rounds_interrupted: usize,
}

/// An arm: runs so many operations and reports.
pub type Arm<'a> = dyn FnMut(u64) -> Block + 'a;

/// Two arms.
pub struct Duel<'a> {
    /// Ours.
    pub ours: &'a mut Arm<'a>,
    /// The peer's.
    pub peer: &'a mut Arm<'a>,
}

/// The blocks of one arm in one round, in the order they ran.
type Pair = [f64; 2];

#[derive(Clone, Copy, Debug)]
struct Round {
    ours: Pair,
    peer: Pair,
}

enum Seen {
    Calm(Round),
    Stolen,
    Interrupted,
}

impl Duel<'_> {
    /// Runs the rounds of `plan`.
    pub fn run(&mut self, plan: &Plan) -> Outcome {
        let operations = [calibrate(self.ours, plan), calibrate(self.peer, plan)];
        let mut random = Random::new(plan.seed);
        let (mut calm, mut stolen, mut interrupted) = (Vec::new(), 0, 0);
        for _ in 0..plan.rounds {
            match self.round(plan, operations, random.coin()) {
                Seen::Calm(round) => calm.push(round),
                Seen::Stolen => stolen += 1,
                Seen::Interrupted => interrupted += 1,
            }
        }
        conclude(&calm, stolen, interrupted)
    }

    fn round(&mut self, plan: &Plan, operations: [u64; 2], ours_outside: bool) -> Seen {
        let watch = Disturbance::watch();
        let (mut ours, mut peer) = (Vec::with_capacity(2), Vec::with_capacity(2));
        for outside in [true, false, false, true] {
            std::thread::sleep(plan.pause);
            match outside == ours_outside {
                true => ours.push((self.ours)(operations[0])),
                false => peer.push((self.peer)(operations[1])),
            }
        }
        if watch.has_stolen() {
            return Seen::Stolen;
        }
        if ours
            .iter()
            .chain(&peer)
            .any(|block: &Block| block.interruptions > 0)
        {
            return Seen::Interrupted;
        }
        let costs = |blocks: &[Block]| [blocks[0].operation_ns, blocks[1].operation_ns];
        Seen::Calm(Round {
            ours: costs(&ours),
            peer: costs(&peer),
        })
    }
}

/// How many operations fill a block. Doubles until they nearly do, which warms the arm up as well.
fn calibrate(arm: &mut Arm<'_>, plan: &Plan) -> u64 {
    const OPERATIONS_MAX: u64 = 1 << 24;
    let mut operations = 16;
    loop {
        std::thread::sleep(plan.pause);
        let length_ns = arm(operations).length_ns.max(1);
        if length_ns >= plan.block_ns / 4 || operations >= OPERATIONS_MAX {
            let scaled = operations as f64 * plan.block_ns as f64 / length_ns as f64;
            return (scaled as u64).clamp(16, OPERATIONS_MAX);
        }
        operations *= 2;
    }
}

fn conclude(calm: &[Round], rounds_stolen: usize, rounds_interrupted: usize) -> Outcome {
    let ratio = |round: &Round| sum(round.ours) / sum(round.peer);
    let ratios: Vec<f64> = calm.iter().map(ratio).collect();
    Outcome {
        ratio: Interval::of(&ratios),
        control_ours: control(calm, |round| round.ours),
        control_peer: control(calm, |round| round.peer),
        ours_ns: typical(calm, |round| round.ours),
        peer_ns: typical(calm, |round| round.peer),
        rounds_kept: calm.len(),
        rounds_stolen,
        rounds_interrupted,
    }
}

fn sum(pair: Pair) -> f64 {
    pair[0] + pair[1]
}

fn control(calm: &[Round], arm: impl Fn(&Round) -> Pair) -> Option<Interval> {
    let twice = |two: &[Round]| {
        let ([first, second], [third, fourth]) = (arm(&two[0]), arm(&two[1]));
        (first + fourth) / (second + third)
    };
    let ratios: Vec<f64> = calm.chunks_exact(2).map(twice).collect();
    Interval::of(&ratios)
}

fn typical(calm: &[Round], arm: impl Fn(&Round) -> Pair) -> Option<f64> {
    let blocks: Vec<f64> = calm.iter().flat_map(arm).collect();
    Interval::of(&blocks).map(|interval| interval.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        rounds: 12,
        block_ns: 1_000,
        pause: Duration::ZERO,
        seed: 3,
    };

    fn arm(cost_ns: u64, interruptions: u64) -> impl FnMut(u64) -> Block {
        move |operations| Block::of_throughput(operations, operations * cost_ns, interruptions)
    }

    #[test]
    fn the_ratio_is_ours_over_the_peers() {
        let outcome = Duel {
            ours: &mut arm(10, 0),
            peer: &mut arm(40, 0),
        }
        .run(&PLAN);
        let kept = outcome.rounds_kept + outcome.rounds_stolen;
        assert_eq!((kept, outcome.rounds_interrupted), (12, 0));
        let ratio = outcome.ratio.expect("calm rounds");
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.25, 0.25, 0.25));
        assert_eq!((outcome.ours_ns, outcome.peer_ns), (Some(10.0), Some(40.0)));
    }

    #[test]
    fn a_drift_through_both_arms_cancels() {
        let clock = std::cell::Cell::new(1_000_000u64);
        let drifting = |cost_ns: u64| {
            let clock = &clock;
            move |operations: u64| {
                clock.set(clock.get() + 1_000);
                let length_ns = operations * cost_ns * clock.get() / 1_000_000;
                Block::of_throughput(operations, length_ns, 0)
            }
        };
        let plan = Plan {
            block_ns: 10_000_000,
            ..PLAN
        };
        let (ours, peer) = (&mut drifting(500), &mut drifting(1_000));
        let outcome = Duel { ours, peer }.run(&plan);
        let ratio = outcome.ratio.expect("calm rounds");
        assert!((ratio.median - 0.5).abs() < 1e-4, "{ratio:?}");
        assert!(
            outcome
                .control_ours
                .expect("two rounds")
                .is_one_within(0.001)
        );
    }

    #[test]
    fn interrupted_rounds_do_not_count() {
        let outcome = Duel {
            ours: &mut arm(10, 0),
            peer: &mut arm(40, 1),
        }
        .run(&PLAN);
        assert_eq!((outcome.rounds_kept, outcome.ratio), (0, None));
        assert_eq!(outcome.rounds_interrupted + outcome.rounds_stolen, 12);
    }

    #[test]
    fn an_unsteady_arm_fails_its_control() {
        let mut count = 0;
        let mut unsteady = |operations| {
            count += 1;
            Block::of_throughput(operations, operations * (10 + count * count % 37), 0)
        };
        let outcome = Duel {
            ours: &mut unsteady,
            peer: &mut arm(40, 0),
        }
        .run(&PLAN);
        assert!(
            !outcome
                .control_ours
                .expect("two rounds")
                .is_one_within(0.03)
        );
        assert!(
            outcome
                .control_peer
                .expect("two rounds")
                .is_one_within(0.03)
        );
    }
}
