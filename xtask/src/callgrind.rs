//! `cargo xtask callgrind`: how many instructions an operation takes, counted by valgrind.
//!
//! Times differ from host to host and from run to run; the instructions that one thread executes in a
//! given program do not. So they can be compared with a number in a file. Another compiler makes
//! another program, so the number is a ceiling with some air, not an equation.
//!
//! The count also shows what the decoded code cannot ([`crate::hotpath`]): which functions an
//! ordinary call really enters. For a probe with a rule those are the probe and its parts; a slow
//! path among them means that it is not slow, but taken each time.

mod expected;
mod profile;

use std::path::Path;
use std::process::Command;

use expected::Expected;
use profile::Profile;

use crate::hotpath;
use crate::workspace::root;

const CEILINGS: &str = "probes/instructions.txt";
const CALLS: u64 = 1_000;

/// Why there can be no count here, if so.
pub(crate) fn missing() -> Option<String> {
    let version = Command::new("valgrind").arg("--version").output();
    match version {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("`valgrind --version` ended with {}", output.status)),
        Err(error) => Some(format!(
            "valgrind cannot be run ({error}); install the package `valgrind`"
        )),
    }
}

/// Counts every operation of the list and compares it with its ceiling.
pub(crate) fn run() -> Result<(), String> {
    if let Some(reason) = missing() {
        return Err(format!("callgrind: {reason}"));
    }
    let list = std::fs::read_to_string(root().join(CEILINGS))
        .map_err(|error| format!("callgrind: cannot read {CEILINGS}: {error}"))?;
    let expected = expected::parse(&list).map_err(|why| format!("{CEILINGS}: {why}"))?;
    let program = hotpath::built()?;
    let mut broken = Vec::new();
    println!("probe                   size  instructions  ceiling");
    for row in &expected {
        let profile = count(&program, row)?;
        let each = profile.instructions.div_ceil(CALLS);
        println!(
            "{:22} {:5}  {each:12}  {:7}",
            row.probe, row.size, row.ceiling
        );
        broken.extend(complaints(row, each, &profile));
    }
    if broken.is_empty() {
        println!(
            "callgrind: {} operations are below their ceilings",
            expected.len()
        );
        return Ok(());
    }
    Err(format!(
        "callgrind: {} findings\n{}\nThe ceilings are in {CEILINGS}, the rules in xtask/src/hotpath/rules.rs.",
        broken.len(),
        broken.join("\n")
    ))
}

/// What is wrong with an operation that takes `each` instructions.
fn complaints(row: &Expected, each: u64, profile: &Profile) -> Vec<String> {
    let mut complaints = Vec::new();
    let (probe, size, ceiling) = (&row.probe, row.size, row.ceiling);
    if each == 0 {
        complaints.push(format!(
            "{probe} {size}: nothing was counted; was the probe called?"
        ));
    }
    if each > ceiling {
        complaints.push(format!(
            "{probe} {size}: {each} instructions, at most {ceiling}"
        ));
    }
    let Some(parts) = hotpath::parts(probe) else {
        return complaints;
    };
    let strangers = profile
        .functions
        .iter()
        .filter(|(name, _)| *name != probe && !parts.contains(&name.as_str()));
    complaints.extend(strangers.map(|(name, instructions)| {
        let per_call = *instructions as f64 / CALLS as f64;
        format!("{probe} {size}: enters {name}, {per_call:.1} instructions per call, which is no part of it")
    }));
    complaints
}

fn count(program: &Path, row: &Expected) -> Result<Profile, String> {
    let file = program.with_file_name(format!("callgrind-{}.out", std::process::id()));
    let mut command = Command::new("valgrind");
    command
        .args([
            "--quiet",
            "--tool=callgrind",
            "--compress-strings=no",
            "--compress-pos=no",
        ])
        .arg(format!("--toggle-collect={}", row.probe))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args([row.probe.clone(), row.size.to_string(), CALLS.to_string()]);
    let output = command
        .output()
        .map_err(|error| format!("callgrind: cannot run valgrind: {error}"))?;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    drop(std::fs::remove_file(&file)); // absent if valgrind failed, which is reported below
    if !output.status.success() {
        return Err(format!(
            "callgrind: {command:?} ended with {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    profile::parse(&text).ok_or_else(|| format!("callgrind: {command:?} left no profile"))
}

#[cfg(test)]
mod tests {
    use super::{CEILINGS, complaints};
    use crate::callgrind::expected::{Expected, parse};
    use crate::callgrind::profile::Profile;
    use crate::workspace::root;

    fn profile(functions: &[(&str, u64)]) -> Profile {
        Profile {
            instructions: functions.iter().map(|(_, count)| count).sum(),
            functions: functions
                .iter()
                .map(|(name, count)| (name.to_string(), *count))
                .collect(),
        }
    }

    fn guard(ceiling: u64) -> Expected {
        Expected {
            probe: "probe_guard".into(),
            size: 1,
            ceiling,
        }
    }

    #[test]
    fn a_count_above_its_ceiling_and_a_count_of_nothing_fail() {
        let counted = profile(&[("probe_guard", 9_000)]);
        assert_eq!(complaints(&guard(9), 9, &counted), [""; 0]);
        assert_eq!(
            complaints(&guard(8), 9, &counted),
            ["probe_guard 1: 9 instructions, at most 8"]
        );
        assert_eq!(complaints(&guard(8), 0, &profile(&[])).len(), 1);
    }

    #[test]
    fn a_slow_path_that_an_ordinary_call_takes_fails() {
        let counted = profile(&[("probe_guard", 9_000), ("corelane::guard::leave", 500)]);
        assert_eq!(
            complaints(&guard(100), 10, &counted),
            [
                "probe_guard 1: enters corelane::guard::leave, 0.5 instructions per call, which is no part of it"
            ]
        );
    }

    #[test]
    fn every_probe_that_can_be_run_has_a_ceiling() {
        let read = |path| std::fs::read_to_string(root().join(path)).unwrap();
        let (list, program) = (parse(&read(CEILINGS)).unwrap(), read("probes/src/main.rs"));
        let lines = program.lines();
        let names = lines.filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next());
        let names: Vec<&str> = names.collect();
        assert!(names.contains(&"probe_guard"), "{names:?}");
        for name in names {
            assert!(list.iter().any(|row| row.probe == name), "{name}");
        }
    }
}
