//! The trace of a run, condensed to one word.
//!
//! Two runs of a seed must take the same steps in the same order. Keeping millions of steps to compare
//! them is wasteful; a hash over all of them differs as soon as one step does.

use crate::oracle::mix;

/// A running hash over the steps of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    steps: u64,
}

impl Trace {
    /// Adds a step: who took it, what it was, and a detail.
    pub(crate) fn note(&mut self, who: usize, what: u8, detail: u64) {
        let step = (who as u64) << 40 | u64::from(what) << 32;
        self.hash = mix(self.hash.rotate_left(5) ^ step ^ mix(detail));
        self.steps += 1;
    }

    /// The hash as it is reported.
    pub(crate) fn hash(&self) -> String {
        format!("{:016x}", self.hash ^ mix(self.steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(steps: &[(usize, u8, u64)]) -> String {
        let mut trace = Trace::default();
        steps
            .iter()
            .for_each(|step| trace.note(step.0, step.1, step.2));
        trace.hash()
    }

    #[test]
    fn the_hash_depends_on_every_step_and_on_their_order() {
        let (a, b) = ((1, 2, 3), (2, 1, 3));
        assert_eq!(hash(&[a, b]), hash(&[a, b]));
        let all = [
            hash(&[]),
            hash(&[a]),
            hash(&[a, b]),
            hash(&[b, a]),
            hash(&[(1, 2, 4)]),
        ];
        let mut distinct = all.to_vec();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
    }
}
