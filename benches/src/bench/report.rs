//! The result as JSON, for those who keep runs and compare them.
//!
//! It has what the table has, and the ratio of every round that counts, so that another statistic can
//! be had without another run.

use corelane_benches::{Fact, Interval, Line, Load, Outcome, Plan, Table, Unit};
use serde_json::{Value, json};

use crate::baselines::Baseline;

/// The whole result.
pub(crate) fn json(plan: &Plan, facts: &[Fact], baselines: &[Baseline], table: &Table) -> Value {
    let fact = |fact: &Fact| json!({ "name": fact.name, "finding": fact.finding });
    json!({
        "plan": plan_json(plan),
        "host": facts.iter().map(fact).collect::<Vec<Value>>(),
        "baselines": baselines.iter().map(baseline).collect::<Vec<Value>>(),
        "lines": table.lines.iter().map(line).collect::<Vec<Value>>(),
    })
}

fn plan_json(plan: &Plan) -> Value {
    let block_ns = match plan.load {
        Load::FillNs(block_ns) => Some(block_ns),
        Load::Operations(_) => None,
    };
    json!({
        "rounds": plan.rounds,
        "block_ns": block_ns,
        "pause_ns": plan.pause.as_nanos() as u64,
        "seed": plan.seed,
    })
}

fn baseline(baseline: &Baseline) -> Value {
    match baseline.cost_ns {
        Ok(cost_ns) => json!({ "name": baseline.name, "cost_ns": cost_ns }),
        Err(need) => json!({ "name": baseline.name, "not_run": need.to_string() }),
    }
}

fn line(line: &Line) -> Value {
    let mut value = json!({
        "row": line.row,
        "case": line.claim.case,
        "peer": line.claim.peer,
        "target": line.claim.target,
        "control_max": line.claim.control_max,
        "verdict": line.conclusion(),
    });
    let fields = value.as_object_mut().expect("a line is an object");
    if let Ok(outcome) = &line.found
        && let Value::Object(found) = outcome_json(outcome, line.claim.unit)
    {
        fields.extend(found);
    }
    value
}

fn outcome_json(outcome: &Outcome, unit: Unit) -> Value {
    json!({
        "ratio": outcome.ratio.map(interval),
        "control_ours": outcome.control_ours.map(interval),
        "control_peer": outcome.control_peer.map(interval),
        "rounds_kept": outcome.rounds_kept,
        "rounds_stolen": outcome.rounds_stolen,
        "rounds_interrupted": outcome.rounds_interrupted,
        "ratios": outcome.ratios,
        "orientation": {
            "unit": unit_name(unit),
            "ours": outcome.ours,
            "peer": outcome.peer,
        },
    })
}

fn interval(interval: Interval) -> Value {
    json!({ "low": interval.low, "median": interval.median, "high": interval.high })
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Ns => "ns",
        Unit::Bytes => "bytes",
        Unit::Threads => "threads",
        Unit::Cpu => "CPUs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_benches::{Claim, Need};

    #[test]
    fn a_line_that_did_not_run_has_a_verdict_and_no_ratio() {
        let value = line(&Line {
            row: "wake",
            claim: Claim::latency("futex").at_most(0.15),
            found: Err(Need::Fifo),
        });
        assert_eq!(
            (&value["row"], &value["target"]),
            (&json!("wake"), &json!(0.15))
        );
        assert!(value["verdict"].as_str().unwrap().starts_with("NOT RUN"));
        assert_eq!(value.get("ratio"), None);
    }
}
