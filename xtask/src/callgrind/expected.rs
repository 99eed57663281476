//! The list of ceilings: `probe size ceiling` on each line; `#` begins a comment.

/// One operation and how many instructions it may take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) probe: String,
    /// CPUs or tasks; what it means is the probe's.
    pub(super) size: usize,
    pub(super) ceiling: u64,
}

pub(super) fn parse(list: &str) -> Result<Vec<Expected>, String> {
    let lines = list.lines().enumerate();
    let text = |line: &str| {
        line.split('#')
            .next()
            .unwrap_or_default()
            .trim()
            .to_string()
    };
    lines
        .map(|(index, line)| (index + 1, text(line)))
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            row(&line).ok_or_else(|| format!("line {number} is not `probe size ceiling`: {line}"))
        })
        .collect()
}

fn row(line: &str) -> Option<Expected> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        [probe, size, ceiling] => Some(Expected {
            probe: probe.into(),
            size: size.parse().ok()?,
            ceiling: ceiling.parse().ok()?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, parse};

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        let (probe, size, ceiling) = ("a".into(), 64, 9);
        assert_eq!(
            parse("# title\n\na 64 9 # counted: 8\n"),
            Ok(vec![Expected {
                probe,
                size,
                ceiling
            }])
        );
    }

    #[test]
    fn a_line_that_is_no_row_is_named() {
        assert_eq!(
            parse("a 64 9\nb many 9").unwrap_err(),
            "line 2 is not `probe size ceiling`: b many 9"
        );
    }
}
