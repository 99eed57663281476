//! The command line.

use std::path::PathBuf;

use clap::Parser;
use corelane_benches::Plan;

use crate::rows::Probe;

/// So many rounds make a whole run of some two minutes.
const ROUNDS: usize = 80;

/// Operations of Corelane against their peers, as ratios measured in one run.
///
/// Ends with 0 if every comparison with a target that could run passed, 1 if one fell short, 3 if none
/// fell short but the run was too noisy to judge one, and 2 for bad arguments.
#[derive(Debug, Parser)]
#[command(name = "corelane-bench")]
pub(crate) struct Options {
    /// The rows to run; every row without any.
    #[arg(value_name = "ROW")]
    pub(crate) rows: Vec<String>,

    /// Print the names of the rows and what they compare.
    #[arg(long)]
    pub(crate) list: bool,

    /// Rounds of each comparison; rows with long blocks take a share of them.
    #[arg(long, value_name = "N", default_value_t = ROUNDS, value_parser = rounds)]
    rounds: usize,

    /// A few short rounds, to see that a row works: judges nothing, and ends with 0.
    #[arg(long, conflicts_with = "rounds")]
    pub(crate) quick: bool,

    /// Write the result as JSON to this file, or with `-` to standard output, where it stands alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Print what so many waiting tasks or threads keep; the row `fiber_cost` runs this.
    #[arg(long, hide = true)]
    pub(crate) probe: Option<Probe>,
}

impl Options {
    /// How long and how often.
    pub(crate) fn plan(&self) -> Plan {
        match self.quick {
            true => Plan::quick(),
            false => Plan::of_rounds(self.rounds),
        }
    }
}

fn rounds(text: &str) -> Result<usize, String> {
    const MAX: usize = 10_000;
    match text.parse() {
        Ok(rounds) if (1..=MAX).contains(&rounds) => Ok(rounds),
        _ => Err(format!("rounds are a number of 1..={MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["corelane-bench"], words].concat())
    }

    #[test]
    fn rows_and_rounds_are_taken() {
        let options = parsed(&["guard", "--rounds", "7", "yield_now"]).unwrap();
        assert_eq!(options.rows, ["guard", "yield_now"]);
        assert_eq!(options.plan().rounds, 7);
        assert_eq!(parsed(&[]).unwrap().plan().rounds, ROUNDS);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "--rounds 0",
            "--rounds many",
            "--quick --rounds 7",
            "--slow",
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            assert!(parsed(&words).is_err(), "{words:?}");
        }
    }
}
