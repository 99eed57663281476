//! The basic operations of the executor against their peers, in one run.
//!
//! ```sh
//! cargo run --release -p corelane-benches --bin basics                     # every row
//! cargo run --release -p corelane-benches --bin basics yield_now guard     # these rows
//! ```
//!
//! Each row is an operation, each line a peer that does the same work in the same milliseconds. The
//! exit code is 0 if every comparison that could run passed, 1 if one fell short, 3 if none fell
//! short but the run was too noisy to judge one, and 2 for a row that does not exist.

mod guard;
mod may_worker;
mod spawn_join;
mod wake_higher;
mod wake_spinning;
mod yield_now;

use std::process::ExitCode;
use std::time::Duration;

use corelane_benches::{Arm, Claim, Duel, Line, Need, Plan, Site, Table, Verdict, Watchdog, facts};

/// A run of every row takes some 25 s.
const LIMIT: Duration = Duration::from_secs(100);

type Row = (&'static str, fn(&mut Run));

const ROWS: [Row; 5] = [
    ("yield_now", yield_now::compare),
    ("spawn_join", spawn_join::compare),
    ("wake_spinning", wake_spinning::compare),
    ("wake_higher", wake_higher::compare),
    ("guard", guard::compare),
];

/// What the rows share.
struct Run {
    site: Site,
    plan: Plan,
    table: Table,
}

impl Run {
    /// Runs one comparison, if the host has what it needs.
    fn compare(&mut self, claim: Claim, needs: &[Need], ours: &mut Arm<'_>, peer: &mut Arm<'_>) {
        if let Some(need) = self.site.lacks(needs) {
            return self.leave_out(claim, need);
        }
        let found = Ok(Duel { ours, peer }.run(&self.plan));
        self.table.lines.push(Line { claim, found });
    }

    /// Reports a comparison that cannot run.
    fn leave_out(&mut self, claim: Claim, need: Need) {
        self.table.lines.push(Line {
            claim,
            found: Err(need),
        });
    }
}

fn main() -> ExitCode {
    let rows = match chosen(std::env::args().skip(1)) {
        Ok(rows) => rows,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    // Before anything that starts a thread.
    let _watchdog = Watchdog::start(LIMIT).expect("a pipe and a process for the watchdog");
    let site = Site::survey();
    facts(&site, &status(&site))
        .iter()
        .for_each(|fact| println!("{fact}"));
    let mut run = Run {
        site,
        plan: Plan::default(),
        table: Table::default(),
    };
    rows.iter().for_each(|(_, compare)| compare(&mut run));
    println!("\n{}", run.table);
    verdict(&run.table)
}

fn chosen(names: impl Iterator<Item = String>) -> Result<Vec<Row>, String> {
    let find = |name: String| {
        let known = || ROWS.map(|(name, _)| name).join(", ");
        let row = ROWS.into_iter().find(|(row, _)| *row == name);
        row.ok_or_else(|| format!("there is no row `{name}`; choose among: {}", known()))
    };
    match names.map(find).collect::<Result<Vec<Row>, String>>()? {
        rows if rows.is_empty() => Ok(ROWS.to_vec()),
        rows => Ok(rows),
    }
}

fn status(site: &Site) -> corelane::Status {
    let runtime = site
        .runtime(&[site.cpu()])
        .build()
        .expect("a runtime on an allowed CPU");
    runtime.status().clone()
}

fn verdict(table: &Table) -> ExitCode {
    let verdicts: Vec<Verdict> = table.lines.iter().filter_map(Line::verdict).collect();
    if verdicts.contains(&Verdict::FallsShort) {
        return ExitCode::from(1);
    }
    match verdicts.iter().all(|verdict| *verdict == Verdict::Pass) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(3),
    }
}
