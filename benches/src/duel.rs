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

use corelane_os::cpuset::KernelCpu;

use crate::{Block, Disturbance, Interval, Random};

/// How much an arm does in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// As many operations as fill so many nanoseconds, found out for each arm.
    FillNs(u64),
    /// Exactly so many operations.
    Operations(u64),
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds to run, disturbed ones included.
    pub rounds: usize,
    /// What a block is filled with.
    pub load: Load,
    /// The sleep before each block.
    pub pause: Duration,
    /// The seed of the orders.
    pub seed: u64,
}

impl Plan {
    /// So many rounds of blocks that starve nobody and still hold thousands of short operations.
    pub fn of_rounds(rounds: usize) -> Plan {
        Plan {
            rounds,
            load: Load::FillNs(3_000_000),
            pause: Duration::from_millis(3),
            seed: 1,
        }
    }

    /// The rounds of a row with long blocks, a `divisor`th of all; but no fewer than can be judged after
    /// a few were dropped, unless the plan itself has fewer.
    pub fn share(&self, divisor: usize) -> usize {
        const ROUNDS_MIN: usize = 12;
        let least = match self.rounds {
            few if few < ROUNDS_MIN => 1,
            _ => ROUNDS_MIN,
        };
        self.rounds.div_ceil(divisor).max(least)
    }

    /// A few short rounds, which show that the arms work and nothing else.
    pub fn quick() -> Plan {
        Plan {
            load: Load::FillNs(300_000),
            pause: Duration::from_millis(1),
            ..Plan::of_rounds(4)
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
    /// The median of our blocks, in the unit of the claim; for orientation only.
    pub ours: Option<f64>,
    /// The median of the peer's blocks, in the unit of the claim; for orientation only.
    pub peer: Option<f64>,
    /// The ratios of the rounds that count, in the order they ran.
    pub ratios: Vec<f64>,
    /// Rounds that count.
    pub rounds_kept: usize,
    /// Rounds dropped because a CPU was stolen from.
    pub rounds_stolen: usize,
    /// Rounds dropped because a measured thread lost its CPU, and not dropped for theft.
    pub rounds_interrupted: usize,
}

/// An arm: runs so many operations and reports.
pub type Arm<'a, const N: usize = 1> = dyn FnMut(u64) -> Block<N> + 'a;

/// Two arms.
pub struct Duel<'a, const N: usize = 1> {
    /// Ours.
    pub ours: &'a mut Arm<'a, N>,
    /// The peer's.
    pub peer: &'a mut Arm<'a, N>,
    /// The CPUs that they run on; none where stolen time does not matter.
    pub cpus: &'a [KernelCpu],
}

/// The blocks of one arm in one round, in the order they ran.
type Pair<const N: usize> = [Block<N>; 2];

#[derive(Clone, Copy, Debug)]
struct Round<const N: usize> {
    ours: Pair<N>,
    peer: Pair<N>,
}

enum Seen<const N: usize> {
    Calm(Round<N>),
    Stolen,
    Interrupted,
}

impl<const N: usize> Duel<'_, N> {
    /// Runs the rounds of `plan` and concludes on each of the arms' costs.
    pub fn run(&mut self, plan: &Plan) -> [Outcome; N] {
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
        core::array::from_fn(|cost| Outcome {
            rounds_stolen: stolen,
            rounds_interrupted: interrupted,
            ..conclude(&calm, cost)
        })
    }

    fn round(&mut self, plan: &Plan, operations: [u64; 2], ours_outside: bool) -> Seen<N> {
        let watch = Disturbance::watch(self.cpus);
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
        let mut blocks = ours.iter().chain(&peer);
        if blocks.any(|block| block.interruptions > 0) {
            return Seen::Interrupted;
        }
        Seen::Calm(Round {
            ours: [ours[0], ours[1]],
            peer: [peer[0], peer[1]],
        })
    }
}

/// How many operations fill a block. Doubles until they nearly do, which warms the arm up as well.
///
/// A block that the host held up is long with few operations, and all blocks of the run would be as
/// short as that one should have been. So a length counts that two blocks reach.
fn calibrate<const N: usize>(arm: &mut Arm<'_, N>, plan: &Plan) -> u64 {
    const OPERATIONS_MAX: u64 = 1 << 24;
    let block_ns = match plan.load {
        Load::FillNs(block_ns) => block_ns,
        Load::Operations(operations) => return operations,
    };
    let mut length_ns = |operations| {
        std::thread::sleep(plan.pause);
        arm(operations).length_ns.max(1)
    };
    let mut operations = 16;
    loop {
        let length_ns = match length_ns(operations) {
            long if long >= block_ns / 4 => long.min(length_ns(operations)),
            short => short,
        };
        if length_ns >= block_ns / 4 || operations >= OPERATIONS_MAX {
            let scaled = operations as f64 * block_ns as f64 / length_ns as f64;
            return (scaled as u64).clamp(16, OPERATIONS_MAX);
        }
        operations *= 2;
    }
}

