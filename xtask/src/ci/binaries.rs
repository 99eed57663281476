//! The executables that cargo builds, taken from what it says about them.
//!
//! The file name of a test executable carries a hash, and several generations lie in the same
//! folder, so guessing a path runs an old one sooner or later. With `--message-format=json` cargo
//! names what belongs to this very build.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::scratch::{Placed, Scratch};
use super::watched::{self, Deadline, Failure};

/// A test executable, placed where every user may run it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TestBinary {
    /// For people: `crates/os tests/affinity`.
    pub(super) name: String,
    pub(super) program: Placed,
    /// The folder of its package, in which `cargo test` would run it.
    pub(super) folder: PathBuf,
}

/// Builds tests with the given cargo command and places those of `packages`, which are folders
/// below `root`.
pub(super) fn tests(
    command: &mut Command,
    packages: &[&str],
    root: &Path,
    scratch: &Scratch,
    deadline: Deadline,
) -> Result<Vec<TestBinary>, Failure> {
    let messages = build(command, scratch, deadline)?;
    let mut tests = tests_in(&messages, packages, root);
    for (index, test) in tests.iter_mut().enumerate() {
        test.program = place(scratch, &test.program.built, &format!("test-{index}"))?;
    }
    let covered = |package: &&str| tests.iter().any(|test| test.folder == root.join(package));
    match packages.iter().find(|package| !covered(package)) {
        None => Ok(tests),
        Some(package) => Err(Failure::new(
            "cargo test --no-run",
            format!("cargo built no test executable of {package}"),
        )),
    }
}

/// Builds with the given cargo command and places the program `name`.
pub(super) fn program(
    command: &mut Command,
    name: &str,
    scratch: &Scratch,
    deadline: Deadline,
) -> Result<Placed, Failure> {
    let messages = build(command, scratch, deadline)?;
    let is_program = |message: &&Value| {
        message["target"]["name"] == name && message["target"]["kind"][0] == "bin"
    };
    let built = messages
        .iter()
        .filter(is_program)
        .find_map(|message| message["executable"].as_str());
    match built {
        Some(path) => place(scratch, Path::new(path), name),
        None => Err(Failure::new(
            "cargo build",
            format!("cargo built no program named {name}"),
        )),
    }
}

/// Builds with the given cargo command and places every program under its name and `suffix`.
pub(super) fn victims(
    command: &mut Command,
    suffix: &str,
    scratch: &Scratch,
    deadline: Deadline,
) -> Result<(), Failure> {
    for (name, executable) in programs_in(&build(command, scratch, deadline)?) {
        place(scratch, &executable, &format!("{name}{suffix}"))?;
    }
    Ok(())
}

fn programs_in(messages: &[Value]) -> Vec<(String, PathBuf)> {
    let program_of = |message: &Value| {
        let executable = message["executable"].as_str()?;
        let name = message["target"]["name"].as_str()?;
        let is_program = message["target"]["kind"][0] == "bin";
        is_program.then(|| (name.to_string(), executable.into()))
    };
    messages.iter().filter_map(program_of).collect()
}

fn build(
    command: &mut Command,
    scratch: &Scratch,
    deadline: Deadline,
) -> Result<Vec<Value>, Failure> {
    let unusable =
        |error: io::Error| Failure::new("cargo", format!("its messages cannot be kept: {error}"));
    let (file, path) = scratch.output("messages").map_err(unusable)?;
    command
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::from(file));
    watched::shown(command, deadline)?;
    let text = std::fs::read_to_string(path).map_err(unusable)?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

fn tests_in(messages: &[Value], packages: &[&str], root: &Path) -> Vec<TestBinary> {
    let test_of = |message: &Value| {
        let executable = message["executable"].as_str()?;
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
        let package = packages
            .iter()
            .find(|package| root.join(package) == folder)?;
        let source = Path::new(message["target"]["src_path"].as_str()?)
            .strip_prefix(folder)
            .ok()?;
        let name = format!("{package} {}", source.with_extension("").display());
        let is_test = message["profile"]["test"] == true;
        is_test.then(|| TestBinary {
            name,
            program: Placed {
                path: executable.into(),
                built: executable.into(),
            },
            folder: folder.into(),
        })
    };
    let mut tests: Vec<TestBinary> = messages.iter().filter_map(test_of).collect();
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    tests
}

fn place(scratch: &Scratch, executable: &Path, name: &str) -> Result<Placed, Failure> {
    let failure = |error| Failure::new(format!("cp {}", executable.display()), format!("{error}"));
    scratch.place(executable, name).map_err(failure)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{Placed, TestBinary, programs_in, tests_in};

    fn artifact(package: &str, source: &str, is_test: bool) -> Value {
        json!({
            "reason": "compiler-artifact",
            "manifest_path": format!("/r/{package}/Cargo.toml"),
            "target": { "name": "x", "kind": ["test"], "src_path": format!("/r/{package}/{source}") },
            "profile": { "test": is_test },
            "executable": "/r/target/debug/deps/x-0123",
        })
    }

    #[test]
    fn programs_are_taken_with_their_names_and_nothing_else() {
        let mut program = artifact("attacks", "src/bin/churn.rs", false);
        program["target"]["kind"] = json!(["bin"]);
        program["target"]["name"] = json!("churn");
        let messages = [artifact("attacks", "tests/ends.rs", true), program];
        let built = "/r/target/debug/deps/x-0123".into();
        assert_eq!(programs_in(&messages), [("churn".to_string(), built)]);
    }

    #[test]
    fn tests_of_the_named_packages_are_taken_and_nothing_else() {
        let mut library = artifact("crates/os", "src/lib.rs", true);
        library["executable"] = Value::Null;
        let messages = [
            artifact("crates/os", "tests/affinity.rs", true),
            artifact("crates/os", "examples/show.rs", false),
            artifact("crates/os-like", "tests/other.rs", true),
            library,
            json!({ "reason": "build-finished", "success": true }),
        ];
        let built = "/r/target/debug/deps/x-0123";
        let expected = TestBinary {
            name: "crates/os tests/affinity".into(),
            program: Placed {
                path: built.into(),
                built: built.into(),
            },
            folder: "/r/crates/os".into(),
        };
        assert_eq!(
            tests_in(
                &messages,
                &["crates/os", "crates/corelane"],
                Path::new("/r")
            ),
            [expected]
        );
    }
}
