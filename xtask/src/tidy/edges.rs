//! Which crate may depend on which.
//!
//! The layers are what keeps the scheduler pure and the simulator honest: one convenient
//! dependency, and decisions begin to read clocks. Cargo accepts any acyclic graph, so the graph
//! that the project agreed on is written down here; a new edge fails, and adding it means to change
//! this table, in sight of a reviewer.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::Finding;
use crate::workspace::{Tree, cargo};

struct Rule {
    package: &'static str,
    /// Workspace crates that it may use in `[dependencies]` and `[build-dependencies]`.
    may_use: &'static [&'static str],
    /// Workspace crates that it may not even use in `[dev-dependencies]`.
    never: &'static [&'static str],
}

/// The simulator proves the decisions without an operating system, so crates that link
/// `corelane-os` are out, too.
const RULES: &[Rule] = &[
    Rule {
        package: "corelane-sched",
        may_use: &[],
        never: &["corelane", "corelane-os", "corelane-sim"],
    },
    Rule {
        package: "corelane-percpu",
        may_use: &[],
        never: &[],
    },
    Rule {
        package: "corelane-os",
        may_use: &[],
        never: &[],
    },
    // In place of `corelane-os` when a model checker runs; it takes plain types from there.
    Rule {
        package: "corelane-os-model",
        may_use: &["corelane-os"],
        never: &["corelane"],
    },
    Rule {
        package: "corelane-slab",
        may_use: &["corelane-percpu", "corelane-os"],
        never: &[],
    },
    Rule {
        package: "corelane-sim",
        may_use: &["corelane-sched", "corelane-percpu"],
        never: &["corelane", "corelane-os", "corelane-slab", "corelane-cli"],
    },
    Rule {
        package: "corelane",
        may_use: &[
            "corelane-sched",
            "corelane-percpu",
            "corelane-slab",
            "corelane-os",
            "corelane-os-model",
        ],
        never: &[],
    },
    Rule {
        package: "corelane-cli",
        may_use: &["corelane", "corelane-sim", "corelane-os"],
        never: &[],
    },
    Rule {
        package: "corelane-attacks",
        may_use: &["corelane"],
        never: &[],
    },
    Rule {
        package: "corelane-examples",
        may_use: &["corelane"],
        never: &[],
    },
    Rule {
        package: "corelane-benches",
        may_use: &[
            "corelane",
            "corelane-sched",
            "corelane-percpu",
            "corelane-slab",
            "corelane-os",
        ],
        never: &[],
    },
    Rule {
        package: "corelane-probes",
        may_use: &["corelane", "corelane-sched"],
        never: &[],
    },
    Rule {
        package: "corelane-soak",
        may_use: &["corelane", "corelane-os", "corelane-sim"],
        never: &[],
    },
    Rule {
        package: "xtask",
        may_use: &[],
        never: &[],
    },
];

/// What cargo says about the members of the workspace, as its JSON.
pub(super) fn metadata(root: &Path) -> Result<Value, String> {
    let output = Command::new(cargo())
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("tidy: cannot run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "tidy: cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let mut metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("tidy: cargo metadata is not JSON: {error}"))?;
    make_relative(&mut metadata, root);
    Ok(metadata)
}

/// Cuts the root off the manifests' paths, as the paths of a tree have it.
fn make_relative(metadata: &mut Value, root: &Path) {
    let Some(packages) = metadata["packages"].as_array_mut() else {
        return;
    };
    for package in packages {
        let relative = package["manifest_path"]
            .as_str()
            .and_then(|path| Path::new(path).strip_prefix(root).ok());
        if let Some(path) = relative.map(|path| path.to_string_lossy().into_owned()) {
            package["manifest_path"] = path.into();
        }
    }
}

