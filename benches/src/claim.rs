//! A claim is a ratio that is promised to stay at or below a target.
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

/// How far a self-control may be from 1.
const CONTROL_THROUGHPUT: f64 = 0.03;
const CONTROL_LATENCY: f64 = 0.08;

/// A promised ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// The operation, as its module is named.
    pub row: &'static str,
    /// What it is compared with.
    pub peer: &'static str,
    /// The ratio that is not to be exceeded.
    pub target: f64,
    /// How far a self-control may be from 1.
    pub control_max: f64,
}

/// What a run says about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is at or below the target.
    Pass,
    /// The whole interval is above the target.
    FallsShort,
    /// The run cannot tell, and why.
    Inconclusive(Doubt),
}

/// Why a run cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// More than half of the rounds were disturbed.
    Disturbed,
    /// An arm against itself is not close enough to 1.
    Control,
    /// The interval contains the target.
    Straddles,
}

impl Claim {
    /// A claim about the mean cost of an operation.
    pub fn throughput(row: &'static str, peer: &'static str, target: f64) -> Claim {
        Claim {
            row,
            peer,
            target,
            control_max: CONTROL_THROUGHPUT,
        }
    }

    /// A claim about the middle latency of an operation.
    pub fn latency(row: &'static str, peer: &'static str, target: f64) -> Claim {
        Claim {
            row,
            peer,
            target,
            control_max: CONTROL_LATENCY,
        }
    }

    /// What `outcome` says about it.
    pub fn judge(&self, outcome: &Outcome) -> Verdict {
        let dropped = outcome.rounds_stolen + outcome.rounds_interrupted;
        let rounds = outcome.rounds_kept + dropped;
        let (Some(ratio), Some(ours), Some(peer)) =
            (outcome.ratio, outcome.control_ours, outcome.control_peer)
        else {
            return Verdict::Inconclusive(Doubt::Disturbed);
        };
        if dropped as f64 > rounds as f64 * DROPPED_MAX {
            return Verdict::Inconclusive(Doubt::Disturbed);
        }
        let (ours, peer) = (ours.distance_from_one(), peer.distance_from_one());
        let is_steady = ours.max(peer) <= self.control_max;
        match ratio {
            // However far the arms are from themselves, it does not explain this.
            ratio if ratio.low > self.target * (1.0 + ours) * (1.0 + peer) => Verdict::FallsShort,
            _ if !is_steady => Verdict::Inconclusive(Doubt::Control),
            ratio if ratio.high <= self.target => Verdict::Pass,
            ratio if ratio.low > self.target => Verdict::FallsShort,
            _ => Verdict::Inconclusive(Doubt::Straddles),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "PASS",
            Verdict::FallsShort => "FALLS SHORT",
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

    const CLAIM: Claim = Claim {
        row: "row",
        peer: "peer",
        target: 0.5,
        control_max: 0.03,
    };

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
            ours_ns: Some(1.0),
            peer_ns: Some(2.0),
            rounds_kept: 60,
            rounds_stolen: 10,
            rounds_interrupted: 10,
        }
    }

    #[test]
    fn the_whole_interval_decides() {
        assert_eq!(CLAIM.judge(&outcome(0.49)), Verdict::Pass);
        assert_eq!(CLAIM.judge(&outcome(0.52)), Verdict::FallsShort);
        assert_eq!(
            CLAIM.judge(&outcome(0.505)),
            Verdict::Inconclusive(Doubt::Straddles)
        );
    }

    #[test]
    fn a_run_that_was_mostly_disturbed_does_not_pass() {
        let disturbed = Outcome {
            rounds_kept: 19,
            ..outcome(0.1)
        };
        assert_eq!(
            CLAIM.judge(&disturbed),
            Verdict::Inconclusive(Doubt::Disturbed)
        );
        let nothing = Outcome {
            ratio: None,
            ..outcome(0.1)
        };
        assert_eq!(
            CLAIM.judge(&nothing),
            Verdict::Inconclusive(Doubt::Disturbed)
        );
    }

    #[test]
    fn an_arm_that_differs_from_itself_does_not_pass() {
        let ours = Outcome {
            control_ours: Some(around(1.05)),
            ..outcome(0.1)
        };
        assert_eq!(CLAIM.judge(&ours), Verdict::Inconclusive(Doubt::Control));
        let peer = Outcome {
            control_peer: Some(around(0.95)),
            ..outcome(0.52)
        };
        assert_eq!(CLAIM.judge(&peer), Verdict::Inconclusive(Doubt::Control));
    }

    #[test]
    fn an_unsteady_arm_does_not_excuse_a_ratio_that_is_far_above_the_target() {
        let unsteady = Outcome {
            control_ours: Some(around(1.10)),
            ..outcome(0.9)
        };
        assert_eq!(CLAIM.judge(&unsteady), Verdict::FallsShort);
    }
}
