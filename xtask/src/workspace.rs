//! The workspace on disk: where it is, and the text of its files.
//!
//! The rules of `tidy` are functions of a [`Tree`], a list of paths with their text, so that their
//! tests need no disk. A tree holds what git tracks and what it would track after `git add`, so
//! that a new file is checked before its first commit. Without git (a source archive) it holds
//! every file outside `target`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// One text file.
pub(crate) struct File {
    /// Relative to the root of the workspace, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines with their numbers, counted from one.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }
}

/// The text files of the workspace, sorted by path.
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads the tree under `root`. Files that are not UTF-8 hold nothing that a rule could read
    /// and are left out.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let mut paths = match paths_known_to_git(root) {
            Some(paths) => paths,
            None => {
                println!("tidy: no git here, checking every file outside target/");
                let mut paths = Vec::new();
                walk(root, "", &mut paths)
                    .map_err(|error| format!("tidy: cannot list the workspace: {error}"))?;
                paths
            }
        };
        paths.sort();
        paths.dedup();
        let read = |path: String| {
            let text = String::from_utf8(fs::read(root.join(&path)).ok()?).ok()?;
            Some(File { path, text })
        };
        Ok(Self {
            files: paths.into_iter().filter_map(read).collect(),
        })
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |&(path, text): &(&str, &str)| File {
            path: path.into(),
            text: text.into(),
        };
        Self {
            files: files.iter().map(file).collect(),
        }
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether `path` is a file of the tree, or a folder that holds one.
    pub(crate) fn has(&self, path: &str) -> bool {
        let inside = |file: &File| {
            file.path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path.is_empty() || self.files.iter().any(inside)
    }
}

/// The root of the workspace: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    // cargo sets the variable for `cargo run`; a checkout that was moved since the build is still
    // found.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = here.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.parent()
        .expect("the crate xtask lies below the root of the workspace")
        .to_path_buf()
}

/// The cargo that runs us, so that every step uses one toolchain.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

fn paths_known_to_git(root: &Path) -> Option<Vec<String>> {
    // In a container the checkout often belongs to another user; listing its files is harmless all
    // the same.
    let output = Command::new("git")
        .args([
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .ok()?;
    let listing = String::from_utf8(output.stdout).ok()?;
    let paths = listing.split_terminator('\0').map(String::from).collect();
    output.status.success().then_some(paths)
}

fn walk(root: &Path, folder: &str, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        match entry.file_type()?.is_dir() {
            true if name == "target" || name == ".git" => {}
            true => walk(root, &path, paths)?,
            false => paths.push(path),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Tree, root};

    #[test]
    fn a_folder_exists_when_a_file_lies_in_it() {
        let tree = Tree::of(&[("docs/sub/page.md", "")]);
        assert!(tree.has("docs") && tree.has("docs/sub") && tree.has("docs/sub/page.md"));
        assert!(!tree.has("doc") && !tree.has("docs/sub/page"));
    }

    #[test]
    fn the_tree_on_disk_holds_this_file() {
        let tree = Tree::read(&root()).unwrap();
        assert!(
            tree.file("xtask/src/workspace.rs")
                .unwrap()
                .text
                .contains("fn the_tree_on_disk")
        );
        assert!(
            tree.files
                .iter()
                .all(|file| !file.path.starts_with("target/"))
        );
    }
}
