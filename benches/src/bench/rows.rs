//! The list of rows. A row is a file in `rows/` with a constant `ROW`, and a line in [`ROWS`].

mod cpupri_find;
mod cpupri_set;
mod event_ring;
mod fiber_cost;
mod guard;
mod idle_cpu;
mod periodic_release;
mod remote_spawn;
mod spawn_join;
mod wake_higher;
mod wake_parked;
mod wake_spinning;
mod yield_now;

pub(crate) use fiber_cost::Probe;
pub(crate) use wake_higher::kernel as wake_higher_kernel;
pub(crate) use yield_now::sched_yield;

use crate::run::Run;

/// An operation and the code that compares it with its peers.
pub(crate) struct Row {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// What is compared, in one line.
    pub(crate) about: &'static str,
    pub(crate) compare: fn(&mut Run),
}

/// Every row, in the order of a whole run.
pub(crate) const ROWS: &[Row] = &[
    yield_now::ROW,
    spawn_join::ROW,
    remote_spawn::ROW,
    wake_spinning::ROW,
    wake_parked::ROW,
    wake_higher::ROW,
    periodic_release::ROW,
    guard::ROW,
    cpupri_find::ROW,
    cpupri_set::ROW,
    fiber_cost::ROW,
    idle_cpu::ROW,
    event_ring::ROW,
];

/// The rows of these names; all of them if there are no names.
///
/// # Errors
/// A message that lists the names, if one is unknown.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Row>, String> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let find = |name: &String| {
        let row = ROWS.iter().find(|row| row.name == name);
        row.ok_or_else(|| {
            let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            format!(
                "there is no row `{name}`; choose among: {}",
                known.join(", ")
            )
        })
    };
    names.iter().map(find).collect()
}

/// The names and what they are about.
pub(crate) fn list() -> String {
    let width = ROWS.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let line = |row: &Row| format!("{:width$}  {}\n", row.name, row.about);
    ROWS.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rows: &[&Row]) -> Vec<&'static str> {
        rows.iter().map(|row| row.name).collect()
    }

    #[test]
    fn no_names_mean_every_row() {
        assert_eq!(chosen(&[]).unwrap().len(), ROWS.len());
    }

    #[test]
    fn rows_run_in_the_order_asked_for() {
        let rows = chosen(&["guard".into(), "yield_now".into()]).unwrap();
        assert_eq!(names(&rows), ["guard", "yield_now"]);
    }

    #[test]
    fn an_unknown_row_is_an_error_that_names_the_known_ones() {
        let message = chosen(&["guard".into(), "gard".into()]).err().unwrap();
        assert!(
            message.contains("`gard`") && message.contains("guard, "),
            "{message}"
        );
    }

    #[test]
    fn every_name_is_unique_and_listed() {
        const README: &str = include_str!("../../README.md");
        for row in ROWS {
            assert!(
                README.contains(&format!("\n| `{}` |", row.name)),
                "{}",
                row.name
            );
            assert_eq!(
                ROWS.iter().filter(|other| other.name == row.name).count(),
                1
            );
            assert!(list().contains(row.about));
        }
    }
}
