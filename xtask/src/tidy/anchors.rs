//! Links between the documents, and from the source's docs to them, lead somewhere.
//!
//! A protocol page beside the code is read as long as the code points at it. Rename a heading and
//! the pointer leads nowhere; rustdoc does not look at it, and no reader reports it. Checked are
//! relative links in Markdown files, and links to Markdown files in `//!` and `///` docs: the file
//! exists, and so does the anchor. The anchor of a Rust file is the name of a function; and where the text
//! of a link is an identifier and its target a Rust file, that file has a function of this name, for
//! pages that say which test shows a claim. Web addresses are not checked, because a check must not
//! depend on the network.
//!
//! A page below `crates/` also names what it speaks of: `Type::function`, and tests by their whole name. A
//! name that is gone is as misleading as a dead link, so each must still be declared somewhere.

use std::collections::BTreeSet;

use super::Finding;
use super::markdown::{anchors, identifier_links, link_targets, prose};
use crate::workspace::{File, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (number, target) in links(file) {
            if let Some(message) = broken(tree, file, &target) {
                findings.push(Finding::at(file, number, message));
            }
        }
        findings.extend(missing_functions(tree, file));
    }
    findings.extend(lost_names(tree));
    findings
}

/// Links of a page that name a function which their Rust file does not have.
fn missing_functions<'a>(tree: &'a Tree, page: &'a File) -> impl Iterator<Item = Finding> + 'a {
    let is_page = page.path.ends_with(".md");
    let lines = prose(page.lines()).filter(move |_| is_page);
    lines.flat_map(move |(number, line)| {
        let missing = identifier_links(line).into_iter().filter(|(name, target)| {
            let path = resolve(&page.path, target);
            let source = path.and_then(|path| tree.file(&path).filter(|file| file.is_rust()));
            source.is_some_and(|file| !file.text.contains(&format!("fn {name}(")))
        });
        let say = move |(name, target): (&str, &str)| {
            let message = format!("`{target}` has no function `{name}`, correct the name");
            Finding::at(page, number, message)
        };
        missing.map(say).collect::<Vec<_>>()
    })
}

/// Names on the pages beside the code that no source declares.
fn lost_names(tree: &Tree) -> Vec<Finding> {
    let sources = tree.files.iter().filter(|file| file.is_rust());
    let words: BTreeSet<&str> = sources
        .flat_map(|file| file.lines())
        .flat_map(|(_, line)| line.split(|c: char| !is_of_a_name(c)))
        .collect();
    let is_page = |file: &&File| file.path.starts_with("crates/") && file.path.ends_with(".md");
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(is_page) {
        for (number, line) in prose(file.lines()) {
            for name in line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|span| is_name(span))
            {
                if name.split("::").any(|part| !words.contains(part)) {
                    let message = format!("no source declares `{name}`, correct it");
                    findings.push(Finding::at(file, number, message));
                }
            }
        }
    }
    findings
}

/// A path such as `Type::function`, or a name of several words such as `a_test`.
fn is_name(span: &str) -> bool {
    let mut parts = span.split("::");
    let well_formed = parts.all(|part| !part.is_empty() && part.chars().all(is_of_a_name));
    well_formed && (span.contains("::") || span.contains('_'))
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The links of a file that this rule looks at, with their lines.
fn links(file: &File) -> Vec<(usize, String)> {
    let targets = |(number, line): (usize, &str)| {
        link_targets(line)
            .into_iter()
            .map(move |target| (number, target))
            .collect::<Vec<_>>()
    };
    let near =
        |(_, target): &(usize, String)| !target.contains("://") && !target.starts_with("mailto:");
    if file.path.ends_with(".md") {
        return prose(file.lines()).flat_map(targets).filter(near).collect();
    }
    let to_a_page = |(_, target): &(usize, String)| {
        target
            .split('#')
            .next()
            .is_some_and(|path| path.ends_with(".md"))
    };
    prose(docs(file))
        .flat_map(targets)
        .filter(near)
        .filter(to_a_page)
        .collect()
}

/// The text of the docs in a source file; nothing for other files.
fn docs(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let doc = |line: &'_ str| {
        ["//!", "///"]
            .iter()
            .any(|mark| line.trim_start().starts_with(mark))
    };
    file.lines()
        .filter(move |(_, line)| file.is_rust() && doc(line))
        .map(|(number, line)| (number, &line.trim_start()[3..]))
}

