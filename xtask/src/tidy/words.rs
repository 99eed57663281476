//! Marks of unfinished work.
//!
//! A mark in the source is a promise without an owner: it survives for years, and the reader cannot
//! tell whether the code below it is right. Unfinished work belongs in an issue or in a failing
//! test. The marks are spelt in two halves here, so that this file does not find itself.

use super::Finding;
use crate::workspace::Tree;

const MACROS: &[&str] = &[concat!("to", "do!("), concat!("unimple", "mented!(")];
const WORDS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        for (number, line) in file.lines() {
            if let Some(mark) = mark_in(line) {
                let message = format!("`{mark}` marks unfinished work, finish it or open an issue");
                findings.push(Finding::at(file, number, message));
            }
        }
    }
    findings
}

fn mark_in(line: &str) -> Option<&'static str> {
    let a_macro = MACROS.iter().find(|needle| line.contains(**needle));
    a_macro
        .or_else(|| WORDS.iter().find(|word| has_word(line, word)))
        .copied()
}

/// Whether `line` holds `word` with no letter, digit or underscore at either side.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(inner) && !line[start + word.len()..].starts_with(inner)
    })
}

#[cfg(test)]
mod tests {
    use super::{MACROS, WORDS, check, has_word};
    use crate::tidy::printed;
    use crate::workspace::Tree;

    #[test]
    fn each_mark_is_found_at_its_line() {
        for mark in MACROS.iter().chain(WORDS) {
            let text = format!("fn f() {{\n    // {mark}: later\n}}\n");
            let expected =
                format!("a.rs:2: `{mark}` marks unfinished work, finish it or open an issue");
            assert_eq!(printed(&check(&Tree::of(&[("a.rs", &text)]))), [expected]);
        }
    }

    #[test]
    fn a_mark_inside_another_word_is_no_mark() {
        let text = format!("let {}S = 1; // a {}ist\n", WORDS[0], WORDS[0]);
        assert_eq!(check(&Tree::of(&[("a.rs", &text)])), []);
    }

    #[test]
    fn prose_outside_the_source_may_name_the_marks() {
        assert_eq!(check(&Tree::of(&[("style.md", WORDS[0])])), []);
    }

    #[test]
    fn a_word_ends_where_its_letters_end() {
        assert!(has_word("unsafe { x }", "unsafe") && has_word("(unsafe)", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe") && !has_word("is_unsafe", "unsafe"));
    }
}
