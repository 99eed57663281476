//! The report: one line per comparison.

use core::fmt;

use crate::{Claim, Interval, Need, Outcome, Unit, Verdict};

/// One comparison.
#[derive(Clone, Debug)]
pub struct Line {
    /// The row that it belongs to.
    pub row: &'static str,
    /// What was promised.
    pub claim: Claim,
    /// What was found, or what the host lacks for it.
    pub found: Result<Outcome, Need>,
}

impl Line {
    /// The verdict; `None` where the comparison could not run.
    pub fn verdict(&self) -> Option<Verdict> {
        let outcome = self.found.as_ref().ok()?;
        Some(self.claim.judge(outcome))
    }

    /// The row and its case.
    pub fn title(&self) -> String {
        match self.claim.case.as_str() {
            "" => self.row.to_owned(),
            case => format!("{}, {case}", self.row),
        }
    }

    /// The verdict, or why there is none.
    pub fn conclusion(&self) -> String {
        match (&self.found, self.verdict()) {
            (Err(need), _) => format!("NOT RUN: {need}"),
            (Ok(_), verdict) => verdict.map_or_else(String::new, |verdict| verdict.to_string()),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.found.as_ref().ok().and_then(|outcome| outcome.ratio);
        write!(f, "{} / {}: ", self.title(), self.claim.peer)?;
        if let Some(ratio) = ratio {
            write!(f, "{ratio} ")?;
        }
        f.write_str(&self.conclusion())
    }
}

/// All comparisons of a run.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// In the order they ran.
    pub lines: Vec<Line>,
}

const HEADINGS: [&str; 9] = [
    "row",
    "peer",
    "ratio [95 %]",
    "target",
    "verdict",
    "control ours / peer",
    "rounds kept",
    "ours",
    "peer's",
];

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![HEADINGS.map(String::from)];
        rows.extend(self.lines.iter().map(cells));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: [usize; HEADINGS.len()] = core::array::from_fn(width);
        for row in &rows {
            let padded = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        writeln!(
            f,
            "\nratio: ours over the peer's, less is better. control: an arm over itself. ours, \
             peer's: one operation on this machine\nin this minute, for orientation only."
        )
    }
}

fn cells(line: &Line) -> [String; HEADINGS.len()] {
    let target = match line.claim.target {
        Some(target) => format!("<= {target}"),
        None => "-".to_owned(),
    };
    let [ratio, control, kept, ours, theirs] = match &line.found {
        Ok(outcome) => findings(outcome, line.claim.unit),
        Err(_) => core::array::from_fn(|_| "-".to_owned()),
    };
    let (title, peer, conclusion) = (line.title(), line.claim.peer.clone(), line.conclusion());
    [
        title, peer, ratio, target, conclusion, control, kept, ours, theirs,
    ]
}

fn findings(outcome: &Outcome, unit: Unit) -> [String; 5] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let spread = |interval: Option<Interval>| {
        or_none(interval.map(|it| format!("[{:.2}, {:.2}]", it.low, it.high)))
    };
    let (stolen, interrupted) = (outcome.rounds_stolen, outcome.rounds_interrupted);
    let (kept, ran) = (
        outcome.rounds_kept,
        outcome.rounds_kept + stolen + interrupted,
    );
    let dropped = match (stolen, interrupted) {
        (0, 0) => String::new(),
        _ => format!(" ({stolen} stolen, {interrupted} interrupted)"),
    };
    let controls = (spread(outcome.control_ours), spread(outcome.control_peer));
    [
        or_none(outcome.ratio.map(|it| it.to_string())),
        format!("{} / {}", controls.0, controls.1),
        format!("{kept} of {ran}{dropped}"),
        or_none(outcome.ours.map(|cost| shown(cost, unit))),
        or_none(outcome.peer.map(|cost| shown(cost, unit))),
    ]
}

fn shown(cost: f64, unit: Unit) -> String {
    match unit {
        Unit::Ns if cost >= 100_000.0 => format!("{:.0} us", cost / 1_000.0),
        Unit::Ns => format!("{cost:.1} ns"),
        Unit::Bytes => format!("{:.1} KiB", cost / 1_024.0),
        Unit::Threads => format!("{cost:.2} threads"),
        Unit::Cpu => format!("{:.3} % CPU", cost * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_that_cannot_run_says_why() {
        let line = Line {
            row: "wake",
            claim: Claim::latency("futex").case("p50").at_most(0.15),
            found: Err(Need::TwoCpus),
        };
        assert_eq!(line.verdict(), None);
        assert_eq!(line.title(), "wake, p50");
        let text = Table { lines: vec![line] }.to_string();
        assert!(text.contains("NOT RUN: needs two CPUs"), "{text}");
        assert!(text.contains("<= 0.15"), "{text}");
    }

    #[test]
    fn a_cost_is_shown_in_its_unit() {
        let units = [Unit::Ns, Unit::Bytes, Unit::Threads, Unit::Cpu];
        let texts = units.map(|unit| shown(0.5, unit));
        assert_eq!(texts, ["0.5 ns", "0.0 KiB", "0.50 threads", "50.000 % CPU"]);
    }
}
