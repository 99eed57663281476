//! What the program prints, looked at from outside.
//!
//! Unit tests do not notice that the program prints a log line in front of its JSON, ignores a
//! seed, or ends with 0 after nonsense. Those who script it notice first. Each check here runs the
//! program as they would and looks at the exit code and the output.

use serde_json::Value;

use super::watched::{Failure, Kept};

/// What a run of the program must show.
#[derive(Debug)]
pub(super) enum Expect {
    /// Success; the output is for people.
    Success,
    /// Success, and standard output is one JSON value that is not empty.
    Json,
    /// As `Json`, and the value has this key with something in it.
    Filled(&'static str),
    /// As `Filled`, and a second run gives the same value there, while a run with the arguments
    /// `unlike` gives another one.
    Repeats {
        key: &'static str,
        unlike: &'static [&'static str],
    },
    /// Exit code 2, and a message on standard error only.
    UsageError,
}

/// Runs the program by `launch` as often as the expectation needs.
pub(super) fn check(
    launch: impl Fn(&[&str]) -> Result<Kept, Failure>,
    arguments: &[&str],
    expect: &Expect,
) -> Result<(), Failure> {
    let kept = launch(arguments)?;
    match expect {
        Expect::Success => kept.succeeded().map(drop),
        Expect::Json => json(&kept).map(drop),
        Expect::Filled(key) => value_at(&kept, key).map(drop),
        Expect::Repeats { key, unlike } => repeats(launch, arguments, unlike, key, &kept),
        Expect::UsageError => usage_error(&kept),
    }
}

fn repeats(
    launch: impl Fn(&[&str]) -> Result<Kept, Failure>,
    arguments: &[&str],
    unlike: &[&str],
    key: &str,
    first: &Kept,
) -> Result<(), Failure> {
    let value = value_at(first, key)?;
    let again = launch(arguments)?;
    if value_at(&again, key)? != value {
        return Err(again.failure(&format!(
            "the same arguments gave another `{key}` than {value} before"
        )));
    }
    let other = launch(unlike)?;
    if value_at(&other, key)? == value {
        return Err(other.failure(&format!(
            "other arguments gave the same `{key}`, {value}: it does not depend on them"
        )));
    }
    Ok(())
}

fn json(kept: &Kept) -> Result<Value, Failure> {
    if !kept.status.success() {
        return Err(kept.failure(&format!("it ended with {}", kept.status)));
    }
    let value = serde_json::from_str(&kept.stdout).map_err(|error| {
        kept.failure(&format!("standard output is not one JSON value: {error}"))
    })?;
    if is_filled(&value) {
        Ok(value)
    } else {
        Err(kept.failure("the JSON is empty"))
    }
}

fn value_at(kept: &Kept, key: &str) -> Result<Value, Failure> {
    let value = json(kept)?.get(key).cloned().unwrap_or_default();
    if is_filled(&value) {
        Ok(value)
    } else {
        Err(kept.failure(&format!("the JSON has nothing at `{key}`")))
    }
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn usage_error(kept: &Kept) -> Result<(), Failure> {
    match kept.status.code() {
        Some(2) if kept.stdout.is_empty() => Ok(()),
        Some(2) => Err(kept.failure(
            "a usage error belongs on standard error, this one printed to standard output",
        )),
        _ => Err(kept.failure(&format!(
            "bad arguments must end with code 2, it ended with {}",
            kept.status
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Expect, check};
    use crate::ci::scratch::{Scratch, tests::scratch};
    use crate::ci::watched::{Deadline, Failure, Kept, kept};

    /// A program whose arguments are a shell script.
    fn launch(folder: &Scratch) -> impl Fn(&[&str]) -> Result<Kept, Failure> {
        |arguments| {
            let mut command = Command::new("sh");
            command.arg("-c").args(arguments);
            kept(
                &mut command,
                folder,
                Deadline::after(Duration::from_secs(60), "the limit of the test"),
            )
        }
    }

    fn complaint(folder: &Scratch, script: &str, expect: &Expect) -> String {
        check(launch(folder), &[script], expect)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn json_alone_on_standard_output_passes() {
        let folder = scratch("json");
        check(
            launch(&folder),
            &["echo '{\"a\": 1}'; echo note >&2"],
            &Expect::Json,
        )
        .unwrap();
        check(
            launch(&folder),
            &["echo '{\"list\": [1]}'"],
            &Expect::Filled("list"),
        )
        .unwrap();
    }

    #[test]
    fn a_success_may_print_what_it_likes_and_a_failure_is_one() {
        let folder = scratch("success");
        check(launch(&folder), &["echo fine"], &Expect::Success).unwrap();
        assert!(
            complaint(&folder, "echo fine; exit 1", &Expect::Success).contains("exit status: 1")
        );
    }

    #[test]
    fn a_log_line_before_the_json_fails() {
        let folder = scratch("log");
        assert!(
            complaint(&folder, "echo starting; echo '{\"a\": 1}'", &Expect::Json)
                .contains("not one JSON value")
        );
    }

    #[test]
    fn json_with_a_bad_exit_code_or_with_nothing_in_it_fails() {
        let folder = scratch("empty");
        assert!(
            complaint(&folder, "echo '{\"a\": 1}'; exit 1", &Expect::Json)
                .contains("exit status: 1")
        );
        assert!(complaint(&folder, "echo '{}'", &Expect::Json).contains("the JSON is empty"));
        assert!(
            complaint(&folder, "echo '{\"list\": []}'", &Expect::Filled("list"))
                .contains("nothing at `list`")
        );
        assert!(
            complaint(&folder, "echo '[1]'", &Expect::Filled("list")).contains("nothing at `list`")
        );
    }

    #[test]
    fn a_value_that_repeats_and_depends_on_the_arguments_passes() {
        let folder = scratch("repeats");
        let expect = Expect::Repeats {
            key: "hash",
            unlike: &["echo '{\"hash\": \"b\"}'"],
        };
        check(launch(&folder), &["echo '{\"hash\": \"a\"}'"], &expect).unwrap();
    }

    #[test]
    fn a_value_that_changes_between_equal_runs_fails() {
        let folder = scratch("changes");
        let expect = Expect::Repeats {
            key: "hash",
            unlike: &["echo '{\"hash\": 0}'"],
        };
        assert!(
            complaint(&folder, "echo \"{\\\"hash\\\": $$}\"", &expect)
                .contains("the same arguments gave another")
        );
    }

    #[test]
    fn a_value_that_ignores_the_arguments_fails() {
        let folder = scratch("ignores");
        let expect = Expect::Repeats {
            key: "hash",
            unlike: &["echo '{\"hash\": 7}'"],
        };
        assert!(
            complaint(&folder, "echo '{\"hash\": 7}'", &expect).contains("does not depend on them")
        );
    }

    #[test]
    fn a_usage_error_is_code_two_on_standard_error() {
        let folder = scratch("usage");
        check(
            launch(&folder),
            &["echo usage >&2; exit 2"],
            &Expect::UsageError,
        )
        .unwrap();
        assert!(complaint(&folder, "exit 1", &Expect::UsageError).contains("must end with code 2"));
        assert!(complaint(&folder, "exit 0", &Expect::UsageError).contains("must end with code 2"));
        assert!(
            complaint(&folder, "echo usage; exit 2", &Expect::UsageError)
                .contains("standard output")
        );
    }
}
