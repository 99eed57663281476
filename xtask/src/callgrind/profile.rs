//! What callgrind counted: the sum, and the functions that executed any of it.
//!
//! A profile lists lines `position cost` under `fn=`; the line after `calls=` is the cost of the call,
//! counted again in the function that was called, and belongs to nobody here.

use std::collections::BTreeMap;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) instructions: u64,
    /// The instructions of each function itself, for those that executed any.
    pub(super) functions: BTreeMap<String, u64>,
}

/// Reads an uncompressed profile; `None` if it has no sum.
pub(super) fn parse(text: &str) -> Option<Profile> {
    let mut functions = BTreeMap::new();
    let (mut sum, mut function, mut is_call) = (None, String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = name.to_string();
        } else if let Some(count) = line.strip_prefix("summary:") {
            sum = count.trim().parse().ok();
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            let cost: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            if !is_call && cost > 0 {
                *functions.entry(function.clone()).or_default() += cost;
            }
            is_call = false;
        }
    }
    Some(Profile {
        instructions: sum?,
        functions,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Profile, parse};

    #[test]
    fn the_cost_of_a_call_belongs_to_the_function_that_was_called() {
        let text = "version: 1\nsummary: 30\n\nfn=main\ncfn=probe\ncalls=2 5\n9 30\n\nfl=a.rs\nfn=probe\n5 10\n\
                    fi=b.rs\n7 10\ncfn=part\ncalls=2 1\n8 10\n\nfn=part\n1 10\n";
        let functions = BTreeMap::from([("probe".into(), 20), ("part".into(), 10)]);
        let instructions = 30;
        assert_eq!(
            parse(text),
            Some(Profile {
                instructions,
                functions
            })
        );
    }

    #[test]
    fn a_file_without_a_sum_is_no_profile() {
        assert_eq!(parse("fn=main\n1 2\n"), None);
    }
}
