//! Small text files under /proc and /sys, read whole and trimmed.
//!
//! Hosts differ in which of these files exist: virtual machines have no cpufreq, containers hide
//! debugfs. Every reader therefore answers with an `Option`, and the caller says what the absence
//! means.

use std::path::Path;

/// The trimmed content of `path`, or `None` when it cannot be read.
pub(crate) fn text(path: impl AsRef<Path>) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The content of `path` as a number, or `None` when it cannot be read or is none.
pub(crate) fn number<T: std::str::FromStr>(path: impl AsRef<Path>) -> Option<T> {
    text(path)?.parse().ok()
}

/// The value of the line `key:` of a /proc status file's `content`.
pub(crate) fn field<'a>(content: &'a str, key: &str) -> Option<&'a str> {
    content
        .lines()
        .find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
}