pub(super) fn check(tree: &Tree, metadata: &Value) -> Vec<Finding> {
    let packages = list(&metadata["packages"]);
    let members: Vec<&str> = packages
        .iter()
        .map(|package| text(&package["name"]))
        .collect();
    let mut findings = Vec::new();
    for package in packages {
        let (name, manifest) = (text(&package["name"]), text(&package["manifest_path"]));
        let Some(rule) = RULES.iter().find(|rule| rule.package == name) else {
            let message =
                format!("the crate {name} has no rule, give it one in xtask/src/tidy/edges.rs");
            findings.push(Finding::new(manifest, 1, message));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let used = text(&dependency["name"]);
            if members.contains(&used)
                && let Some(message) = rule.broken_by(used, &dependency["kind"])
            {
                findings.push(Finding::new(
                    manifest,
                    line_of(tree, manifest, used),
                    message,
                ));
            }
        }
    }
    findings
}

impl Rule {
    fn broken_by(&self, used: &str, kind: &Value) -> Option<String> {
        let user = self.package;
        if kind == "dev" {
            return self.never.contains(&used).then(|| {
                format!("dev edge {user} -> {used} is forbidden, move the test to a crate that may use both")
            });
        }
        if self.may_use.contains(&used) {
            return None;
        }
        let allowed = if self.may_use.is_empty() {
            "none".into()
        } else {
            self.may_use.join(", ")
        };
        Some(format!(
            "new edge {user} -> {used}, remove it (workspace crates that {user} may use: {allowed})"
        ))
    }
}

/// The line of a manifest that names the dependency; the first line if it is spelt in some unusual
/// way.
fn line_of(tree: &Tree, manifest: &str, dependency: &str) -> usize {
    let names = |line: &str| {
        line.trim_start()
            .strip_prefix(dependency)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    let file = tree.file(manifest);
    file.and_then(|file| file.lines().find(|(_, line)| names(line)))
        .map_or(1, |(number, _)| number)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::check;
    use crate::tidy::printed;
    use crate::workspace::Tree;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependency =
            |&(name, kind): &(&str, Option<&str>)| json!({ "name": name, "kind": kind });
        let dependencies: Vec<Value> = dependencies.iter().map(dependency).collect();
        json!({ "name": name, "manifest_path": format!("{name}.toml"), "dependencies": dependencies })
    }

    fn findings(packages: &[Value], manifests: &[(&str, &str)]) -> Vec<String> {
        printed(&check(
            &Tree::of(manifests),
            &json!({ "packages": packages }),
        ))
    }

    #[test]
    fn the_agreed_edges_pass() {
        let packages = [
            package("corelane-sched", &[("proptest", Some("dev"))]),
            package("corelane-sim", &[("corelane-sched", None), ("serde", None)]),
            package(
                "corelane",
                &[("corelane-sched", None), ("corelane-sim", Some("dev"))],
            ),
        ];
        assert_eq!(findings(&packages, &[]), [""; 0]);
    }

    #[test]
    fn a_new_edge_fails_at_its_line_and_says_which() {
        let packages = [
            package("corelane-sim", &[("corelane-os", None)]),
            package("corelane-os", &[]),
        ];
        let manifest = "[dependencies]\ncorelane-os-like = \"1\"\ncorelane-os.workspace = true\n";
        assert_eq!(
            findings(&packages, &[("corelane-sim.toml", manifest)]),
            [
                "corelane-sim.toml:3: new edge corelane-sim -> corelane-os, remove it \
              (workspace crates that corelane-sim may use: corelane-sched, corelane-percpu)"
            ]
        );
    }

    #[test]
    fn a_build_dependency_is_an_edge_like_any_other() {
        let packages = [
            package("corelane-sched", &[("xtask", Some("build"))]),
            package("xtask", &[]),
        ];
        assert_eq!(findings(&packages, &[]).len(), 1);
    }

    #[test]
    fn the_scheduler_may_not_even_test_against_the_runtime() {
        let packages = [
            package("corelane-sched", &[("corelane", Some("dev"))]),
            package("corelane", &[]),
        ];
        assert_eq!(
            findings(&packages, &[]),
            [
                "corelane-sched.toml:1: dev edge corelane-sched -> corelane is forbidden, \
              move the test to a crate that may use both"
            ]
        );
    }

    #[test]
    fn a_crate_without_a_rule_fails() {
        let findings = findings(&[package("corelane-extra", &[])], &[]);
        assert!(
            findings[0].contains("the crate corelane-extra has no rule"),
            "{findings:?}"
        );
    }
}
