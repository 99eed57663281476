//! Two histograms beside each other, in a terminal.
//!
//! Latencies spread over decades, so the buckets grow by a factor of about 1.4 (1, 1.5, 2, 3, 5, 7).
//! Bars show shares of the samples, linearly; a bucket with a single sample among thousands still
//! shows a sliver, because the tail is what one looks for.

use core::fmt::Write;

use hdrhistogram::Histogram;

use super::time_text::time;

const STEPS: [u64; 6] = [10, 15, 20, 30, 50, 70];
const BAR_WIDTH: usize = 28;
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// Draws the samples of two arms over the same buckets, the first on the left.
pub(super) fn draw(left: (&str, &Histogram<u64>), right: (&str, &Histogram<u64>)) -> String {
    let histograms = [left.1, right.1];
    let mut text = String::new();
    let edges = edges(&histograms);
    if edges.len() < 2 {
        return text;
    }
    let counts = histograms.map(|histogram| counts(histogram, &edges));
    let highest = share_max(&counts);
    let (left, right) = (left.0, right.0);
    let _ = writeln!(
        text,
        "  {:>10}  {left:<width$} {right}",
        "from",
        width = BAR_WIDTH + 9
    );
    for (bucket, &from_ns) in edges[..edges.len() - 1].iter().enumerate() {
        let cells = counts
            .each_ref()
            .map(|counts| cell(counts, bucket, highest));
        let line = format!("  {:>10}  {} {}", time(from_ns), cells[0], cells[1]);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A bar and its count, in a fixed width.
fn cell(counts: &[u64], bucket: usize, highest: f64) -> String {
    let (count, total) = (counts[bucket], counts.iter().sum::<u64>().max(1));
    let number = if count == 0 {
        String::new()
    } else {
        count.to_string()
    };
    let bar = bar(count as f64 / total as f64 / highest, count);
    format!("{bar:<BAR_WIDTH$} {number:<8}")
}

fn bar(part: f64, count: u64) -> String {
    let eighths = (part * (BAR_WIDTH * 8) as f64).round() as usize;
    let eighths = eighths.clamp(usize::from(count > 0), BAR_WIDTH * 8);
    let mut bar = "█".repeat(eighths / 8);
    if eighths % 8 > 0 {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

/// The largest share of a bucket in either arm.
fn share_max(counts: &[Vec<u64>; 2]) -> f64 {
    let share = |counts: &Vec<u64>| {
        let total = counts.iter().sum::<u64>().max(1);
        counts.iter().max().copied().unwrap_or(0) as f64 / total as f64
    };
    counts.iter().map(share).fold(f64::MIN_POSITIVE, f64::max)
}

fn counts(histogram: &Histogram<u64>, edges: &[u64]) -> Vec<u64> {
    let mut counts = vec![0; edges.len() - 1];
    for sample in histogram.iter_recorded() {
        // Bucket i holds the values from edge i up to, not including, edge i + 1.
        let above = edges.partition_point(|&edge| edge <= sample.value_iterated_to());
        counts[above.saturating_sub(1).min(edges.len() - 2)] += sample.count_at_value();
    }
    counts
}

/// The edges of the buckets that cover all samples, ascending; empty without samples.
fn edges(histograms: &[&Histogram<u64>; 2]) -> Vec<u64> {
    let filled = || histograms.iter().filter(|histogram| !histogram.is_empty());
    let (Some(lowest), Some(highest)) = (
        filled().map(|histogram| histogram.min()).min(),
        filled().map(|histogram| histogram.max()).max(),
    ) else {
        return Vec::new();
    };
    let all: Vec<u64> = scale().collect();
    let first = all
        .partition_point(|&edge| edge <= lowest)
        .saturating_sub(1);
    let last = all
        .partition_point(|&edge| edge <= highest)
        .min(all.len() - 1);
    all[first..=last].to_vec()
}

/// 0, then 10, 15, 20, 30, 50, 70, 100, .. up to some minutes.
fn scale() -> impl Iterator<Item = u64> {
    let decades = (0..10).map(|decade| 10u64.pow(decade));
    std::iter::once(0).chain(decades.flat_map(|unit| STEPS.map(|step| step * unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples_ns: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("in order");
        samples_ns
            .iter()
            .for_each(|&sample| histogram.record(sample).expect("in range"));
        histogram
    }

    #[test]
    fn each_sample_stands_in_its_bucket() {
        let (left, right) = (of(&[12, 12, 12, 16]), of(&[69, 70, 400]));
        let edges = edges(&[&left, &right]);
        assert_eq!(edges, [10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500]);
        assert_eq!(counts(&left, &edges), [3, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(counts(&right, &edges), [0, 0, 0, 0, 1, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn a_drawing_has_a_line_per_bucket_and_fits_a_terminal() {
        let (left, right) = (of(&[12, 16]), of(&[10]));
        let text = draw(("executor", &left), ("kernel", &right));
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 90),
            "{text}"
        );
        assert!(
            text.lines()
                .nth(1)
                .is_some_and(|line| line.contains("10 ns") && line.contains('█'))
        );
    }

    #[test]
    fn one_sample_among_many_still_shows() {
        assert_eq!(bar(0.000_01, 1), "▏");
        assert_eq!(bar(0.0, 0), "");
        assert_eq!(bar(1.0, 9).chars().count(), BAR_WIDTH);
    }

    #[test]
    fn no_samples_draw_nothing() {
        assert_eq!(draw(("executor", &of(&[])), ("kernel", &of(&[]))), "");
    }
}
