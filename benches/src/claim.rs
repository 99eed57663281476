//! A claim is a ratio, mostly one that is promised to stay at or below a target.
//!
//! The naive check compares a mean with a number and is right half of the time when the two are
//! close. Here the *whole* interval has to lie on one side, the self-controls have to show that the
//! run could tell the difference, and otherwise the answer is that there is no answer. The doubt works
//! one way: an arm that differs from itself never passes, while a ratio that is above the target by
//! more than the arms differ from themselves falls short all the same.

use core::fmt;

use crate::Outcome;

/// The share of rounds that may be dropped.
const DROPPED_MAX: f64 = 0.5;

/// Below so many rounds a 95 % interval of a median says nothing.
const ROUNDS_KEPT_MIN: usize = 10;

/// How far a self-control may be from 1: a mean over thousands of operations; the same where two CPUs
/// take a line from each other, in turns of no fixed length; the middle of some dozens of latencies; the
/// tail of some hundreds; and what is counted or accounted rather than timed.
const CONTROL_THROUGHPUT: f64 = 0.03;
const CONTROL_CONTENDED: f64 = 0.15;
const CONTROL_LATENCY: f64 = 0.08;
const CONTROL_TAIL: f64 = 0.25;
const CONTROL_COUNT: f64 = 0.10;

/// What a cost is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Bytes.
    Bytes,
    /// Kernel threads.
    Threads,
    /// One CPU, as a share.
    Cpu,
}

/// A ratio and what is promised about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Which case of the row, if it has several.
    pub case: String,
    /// What it is compared with.
    pub peer: String,
    /// The ratio that is not to be exceeded; `None` where it is only reported.
    pub target: Option<f64>,
    /// How far a self-control may be from 1.
    pub control_max: f64,
    /// What the costs are counted in.
    pub unit: Unit,
}

/// What a run says about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is at or below the target.
    Pass,
    /// The whole interval is above the target.
    FallsShort,
    /// There is no target, and the run was calm enough for the ratio to mean something.
    Reported,
    /// The run cannot tell, and why.
    Inconclusive(Doubt),
}

/// Why a run cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Too few rounds are left.
    TooFewRounds,
    /// More than half of the rounds were disturbed.
    Disturbed,
    /// An arm against itself is not close enough to 1.
    Control,
    /// The interval contains the target.
    Straddles,
}

impl Claim {
    fn new(peer: impl Into<String>, control_max: f64, unit: Unit) -> Claim {
        Claim {
            case: String::new(),
            peer: peer.into(),
            target: None,
            control_max,
            unit,
        }
    }

    /// A claim about the mean cost of an operation.
    pub fn throughput(peer: impl Into<String>) -> Claim {
        Claim::new(peer, CONTROL_THROUGHPUT, Unit::Ns)
    }

    /// A claim about the mean cost of an operation between CPUs that contend.
    pub fn contended(peer: impl Into<String>) -> Claim {
        Claim::new(peer, CONTROL_CONTENDED, Unit::Ns)
    }

    /// A claim about the middle latency of an operation.
    pub fn latency(peer: impl Into<String>) -> Claim {
        Claim::new(peer, CONTROL_LATENCY, Unit::Ns)
    }

    /// A claim about the tail of a latency.
    pub fn tail(peer: impl Into<String>) -> Claim {
        Claim::new(peer, CONTROL_TAIL, Unit::Ns)
    }

    /// A claim about something that is counted.
    pub fn count(peer: impl Into<String>, unit: Unit) -> Claim {
        Claim::new(peer, CONTROL_COUNT, unit)
    }

    /// The same claim about one case of several.
    pub fn case(mut self, case: impl Into<String>) -> Claim {
        self.case = case.into();
        self
    }

    /// The same claim with a target.
    pub fn at_most(mut self, target: f64) -> Claim {
        self.target = Some(target);
        self
    }

    /// What `outcome` says about it.
    pub fn judge(&self, outcome: &Outcome) -> Verdict {
        let (Some(ratio), Some(ours), Some(peer)) =
            (outcome.ratio, outcome.control_ours, outcome.control_peer)
        else {
            return Verdict::Inconclusive(Doubt::TooFewRounds);
        };
        if let Some(doubt) = doubt_of_rounds(outcome) {
            return Verdict::Inconclusive(doubt);
        }
        let (ours, peer) = (ours.distance_from_one(), peer.distance_from_one());
        let is_steady = ours.max(peer) <= self.control_max;
        let Some(target) = self.target else {
            return match is_steady {
                true => Verdict::Reported,
                false => Verdict::Inconclusive(Doubt::Control),
            };
        };
        match ratio {
            // However far the arms are from themselves, it does not explain this.
            ratio if ratio.low > target * (1.0 + ours) * (1.0 + peer) => Verdict::FallsShort,
            _ if !is_steady => Verdict::Inconclusive(Doubt::Control),
            ratio if ratio.high <= target => Verdict::Pass,
            ratio if ratio.low > target => Verdict::FallsShort,
            _ => Verdict::Inconclusive(Doubt::Straddles),
        }
    }
}

