//! What the samples say: quantiles over the whole run, and ratios round by round.
//!
//! A host that slows down for a second slows both arms of that round down. The ratio of the two
//! overall quantiles would mix such a second into one arm's tail; the ratio within each round
//! cancels it, and the median over the rounds is not moved by a few disturbed ones.

use hdrhistogram::Histogram;

use super::arm::{ArmName, Block};

/// Three digits; a sample above the highest value counts as the highest.
const DIGITS: u8 = 3;
const HIGHEST_NS: u64 = 60_000_000_000;

/// All samples of one arm.
pub(super) struct Series {
    histogram: Histogram<u64>,
    cpu_ns: u64,
    wall_ns: u64,
}

impl Series {
    fn new() -> Series {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_NS, DIGITS);
        Series {
            histogram: histogram.expect("the bounds are in order"),
            cpu_ns: 0,
            wall_ns: 0,
        }
    }

    fn add(&mut self, block: &Block) {
        block
            .samples_ns
            .iter()
            .for_each(|&sample_ns| self.histogram.saturating_record(sample_ns));
        self.cpu_ns += block.cpu_ns;
        self.wall_ns += block.wall_ns;
    }

    /// The samples.
    pub(super) fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// The value below which the share `quantile` of the samples lies, in nanoseconds.
    pub(super) fn quantile_ns(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    /// CPU time of the process over wall time; 1.0 is one CPU.
    pub(super) fn cpu_share(&self) -> f64 {
        self.cpu_ns as f64 / self.wall_ns.max(1) as f64
    }
}

/// One scenario, both arms.
pub(super) struct Comparison {
    pub(super) executor: Series,
    pub(super) kernel: Series,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Comparison {
    pub(super) fn new() -> Comparison {
        Comparison {
            executor: Series::new(),
            kernel: Series::new(),
            p50: vec![],
            p99: vec![],
        }
    }

    /// Adds the blocks of one round.
    pub(super) fn add_round(&mut self, blocks: &[(ArmName, Block)]) {
        for (arm, block) in blocks {
            match arm {
                ArmName::Executor => self.executor.add(block),
                ArmName::Kernel => self.kernel.add(block),
            }
        }
        let (executor, kernel) = (
            sorted(blocks, ArmName::Executor),
            sorted(blocks, ArmName::Kernel),
        );
        self.p50.extend(ratio(&executor, &kernel, 0.50));
        self.p99.extend(ratio(&executor, &kernel, 0.99));
    }

    /// Rounds that had samples in both arms.
    pub(super) fn rounds(&self) -> usize {
        self.p50.len()
    }

    /// Median over the rounds of executor p50 / kernel p50.
    pub(super) fn ratio_p50(&self) -> Option<f64> {
        median(&self.p50)
    }

    /// Median over the rounds of executor p99 / kernel p99.
    pub(super) fn ratio_p99(&self) -> Option<f64> {
        median(&self.p99)
    }
}

fn sorted(blocks: &[(ArmName, Block)], arm: ArmName) -> Vec<u64> {
    let own = blocks.iter().filter(|(name, _)| *name == arm);
    let mut samples_ns: Vec<u64> = own
        .flat_map(|(_, block)| block.samples_ns.clone())
        .collect();
    samples_ns.sort_unstable();
    samples_ns
}

fn ratio(executor: &[u64], kernel: &[u64], quantile: f64) -> Option<f64> {
    // An interval below the resolution of the clock reads as 0 and cannot be divided by.
    let (executor_ns, kernel_ns) = (at(executor, quantile)?, at(kernel, quantile)?.max(1));
    Some(executor_ns as f64 / kernel_ns as f64)
}

/// The smallest sample that at least the share `quantile` of the samples does not exceed.
fn at(sorted: &[u64], quantile: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(samples_ns: &[u64]) -> Block {
        Block {
            samples_ns: samples_ns.to_vec(),
            cpu_ns: 1,
            wall_ns: 4,
        }
    }

    fn round(executor: &[u64], kernel: &[u64]) -> [(ArmName, Block); 2] {
        [
            (ArmName::Executor, block(executor)),
            (ArmName::Kernel, block(kernel)),
        ]
    }

    #[test]
    fn a_slow_round_moves_no_ratio() {
        let mut comparison = Comparison::new();
        comparison.add_round(&round(&[100, 110, 120], &[200, 220, 240]));
        comparison.add_round(&round(&[10_000, 11_000, 12_000], &[20_000, 22_000, 24_000]));
        comparison.add_round(&round(&[100, 110, 120], &[200, 220, 240]));
        assert_eq!(comparison.ratio_p50(), Some(0.5));
        assert_eq!(comparison.ratio_p99(), Some(0.5));
        assert_eq!(comparison.rounds(), 3);
        assert_eq!(comparison.executor.histogram().len(), 9);
        assert_eq!(comparison.kernel.cpu_share(), 0.25);
    }

    #[test]
    fn quantiles_are_samples() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(at(&sorted, 0.50), Some(50));
        assert_eq!(at(&sorted, 0.99), Some(99));
        assert_eq!(at(&sorted, 1.00), Some(100));
        assert_eq!(at(&[7], 0.01), Some(7));
        assert_eq!(at(&[], 0.5), None);
    }

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_round_without_samples_has_no_ratio() {
        let mut comparison = Comparison::new();
        comparison.add_round(&round(&[], &[5]));
        assert_eq!((comparison.rounds(), comparison.ratio_p50()), (0, None));
    }
}
