//! The probes, built as they are released.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::workspace::{cargo, root};

const PACKAGE: &str = "corelane-probes";

/// Builds the program and says where it is: cargo's answer, not a guess.
pub(super) fn probes() -> Result<PathBuf, String> {
    let mut command = Command::new(cargo());
    command.args(["build", "--release", "--package", PACKAGE]);
    command.arg("--message-format=json-render-diagnostics");
    let output = command
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run {}: {error}", cargo()))?;
    if !output.status.success() {
        return Err(format!("cargo cannot build {PACKAGE}: {}", output.status));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == PACKAGE)
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    executable.ok_or_else(|| format!("cargo built no program named {PACKAGE}"))
}
