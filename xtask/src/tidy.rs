//! Rules of the project that the compiler does not know.
//!
//! A rule that lives only in a document is broken by the first person in a hurry, and nobody
//! notices. Each rule here is one file with one function from the tree to findings; all findings
//! are printed, one a line, in the form `path:line: what, what to do`. Some observations are
//! remarks: printed, but no failure.

mod anchors;
mod edges;
mod length;
mod markdown;
mod no_std;
mod paths;
mod raw;
mod words;

use std::fmt;

use crate::workspace::{File, Tree, root};

/// A rule broken at a place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    /// What is wrong, then what to do about it.
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            message: message.into(),
        }
    }

    fn at(file: &File, line: usize, message: impl Into<String>) -> Self {
        Self::new(&file.path, line, message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Runs every rule over the workspace and prints what it finds.
pub(crate) fn run() -> Result<(), String> {
    let root = root();
    let tree = Tree::read(&root)?;
    let metadata = edges::metadata(&root)?;
    for remark in length::remarks(&tree) {
        println!("remark: {remark}");
    }
    let findings = check(&tree, &metadata);
    if findings.is_empty() {
        println!("tidy: {} files, nothing found", tree.files.len());
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    Err(format!("tidy: {} finding(s)", findings.len()))
}

fn check(tree: &Tree, metadata: &serde_json::Value) -> Vec<Finding> {
    let rules = [
        anchors::check,
        length::check,
        no_std::check,
        paths::check,
        raw::check,
        words::check,
    ];
    let mut findings = edges::check(tree, metadata);
    findings.extend(rules.iter().flat_map(|rule| rule(tree)));
    findings.sort();
    findings
}

/// The findings as they are printed, for tests that compare whole lists.
#[cfg(test)]
fn printed(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(Finding::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::{check, printed};
    use crate::workspace::Tree;

    #[test]
    fn findings_of_all_rules_come_sorted_by_place() {
        let mark = concat!("// FIX", "ME\n");
        let tree = Tree::of(&[
            ("b.rs", mark),
            ("a.md", "text\n[gone](gone.md)\n"),
            ("a.rs", mark),
        ]);
        let lines = printed(&check(&tree, &serde_json::json!({ "packages": [] })));
        let places: Vec<&str> = lines.iter().map(|line| &line[..6]).collect();
        assert_eq!(places, ["a.md:2", "a.rs:1", "b.rs:1"]);
    }
}
