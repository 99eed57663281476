//! No path of somebody's machine.
//!
//! An absolute path below a home or a build folder works for the one who wrote it and for nobody
//! else, and tells the world how that machine is laid out. The needles are spelt in two halves, so
//! that this file does not find itself.

use super::Finding;
use crate::workspace::Tree;

const NEEDLES: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tmp/", "target"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path != "Cargo.lock") {
        for (number, line) in file.lines() {
            if let Some(needle) = NEEDLES.iter().find(|needle| begins_a_path(line, needle)) {
                let message = format!(
                    "a path of one machine (`{needle}`), make it relative or take it from the environment"
                );
                findings.push(Finding::at(file, number, message));
            }
        }
    }
    findings
}

/// Whether `needle` stands where an absolute path begins, and not in the middle of a relative one
/// or of a web address.
fn begins_a_path(line: &str, needle: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || "._-~".contains(c);
    line.match_indices(needle)
        .any(|(start, _)| !line[..start].ends_with(continues))
}

#[cfg(test)]
mod tests {
    use super::{NEEDLES, check};
    use crate::tidy::printed;
    use crate::workspace::Tree;

    #[test]
    fn each_needle_is_found_in_any_kind_of_file() {
        for needle in NEEDLES {
            let text = format!("first\nsee `{needle}x`\n");
            let expected = format!(
                "a.toml:2: a path of one machine (`{needle}`), make it relative or take it from the environment"
            );
            assert_eq!(printed(&check(&Tree::of(&[("a.toml", &text)]))), [expected]);
        }
    }

    #[test]
    fn relative_paths_and_web_addresses_pass() {
        let text = NEEDLES
            .iter()
            .map(|needle| format!("docs{needle}x https://a.org{needle}x\n"))
            .collect::<String>();
        assert_eq!(check(&Tree::of(&[("a.md", &text)])), []);
    }

    #[test]
    fn system_paths_pass() {
        assert_eq!(
            check(&Tree::of(&[(
                "a.rs",
                "\"/sys/devices\" \"/proc/self\" \"/tmp/x\"\n"
            )])),
            []
        );
    }

    #[test]
    fn the_lock_file_is_not_ours_to_write() {
        assert_eq!(check(&Tree::of(&[("Cargo.lock", NEEDLES[0])])), []);
    }
}
