//! The one source of every choice that a run makes.
//!
//! A run that asks two generators, or iterates over a hash map, cannot be repeated. Here whoever needs a
//! choice asks this oracle, so a run is its seed. The generator is SplitMix64: one word of state, and no
//! dependency whose next version would change the meaning of a recorded seed.

/// A seeded stream of choices.
#[derive(Clone, Debug)]
pub struct Oracle {
    state: u64,
}

impl Oracle {
    /// The stream of `seed`.
    pub const fn new(seed: u64) -> Oracle {
        Oracle { state: seed }
    }

    /// The next 64 bits.
    pub fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number in `0..bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "a choice has at least one answer");
        let wide = u128::from(self.next_word()) * bound as u128;
        (wide >> 64) as usize
    }

    /// True in `percent` of a hundred calls.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Spreads the bits of `word` over the whole word.
pub(crate) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_published_generator() {
        // The first outputs of the reference implementation for seed 1234567.
        let mut oracle = Oracle::new(1_234_567);
        let first: [u64; 3] = core::array::from_fn(|_| oracle.next_word());
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn a_choice_stays_below_its_bound_and_takes_every_value() {
        let mut oracle = Oracle::new(7);
        let mut seen = [0u32; 5];
        (0..500).for_each(|_| seen[oracle.below(5)] += 1);
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
