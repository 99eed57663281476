//! Crates that promise to be without `std`.
//!
//! The scheduler decides from values alone. A target without an operating system would prove it by
//! building the crate, but such a target is not installed everywhere; without one, a `no_std` crate
//! sees `std` only if it says `extern crate std`. So both halves are read from the source: the
//! attribute stands, and nothing brings `std` back outside tests and models.

use super::Finding;
use crate::workspace::{File, Tree};

const WAY_BACK: &str = "`std` comes back here, put `#[cfg(test)]` above it or remove it";
const CRATES: &[&str] = &["crates/sched", "crates/percpu"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let sources_of = |folder: &'static str| {
        tree.files
            .iter()
            .filter(move |file| file.path.starts_with(&format!("{folder}/src/")))
    };
    let promised = CRATES.iter().flat_map(|folder| sources_of(folder));
    promised
        .flat_map(|file| missing_attribute(file).into_iter().chain(ways_back(file)))
        .collect()
}

fn missing_attribute(file: &File) -> Option<Finding> {
    let is_root = file.path.ends_with("/src/lib.rs");
    let stands = file.lines().any(|(_, line)| line.trim() == "#![no_std]");
    (is_root && !stands).then(|| {
        Finding::at(
            file,
            1,
            "`#![no_std]` is gone, put it back: this crate has no operating system",
        )
    })
}

/// `std` may come back for tests and models: right below their `cfg`, or inside their module.
fn ways_back(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut below_cfg, mut in_module) = (false, false);
    for (number, line) in file.lines() {
        let excused = below_cfg || (in_module && line.starts_with(' '));
        if line.trim_start().starts_with("extern crate std") && !excused {
            findings.push(Finding::at(file, number, WAY_BACK));
        }
        in_module = match line.starts_with([' ', '}']) || line.is_empty() {
            true => in_module,
            false => below_cfg && line.starts_with("mod ") && line.ends_with('{'),
        };
        let line = line.trim_start();
        below_cfg =
            line.starts_with("#[cfg(") && ["test", "loom"].iter().any(|on| line.contains(on));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::printed;
    use crate::workspace::Tree;

    #[test]
    fn a_crate_that_keeps_its_promise_passes() {
        let root = "//! Docs.\n#![no_std]\nextern crate alloc;\n#[cfg(test)]\nextern crate std;\n";
        assert_eq!(check(&Tree::of(&[("crates/sched/src/lib.rs", root)])), []);
    }

    #[test]
    fn a_crate_without_the_attribute_fails() {
        let tree = Tree::of(&[("crates/sched/src/lib.rs", "//! `#![no_std]` in words.\n")]);
        assert_eq!(
            printed(&check(&tree)),
            [
                "crates/sched/src/lib.rs:1: `#![no_std]` is gone, put it back: this crate has no operating system"
            ]
        );
    }

    #[test]
    fn a_way_back_to_std_outside_tests_fails() {
        let tree = Tree::of(&[(
            "crates/sched/src/clock.rs",
            "#[cfg(unix)]\nextern crate std;\n",
        )]);
        let findings = printed(&check(&tree));
        assert!(
            findings[0].starts_with("crates/sched/src/clock.rs:2: `std` comes back"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_test_module_may_bring_std_back_and_a_module_after_it_may_not() {
        let module = "mod m {\n    extern crate std;\n    fn f() {}\n}\n";
        let text = format!("#[cfg(test)]\n{module}\n{module}");
        let findings = check(&Tree::of(&[("crates/sched/src/a.rs", &text)]));
        assert_eq!(
            findings
                .iter()
                .map(|finding| finding.line)
                .collect::<Vec<_>>(),
            [8]
        );
    }

    #[test]
    fn other_crates_may_use_std() {
        assert_eq!(
            check(&Tree::of(&[("crates/os/src/lib.rs", "//! Docs.\n")])),
            []
        );
    }
}