/// What the calm rounds say about one of the costs.
fn conclude<const N: usize>(calm: &[Round<N>], cost: usize) -> Outcome {
    let ratio = |round: &Round<N>| sum(&round.ours, cost) / sum(&round.peer, cost);
    let ratios: Vec<f64> = calm.iter().map(ratio).collect();
    Outcome {
        ratio: Interval::of(&ratios),
        control_ours: control(calm, |round| round.ours.map(|block| block.costs[cost])),
        control_peer: control(calm, |round| round.peer.map(|block| block.costs[cost])),
        ours: typical(calm, |round| round.ours.map(|block| block.costs[cost])),
        peer: typical(calm, |round| round.peer.map(|block| block.costs[cost])),
        ratios,
        rounds_kept: calm.len(),
        rounds_stolen: 0,
        rounds_interrupted: 0,
    }
}

fn sum<const N: usize>(pair: &Pair<N>, cost: usize) -> f64 {
    pair.iter().map(|block| block.costs[cost]).sum()
}

fn control<const N: usize>(
    calm: &[Round<N>],
    arm: impl Fn(&Round<N>) -> [f64; 2],
) -> Option<Interval> {
    let twice = |two: &[Round<N>]| {
        let ([first, second], [third, fourth]) = (arm(&two[0]), arm(&two[1]));
        (first + fourth) / (second + third)
    };
    let ratios: Vec<f64> = calm.chunks_exact(2).map(twice).collect();
    Interval::of(&ratios)
}

fn typical<const N: usize>(calm: &[Round<N>], arm: impl Fn(&Round<N>) -> [f64; 2]) -> Option<f64> {
    let blocks: Vec<f64> = calm.iter().flat_map(arm).collect();
    Interval::of(&blocks).map(|interval| interval.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        rounds: 12,
        load: Load::FillNs(1_000),
        pause: Duration::ZERO,
        seed: 3,
    };

    fn arm(cost_ns: u64, interruptions: u64) -> impl FnMut(u64) -> Block {
        move |operations| Block::of_throughput(operations, operations * cost_ns, interruptions)
    }

    fn fought<'a>(ours: &'a mut Arm<'a>, peer: &'a mut Arm<'a>, plan: &Plan) -> Outcome {
        let cpus = &[];
        let [outcome] = Duel { ours, peer, cpus }.run(plan);
        outcome
    }

    #[test]
    fn the_ratio_is_ours_over_the_peers() {
        let outcome = fought(&mut arm(10, 0), &mut arm(40, 0), &PLAN);
        let kept = outcome.rounds_kept + outcome.rounds_stolen;
        assert_eq!((kept, outcome.rounds_interrupted), (12, 0));
        let ratio = outcome.ratio.expect("calm rounds");
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.25, 0.25, 0.25));
        assert_eq!((outcome.ours, outcome.peer), (Some(10.0), Some(40.0)));
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
            load: Load::FillNs(10_000_000),
            ..PLAN
        };
        let (ours, peer) = (&mut drifting(500), &mut drifting(1_000));
        let outcome = fought(ours, peer, &plan);
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
    fn a_block_that_was_held_up_does_not_set_the_length_of_the_others() {
        let mut asked = Vec::new();
        let mut held_up_once = |operations| {
            asked.push(operations);
            let held_up_ns = if asked.len() == 1 { 1_000_000 } else { 0 };
            Block::of_throughput(operations, operations * 10 + held_up_ns, 0)
        };
        fought(&mut held_up_once, &mut arm(10, 0), &PLAN);
        assert_eq!(asked.last(), Some(&100), "{asked:?}");
    }

    #[test]
    fn interrupted_rounds_do_not_count() {
        let outcome = fought(&mut arm(10, 0), &mut arm(40, 1), &PLAN);
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
        let outcome = fought(&mut unsteady, &mut arm(40, 0), &PLAN);
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

    #[test]
    fn a_share_of_the_rounds_can_be_judged_if_the_rounds_can() {
        let shares = [4, 12, 30, 80].map(|rounds| Plan::of_rounds(rounds).share(4));
        assert_eq!(shares, [1, 12, 12, 20]);
    }

    #[test]
    fn each_cost_has_an_outcome_of_its_own() {
        let arm = |costs: [f64; 2]| {
            move |operations| Block {
                costs,
                length_ns: operations,
                interruptions: 0,
            }
        };
        let plan = Plan {
            load: Load::Operations(5),
            ..PLAN
        };
        let [first, second] = Duel {
            ours: &mut arm([1.0, 3.0]),
            peer: &mut arm([2.0, 4.0]),
            cpus: &[],
        }
        .run(&plan);
        let median = |outcome: &Outcome| outcome.ratio.map(|ratio| ratio.median);
        assert_eq!((median(&first), median(&second)), (Some(0.5), Some(0.75)));
        assert_eq!(first.ratios, [0.5; 12]);
    }

    #[test]
    fn a_block_of_exactly_so_many_operations_is_not_calibrated() {
        let plan = Plan {
            load: Load::Operations(7),
            rounds: 1,
            ..PLAN
        };
        let mut asked = Vec::new();
        let mut ours = |operations| {
            asked.push(operations);
            Block::of_throughput(operations, operations, 0)
        };
        fought(&mut ours, &mut arm(1, 0), &plan);
        assert_eq!(asked, [7, 7]);
    }
}