fn broken(tree: &Tree, from: &File, target: &str) -> Option<String> {
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let Some(path) = resolve(&from.path, path) else {
        return Some(format!(
            "the link `{target}` leaves the repository, link within it"
        ));
    };
    if !tree.has(&path) {
        return Some(format!(
            "the link `{target}` leads to no file ({path}), correct it"
        ));
    }
    let anchor = anchor.filter(|anchor| !anchor.is_empty())?;
    let page = tree.file(&path)?;
    if page.is_rust() {
        let declared = format!("fn {anchor}(");
        return (!page.text.contains(&declared))
            .then(|| format!("the link `{target}` names no function of {path}, correct it"));
    }
    if !page.path.ends_with(".md") {
        return None;
    }
    let known = anchors(page.lines());
    (!known.iter().any(|known| known == anchor)).then(|| {
        format!(
            "the link `{target}` leads to no heading of {path}, correct it (there are: {})",
            known.join(", ")
        )
    })
}

/// The path that a link in the file `from` means, relative to the root; `None` above the root.
fn resolve(from: &str, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(from.to_string());
    }
    let mut parts: Vec<&str> = if path.starts_with('/') {
        Vec::new()
    } else {
        from.split('/').collect()
    };
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::printed;
    use crate::workspace::Tree;

    const PAGE: (&str, &str) = (
        "docs/balance.md",
        "# Push\nSee [here](#push).\n## The losing race\n",
    );

    fn findings(path: &str, text: &str) -> Vec<String> {
        printed(&check(&Tree::of(&[PAGE, (path, text)])))
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "[a](docs/balance.md#the-losing-race) [b](docs) [c](/docs/balance.md) [d](https://x.org/y.md#z)";
        assert_eq!(findings("README.md", text), [""; 0]);
        assert_eq!(
            findings(
                "docs/deep/page.md",
                "[up](../balance.md)\n```\n[code](gone.md)\n```\n"
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_link_to_a_missing_file_fails() {
        assert_eq!(
            findings("docs/b.md", "\n[a](gone.md)"),
            ["docs/b.md:2: the link `gone.md` leads to no file (docs/gone.md), correct it"]
        );
    }

    #[test]
    fn a_link_to_a_missing_heading_fails_and_names_those_that_exist() {
        assert_eq!(
            findings("README.md", "[a](docs/balance.md#pull)"),
            [
                "README.md:1: the link `docs/balance.md#pull` leads to no heading of docs/balance.md, \
              correct it (there are: push, the-losing-race)"
            ]
        );
        assert_eq!(findings("README.md", "# One\n[a](#two)").len(), 1);
    }

    #[test]
    fn the_anchor_of_a_rust_file_is_a_function() {
        let test = ("tests/a.rs", "#[test]\nfn it_holds() {}\n");
        let findings = |text| printed(&check(&Tree::of(&[test, ("README.md", text)])));
        assert_eq!(findings("[shown](tests/a.rs#it_holds)"), [""; 0]);
        assert_eq!(
            findings("[shown](tests/a.rs#it_hold)"),
            [
                "README.md:1: the link `tests/a.rs#it_hold` names no function of tests/a.rs, correct it"
            ]
        );
    }

    #[test]
    fn a_link_out_of_the_repository_fails() {
        assert_eq!(
            findings("README.md", "[a](../secret.md)"),
            ["README.md:1: the link `../secret.md` leaves the repository, link within it"]
        );
    }

    #[test]
    fn a_function_that_a_link_names_exists() {
        let source = ("tests/t.rs", "#[test]\nfn a_fact() {}\n");
        let text = "| one | [`a_fact`](../tests/t.rs) |\n| two | [`another`](../tests/t.rs) |\n";
        let tree = Tree::of(&[source, ("docs/b.md", text)]);
        assert_eq!(
            printed(&check(&tree)),
            ["docs/b.md:2: `../tests/t.rs` has no function `another`, correct the name"]
        );
    }

    #[test]
    fn a_name_on_a_page_beside_the_code_must_be_in_the_source() {
        let page =
            "# A\n`Inbox::take` and `a_fact`, but not `lost_fact`\n`fn x(a_b)` `Inbox::gone`\n";
        let source = "impl Inbox { fn take() {} }\nfn a_fact() {}\n";
        let tree = Tree::of(&[("crates/a/a.md", page), ("crates/a/src/lib.rs", source)]);
        assert_eq!(
            printed(&check(&tree)),
            [
                "crates/a/a.md:2: no source declares `lost_fact`, correct it",
                "crates/a/a.md:3: no source declares `Inbox::gone`, correct it"
            ]
        );
    }

    #[test]
    fn docs_in_the_source_are_checked_where_they_link_to_a_page() {
        let good = "//! See [the proof](../docs/balance.md#push) and [`Vec`](std::vec::Vec).\n";
        assert_eq!(findings("src/lib.rs", good), [""; 0]);
        let bad = "    /// See [the proof](../docs/balance.md#gone).\nlet a = \"[x](gone.md)\";\n";
        assert_eq!(findings("src/lib.rs", bad).len(), 1);
    }
}
