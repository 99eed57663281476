//! Files with `unsafe` say so at their top.
//!
//! A comment at each block explains the block. It does not tell a reviewer which few files carry
//! the risk, nor which tests stand for it. So a file that contains the keyword opens with a page
//! that says what is *raw* in it, or has a heading `# Unsafe`.

use super::Finding;
use super::words::has_word;
use crate::workspace::{File, Tree};

const MESSAGE: &str = "`unsafe` in a file whose `//!` page does not say what is raw and what tests it, \
                       write that there";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let product = |file: &&File| {
        let mut parts = file.path.split('/');
        file.is_rust() && parts.next() == Some("crates") && parts.nth(1) == Some("src")
    };
    let silent = tree
        .files
        .iter()
        .filter(product)
        .filter(|file| !says_what_is_raw(file));
    silent
        .filter_map(|file| {
            let line = first_unsafe(file)?;
            Some(Finding::at(file, line, MESSAGE))
        })
        .collect()
}

fn says_what_is_raw(file: &File) -> bool {
    let page = file
        .lines()
        .filter_map(|(_, line)| line.trim_start().strip_prefix("//!"));
    page.map(str::trim)
        .any(|line| has_word(&line.to_lowercase(), "raw") || is_heading(line))
}

fn is_heading(line: &str) -> bool {
    let title = line.trim_start_matches('#');
    title.len() < line.len() && title.trim() == "Unsafe"
}

fn first_unsafe(file: &File) -> Option<usize> {
    let code = |line: &str| {
        line.split("//")
            .next()
            .is_some_and(|code| has_word(code, "unsafe"))
    };
    file.lines()
        .find(|(_, line)| code(line))
        .map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::printed;
    use crate::workspace::Tree;

    fn findings(text: &str) -> Vec<String> {
        printed(&check(&Tree::of(&[("crates/a/src/b.rs", text)])))
    }

    #[test]
    fn an_unannounced_block_fails_at_its_line() {
        let findings = findings("//! Draws a line.\nfn f() {\n    unsafe { g() }\n}\n");
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].starts_with("crates/a/src/b.rs:3: `unsafe` in a file whose"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_page_that_says_what_is_raw_passes() {
        assert_eq!(
            findings("//! Raw here: one pointer.\nunsafe fn f() {}\n"),
            [""; 0]
        );
        assert_eq!(
            findings("//! A page.\n//! # Unsafe\n//! One pointer.\nunsafe fn f() {}\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_word_that_only_contains_raw_does_not_pass() {
        assert_eq!(
            findings("//! Draws a strawberry.\nunsafe fn f() {}\n").len(),
            1
        );
    }

    #[test]
    fn comments_and_lint_names_are_not_the_keyword() {
        assert_eq!(
            findings("//! A page.\n#![forbid(unsafe_code)]\n// unsafe in words\n"),
            [""; 0]
        );
    }

    #[test]
    fn tests_folders_are_free() {
        assert_eq!(
            check(&Tree::of(&[("crates/a/tests/b.rs", "unsafe fn f() {}\n")])),
            []
        );
    }
}
