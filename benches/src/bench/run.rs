//! What the rows share: the site, the plan, and the table that they fill.

use corelane_benches::{Arm, Claim, Duel, Line, Need, Outcome, Plan, Site, Table, Unit};

use crate::rows::Row;

/// A run of some rows.
pub(crate) struct Run {
    /// Where it takes place.
    pub(crate) site: Site,
    /// How long and how often, unless a row has reasons of its own.
    pub(crate) plan: Plan,
    /// What has been found so far.
    pub(crate) table: Table,
    row: &'static str,
}

impl Run {
    pub(crate) fn new(site: Site, plan: Plan) -> Run {
        Run {
            site,
            plan,
            table: Table::default(),
            row: "",
        }
    }

    /// Runs every comparison of `row`.
    pub(crate) fn perform(&mut self, row: &Row) {
        self.row = row.name;
        (row.compare)(self);
    }

    /// Runs one comparison, if the host has what it needs.
    pub(crate) fn compare(
        &mut self,
        claim: Claim,
        needs: &[Need],
        ours: &mut Arm<'_>,
        peer: &mut Arm<'_>,
    ) {
        let plan = self.plan;
        self.compare_each([claim], needs, &plan, ours, peer);
    }

    /// Runs one comparison of several costs by a plan of its own, if the host has what it needs.
    pub(crate) fn compare_each<const N: usize>(
        &mut self,
        claims: [Claim; N],
        needs: &[Need],
        plan: &Plan,
        ours: &mut Arm<'_, N>,
        peer: &mut Arm<'_, N>,
    ) {
        if self.leaves_out(&claims, needs) {
            return;
        }
        // What is counted does not change while the hypervisor runs somebody else.
        let is_counted = |claim: &Claim| matches!(claim.unit, Unit::Bytes | Unit::Threads);
        let cpus = match claims.iter().all(is_counted) {
            true => Vec::new(),
            false => self.site.involved(needs),
        };
        let cpus = &cpus;
        let outcomes = Duel { ours, peer, cpus }.run(plan);
        for (claim, outcome) in claims.into_iter().zip(outcomes) {
            self.add(claim, Ok(outcome));
        }
    }

    /// Reports the claims as not run if the host lacks one of the needs, and says whether it does.
    pub(crate) fn leaves_out(&mut self, claims: &[Claim], needs: &[Need]) -> bool {
        let Some(need) = self.site.lacks(needs) else {
            return false;
        };
        for claim in claims {
            self.add(claim.clone(), Err(need));
        }
        true
    }

    fn add(&mut self, claim: Claim, found: Result<Outcome, Need>) {
        let row = self.row;
        let line = Line { row, claim, found };
        eprintln!("{line}");
        self.table.lines.push(line);
    }
}
