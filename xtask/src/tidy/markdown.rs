//! The little of Markdown that the link check needs: links, headings and their anchors.
//!
//! Code, fenced or between backticks, is not prose: a link in it is an example, and a `#` in it is
//! a comment.

/// The prose of a page, line by line with numbers from one; lines of fenced code are left out.
pub(super) fn prose<'a>(
    lines: impl Iterator<Item = (usize, &'a str)>,
) -> impl Iterator<Item = (usize, &'a str)> {
    let mut fence = None;
    lines.filter(move |(_, line)| {
        let line = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| line.starts_with(mark));
        let inside = fence.is_some();
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(close)) if open == close => fence = None,
            _ => {}
        }
        !inside && mark.is_none()
    })
}

/// The targets of the links in a line of prose: `[text](target)` and `[name]: target`.
pub(super) fn link_targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut targets: Vec<String> = line
        .split("](")
        .skip(1)
        .filter_map(|rest| target(rest.split(')').next()?))
        .collect();
    if line.trim_start().starts_with('[')
        && let Some((_, rest)) = line.split_once("]: ")
    {
        targets.extend(target(rest));
    }
    targets
}

/// The links of a line whose text is one identifier in backticks: the identifier and the target.
pub(super) fn identifier_links(line: &str) -> Vec<(&str, &str)> {
    let is_identifier = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    line.split("[`")
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once("`](")?;
            Some((name, rest.split(')').next()?))
        })
        .filter(|(name, _)| is_identifier(name))
        .collect()
}

/// The target without its angle brackets and without a title.
fn target(text: &str) -> Option<String> {
    let text = text.trim();
    let bare = match text.strip_prefix('<') {
        Some(rest) => rest.split('>').next()?,
        None => text.split_whitespace().next()?,
    };
    (!bare.is_empty()).then(|| bare.to_string())
}

/// Blanks what stands between backticks.
fn without_code(line: &str) -> String {
    if line.matches('`').count() % 2 == 1 {
        return line.to_string();
    }
    line.split('`').step_by(2).collect::<Vec<_>>().join("` `")
}

/// The anchors that a page offers: those that GitHub makes of its headings, and those set by hand
/// (`<a id="x">`).
pub(super) fn anchors<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose(lines) {
        if let Some(title) = heading(line) {
            let slug = slug(title);
            let numbered = (1..).map(|n| format!("{slug}-{n}"));
            let free = std::iter::once(slug.clone())
                .chain(numbered)
                .find(|anchor| !anchors.contains(anchor));
            anchors.extend(free);
        }
        for attribute in ["id=\"", "name=\""] {
            anchors.extend(
                line.split(attribute)
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next())
                    .map(String::from),
            );
        }
    }
    anchors
}

fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    let is_heading = (1..=6).contains(&level) && title.starts_with(' ');
    is_heading.then(|| title.trim().trim_end_matches('#').trim_end())
}

/// GitHub's rule: lower case; letters, digits, `-` and `_` stay, a space becomes `-`, the rest
/// goes. Of a link, the text stays.
fn slug(title: &str) -> String {
    let keep = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    };
    link_texts(title)
        .to_lowercase()
        .chars()
        .filter_map(keep)
        .collect()
}

fn link_texts(title: &str) -> String {
    let mut pieces = title.split("](");
    let mut text = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        text.push_str(piece.split_once(')').map_or("", |(_, after)| after));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{anchors, identifier_links, link_targets, prose};

    fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
        text.lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    #[test]
    fn links_of_every_form_are_seen() {
        assert_eq!(
            link_targets("a [b](c.md) and [d](e.md#f \"title\")"),
            ["c.md", "e.md#f"]
        );
        assert_eq!(link_targets("[name]: <g h.md>"), ["g h.md"]);
        assert_eq!(link_targets("![picture](i.svg)"), ["i.svg"]);
    }

    #[test]
    fn links_named_by_an_identifier_are_told_from_others() {
        let line = "| [`a_fact`](t.rs), [`b.rs`](b.rs) `[c](d)` | [`other`](u.rs#x) [e](f.rs) |";
        assert_eq!(
            identifier_links(line),
            [("a_fact", "t.rs"), ("other", "u.rs#x")]
        );
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(link_targets("`[a](b.md)` then [c](d.md)"), ["d.md"]);
        let lines: Vec<_> = prose(numbered("one\n```\n[a](b)\n~~~\n```\nsix")).collect();
        assert_eq!(lines, [(1, "one"), (6, "six")]);
    }

    #[test]
    fn headings_become_the_anchors_that_github_makes() {
        let page = "# Push & pull\n## `cpupri`: find/set\n### See [the page](x.md) now\n## A_b-c 2\n#no heading\n";
        assert_eq!(
            anchors(numbered(page)),
            [
                "push--pull",
                "cpupri-findset",
                "see-the-page-now",
                "a_b-c-2"
            ]
        );
    }

    #[test]
    fn repeated_headings_are_numbered() {
        assert_eq!(
            anchors(numbered("# Cost\n# Cost\n# Cost\n")),
            ["cost", "cost-1", "cost-2"]
        );
    }

    #[test]
    fn an_anchor_set_by_hand_counts() {
        assert_eq!(
            anchors(numbered("<a id=\"here\"></a>\n```\n# a comment\n```\n")),
            ["here"]
        );
    }
}
