//! How long a file may grow.
//!
//! Nobody decides to write a file of four thousand lines; each change adds twenty to the file where
//! the neighbours are. A limit makes the split somebody's task while it is still easy. It is
//! counted with tests and docs, because a reader scrolls past them, too.

use super::Finding;
use crate::workspace::Tree;

const LINES_MAX: usize = 500;
const LINES_COMFORTABLE: usize = 300;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let too_long = long_files(tree).filter(|&(_, lines)| lines > LINES_MAX);
    too_long
        .map(|(path, lines)| {
            let message = format!(
                "{lines} lines, more than {LINES_MAX}, split it into files of one idea each"
            );
            Finding::new(path, LINES_MAX + 1, message)
        })
        .collect()
}

/// Files that are allowed but no longer comfortable, as printable lines.
pub(super) fn remarks(tree: &Tree) -> Vec<String> {
    let long = long_files(tree).filter(|&(_, lines)| lines <= LINES_MAX);
    long.map(|(path, lines)| format!("{path} has {lines} lines (comfortable: {LINES_COMFORTABLE})"))
        .collect()
}

fn long_files(tree: &Tree) -> impl Iterator<Item = (&str, usize)> {
    let sources = tree
        .files
        .iter()
        .filter(|file| file.is_rust() && file.path.starts_with("crates/"));
    sources
        .map(|file| (file.path.as_str(), file.text.lines().count()))
        .filter(|&(_, lines)| lines > LINES_COMFORTABLE)
}

#[cfg(test)]
mod tests {
    use super::{check, remarks};
    use crate::tidy::printed;
    use crate::workspace::Tree;

    fn tree(path: &str, lines: usize) -> Tree {
        Tree::of(&[(path, &"\n".repeat(lines))])
    }

    #[test]
    fn a_file_over_the_limit_fails_without_a_remark() {
        let tree = tree("crates/a/src/b.rs", 501);
        assert_eq!(
            printed(&check(&tree)),
            [
                "crates/a/src/b.rs:501: 501 lines, more than 500, split it into files of one idea each"
            ]
        );
        assert_eq!(remarks(&tree), [""; 0]);
    }

    #[test]
    fn a_file_between_the_limits_is_a_remark_only() {
        for lines in [301, 500] {
            let tree = tree("crates/a/src/b.rs", lines);
            assert_eq!(check(&tree), []);
            assert_eq!(
                remarks(&tree),
                [format!(
                    "crates/a/src/b.rs has {lines} lines (comfortable: 300)"
                )]
            );
        }
    }

    #[test]
    fn short_files_and_files_elsewhere_are_silent() {
        for tree in [
            tree("crates/a/src/b.rs", 300),
            tree("xtask/src/b.rs", 900),
            tree("crates/a/trace.json", 900),
        ] {
            assert_eq!(check(&tree), []);
            assert_eq!(remarks(&tree), [""; 0]);
        }
    }
}
