//! The report: one line per comparison.

use core::fmt;

use crate::{Claim, Interval, Need, Outcome, Verdict};

/// One comparison.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was promised.
    pub claim: Claim,
    /// What was found, or what the host lacks for it.
    pub found: Result<Outcome, Need>,
}

impl Line {
    /// The verdict; `None` where the comparison could not run.
    pub fn verdict(&self) -> Option<Verdict> {
        self.found
            .as_ref()
            .ok()
            .map(|outcome| self.claim.judge(outcome))
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
    "ours ns",
    "peer ns",
    "control ours / peer",
    "kept",
    "verdict",
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
        Ok(())
    }
}

fn cells(line: &Line) -> [String; HEADINGS.len()] {
    let (row, peer) = (line.claim.row.to_owned(), line.claim.peer.to_owned());
    let target = format!("<= {}", line.claim.target);
    let outcome = match &line.found {
        Ok(outcome) => outcome,
        Err(need) => {
            let [ratio, ours, theirs, control, kept] = core::array::from_fn(|_| "-".to_owned());
            let verdict = format!("NOT RUN: {need}");
            return [
                row, peer, ratio, target, ours, theirs, control, kept, verdict,
            ];
        }
    };
    let shown = |interval: Option<Interval>| interval.map_or("-".to_owned(), |it| it.to_string());
    let spread = |interval: Option<Interval>| match interval {
        Some(it) => format!("[{:.2}, {:.2}]", it.low, it.high),
        None => "-".to_owned(),
    };
    let (stolen, interrupted) = (outcome.rounds_stolen, outcome.rounds_interrupted);
    let kept = outcome.rounds_kept;
    [
        row,
        peer,
        shown(outcome.ratio),
        target,
        shown_ns(outcome.ours_ns),
        shown_ns(outcome.peer_ns),
        format!(
            "{} / {}",
            spread(outcome.control_ours),
            spread(outcome.control_peer)
        ),
        format!(
            "{kept} of {} ({stolen} stolen, {interrupted} interrupted)",
            kept + stolen + interrupted
        ),
        line.claim.judge(outcome).to_string(),
    ]
}

fn shown_ns(typical_ns: Option<f64>) -> String {
    typical_ns.map_or("-".to_owned(), |ns| format!("{ns:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_that_cannot_run_says_why() {
        let claim = Claim::latency("wake", "futex", 0.15);
        let line = Line {
            claim,
            found: Err(Need::TwoCpus),
        };
        assert_eq!(line.verdict(), None);
        let text = Table { lines: vec![line] }.to_string();
        assert!(text.contains("NOT RUN: needs two CPUs"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
