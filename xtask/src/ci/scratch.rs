//! A folder for one run that every user may read.
//!
//! The unprivileged modes run executables as a user who may have no access to the checkout. They
//! are placed here instead, in the system's folder for temporary files, and removed at the end.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(super) struct Scratch(PathBuf);

/// An executable at the place where every user may run it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) path: PathBuf,
    /// Where cargo built it; it is still there after the run.
    pub(super) built: PathBuf,
}

impl Scratch {
    pub(super) fn new() -> Result<Self, String> {
        Self::below(
            &std::env::temp_dir(),
            &format!("corelane-ci-{}", std::process::id()),
        )
    }

    fn below(parent: &Path, name: &str) -> Result<Self, String> {
        let folder = parent.join(name);
        // `create_dir` fails on an existing folder, so nobody can have prepared this one for us.
        fs::create_dir(&folder)
            .and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o755)))
            .map_err(|error| {
                format!(
                    "ci: cannot make {}: {error}, remove it or set TMPDIR",
                    folder.display()
                )
            })?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes an executable readable for all under `name`, as a hard link where that works: test
    /// executables are large.
    pub(super) fn place(&self, executable: &Path, name: &str) -> io::Result<Placed> {
        let placed = self.0.join(name);
        if fs::hard_link(executable, &placed).is_err() {
            fs::copy(executable, &placed)?;
        }
        fs::set_permissions(&placed, Permissions::from_mode(0o755))?;
        Ok(Placed {
            path: placed,
            built: executable.into(),
        })
    }

    /// An empty file for the output of a process, and its path.
    pub(super) fn output(&self, name: &str) -> io::Result<(File, PathBuf)> {
        let path = self.0.join(name);
        Ok((File::create(&path)?, path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("ci: cannot remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::Scratch;

    /// A folder of its own for each test, named after it.
    pub(crate) fn scratch(test: &str) -> Scratch {
        Scratch::below(
            &std::env::temp_dir(),
            &format!("corelane-xtask-{test}-{}", std::process::id()),
        )
        .unwrap()
    }

    #[test]
    fn a_placed_file_can_be_run_by_anyone_and_goes_with_the_folder() {
        let folder = scratch("placed");
        let (_, source) = folder.output("source").unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o600)).unwrap();
        let placed = folder.place(&source, "placed").unwrap().path;
        assert_eq!(
            fs::metadata(&placed).unwrap().permissions().mode() & 0o777,
            0o755
        );
        drop(folder);
        assert!(!placed.exists());
    }

    #[test]
    fn a_folder_that_somebody_prepared_is_refused() {
        let _first = scratch("prepared");
        let name = format!("corelane-xtask-prepared-{}", std::process::id());
        assert!(Scratch::below(&std::env::temp_dir(), &name).is_err());
    }
}