fn doubt_of_rounds(outcome: &Outcome) -> Option<Doubt> {
    let dropped = outcome.rounds_stolen + outcome.rounds_interrupted;
    let rounds = outcome.rounds_kept + dropped;
    match () {
        () if dropped as f64 > rounds as f64 * DROPPED_MAX => Some(Doubt::Disturbed),
        () if outcome.rounds_kept < ROUNDS_KEPT_MIN => Some(Doubt::TooFewRounds),
        () => None,
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "PASS",
            Verdict::FallsShort => "FALLS SHORT",
            Verdict::Reported => "REPORTED",
            Verdict::Inconclusive(Doubt::TooFewRounds) => "INCONCLUSIVE (too few rounds)",
            Verdict::Inconclusive(Doubt::Disturbed) => "INCONCLUSIVE (disturbed)",
            Verdict::Inconclusive(Doubt::Control) => "INCONCLUSIVE (control)",
            Verdict::Inconclusive(Doubt::Straddles) => "INCONCLUSIVE (straddles)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interval;

    fn judged(outcome: &Outcome) -> Verdict {
        Claim::throughput("peer").at_most(0.5).judge(outcome)
    }

    fn around(median: f64) -> Interval {
        Interval {
            low: median - 0.01,
            median,
            high: median + 0.01,
        }
    }

    fn outcome(ratio: f64) -> Outcome {
        Outcome {
            ratio: Some(around(ratio)),
            control_ours: Some(around(1.0)),
            control_peer: Some(around(1.0)),
            ours: Some(1.0),
            peer: Some(2.0),
            ratios: Vec::new(),
            rounds_kept: 60,
            rounds_stolen: 10,
            rounds_interrupted: 10,
        }
    }

    #[test]
    fn the_whole_interval_decides() {
        assert_eq!(judged(&outcome(0.49)), Verdict::Pass);
        assert_eq!(judged(&outcome(0.52)), Verdict::FallsShort);
        assert_eq!(
            judged(&outcome(0.505)),
            Verdict::Inconclusive(Doubt::Straddles)
        );
    }

    #[test]
    fn a_run_that_was_mostly_disturbed_does_not_pass() {
        let disturbed = Outcome {
            rounds_kept: 19,
            ..outcome(0.1)
        };
        assert_eq!(judged(&disturbed), Verdict::Inconclusive(Doubt::Disturbed));
    }

    #[test]
    fn a_run_of_few_rounds_does_not_judge() {
        let nothing = Outcome {
            ratio: None,
            ..outcome(0.1)
        };
        let few = Outcome {
            rounds_kept: 9,
            rounds_stolen: 0,
            rounds_interrupted: 0,
            ..outcome(0.9)
        };
        for outcome in [nothing, few] {
            assert_eq!(judged(&outcome), Verdict::Inconclusive(Doubt::TooFewRounds));
        }
    }

    #[test]
    fn an_arm_that_differs_from_itself_does_not_pass() {
        let ours = Outcome {
            control_ours: Some(around(1.05)),
            ..outcome(0.1)
        };
        assert_eq!(judged(&ours), Verdict::Inconclusive(Doubt::Control));
        let peer = Outcome {
            control_peer: Some(around(0.95)),
            ..outcome(0.52)
        };
        assert_eq!(judged(&peer), Verdict::Inconclusive(Doubt::Control));
    }

    #[test]
    fn an_arm_without_a_cost_does_not_pass() {
        // Nothing over nothing, in every round.
        let nothing = Outcome {
            ratio: Interval::of(&[0.0; 20]),
            control_ours: Interval::of(&[f64::NAN; 10]),
            ..outcome(0.1)
        };
        assert_eq!(judged(&nothing), Verdict::Inconclusive(Doubt::Control));
    }

    #[test]
    fn an_unsteady_arm_does_not_excuse_a_ratio_that_is_far_above_the_target() {
        let unsteady = Outcome {
            control_ours: Some(around(1.10)),
            ..outcome(0.9)
        };
        assert_eq!(judged(&unsteady), Verdict::FallsShort);
    }

    #[test]
    fn a_ratio_without_a_target_is_reported_if_the_run_was_calm() {
        let claim = Claim::throughput("peer");
        assert_eq!(claim.judge(&outcome(7.0)), Verdict::Reported);
        let unsteady = Outcome {
            control_peer: Some(around(1.05)),
            ..outcome(7.0)
        };
        assert_eq!(
            claim.judge(&unsteady),
            Verdict::Inconclusive(Doubt::Control)
        );
    }
}
