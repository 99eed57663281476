//! The lowest of 64 levels, eight in each word: comparisons on bytes inside a `u64`.
//!
//! Levels are at most 127, so the top bit of each byte is free to catch a borrow. Every function on a word
//! is a handful of plain instructions without a branch. Bytes above 127 give wrong answers.
//!
//! Where every processor has vectors the search is done with these instead (`sse2.rs`), and this one is
//! what it is tested against.

/// CPUs in a word of levels.
pub(crate) const CPUS_PER_WORD: usize = 8;
/// Words of a group of 64.
pub(crate) const WORDS_PER_GROUP: usize = 8;

#[cfg(target_feature = "sse2")]
pub(crate) use crate::sse2::{lowest_of, lowest_of_few};
#[cfg(not(target_feature = "sse2"))]
pub(crate) use {portable_lowest_of as lowest_of, portable_lowest_of as lowest_of_few};

/// The lowest level strictly below `below` among the CPUs of a group in `allowed`, and those at it.
#[cfg(any(test, not(target_feature = "sse2")))]
pub(crate) fn portable_lowest_of(
    levels: &[u64; WORDS_PER_GROUP],
    below: u8,
    allowed: u64,
) -> Option<(u8, u64)> {
    let words = WORDS_PER_GROUP - allowed.leading_zeros() as usize / CPUS_PER_WORD;
    let mut kept = [splat(127); WORDS_PER_GROUP];
    let mut lowest = splat(127);
    for index in 0..words {
        kept[index] = keep(levels[index], (allowed >> (index * CPUS_PER_WORD)) as u8);
        lowest = min_bytes(lowest, kept[index]);
    }
    let level = min_byte(lowest);
    if level >= below {
        return None;
    }
    let bits = |index: usize| u64::from(equal_bits(kept[index], level));
    let cpus = (0..words).fold(0, |cpus, i| cpus | bits(i) << (i * CPUS_PER_WORD));
    Some((level, cpus & allowed))
}

const ONES: u64 = 0x0101_0101_0101_0101;
#[cfg(any(test, not(target_feature = "sse2")))]
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Eight copies of `level`.
pub(crate) const fn splat(level: u8) -> u64 {
    ONES * level as u64
}

/// Each byte of `word` whose bit in `allowed` is clear becomes 127.
#[cfg(any(test, not(target_feature = "sse2")))]
pub(crate) const fn keep(word: u64, allowed: u8) -> u64 {
    let spread = (ONES * allowed as u64) & 0x8040_2010_0804_0201;
    let kept = ((spread + (HIGH - ONES)) | spread) & HIGH; // 0x80 where the bit was set
    let full = (kept - (kept >> 7)) | kept; // 0xff where the bit was set
    (word & full) | (splat(127) & !full)
}

/// The smaller byte of each pair.
#[cfg(any(test, not(target_feature = "sse2")))]
pub(crate) const fn min_bytes(a: u64, b: u64) -> u64 {
    let a_not_less = ((a | HIGH) - b) & HIGH;
    let take_b = (a_not_less - (a_not_less >> 7)) | a_not_less;
    (b & take_b) | (a & !take_b)
}

/// The smallest of the eight bytes.
#[cfg(any(test, not(target_feature = "sse2")))]
pub(crate) const fn min_byte(word: u64) -> u8 {
    let word = min_bytes(word, word >> 32 | splat(127) << 32);
    let word = min_bytes(word, word >> 16 | splat(127) << 48);
    let word = min_bytes(word, word >> 8 | splat(127) << 56);
    word as u8
}

/// One bit for each byte equal to `level`, the lowest byte in bit 0.
#[cfg(any(test, not(target_feature = "sse2")))]
pub(crate) const fn equal_bits(word: u64, level: u8) -> u8 {
    let differs = word ^ splat(level);
    let equal = (HIGH - differs) & HIGH; // 0x80 where the difference is zero
    ((equal >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(bytes: [u8; 8]) -> u64 {
        u64::from_le_bytes(bytes)
    }

    proptest! {
        #[test]
        fn every_operation_agrees_with_bytes(
            a in prop::array::uniform8(0u8..=127), b in prop::array::uniform8(0u8..=127),
            allowed: u8, probe in 0usize..8,
        ) {
            let smaller: [u8; 8] = core::array::from_fn(|i| a[i].min(b[i]));
            prop_assert_eq!(min_bytes(word(a), word(b)), word(smaller));
            prop_assert_eq!(min_byte(word(a)), *a.iter().min().unwrap());
            let kept: [u8; 8] = core::array::from_fn(|i| if allowed >> i & 1 == 1 { a[i] } else { 127 });
            prop_assert_eq!(keep(word(a), allowed), word(kept));
            let level = a[probe];
            let equal = (0..8).filter(|i| a[*i] == level).fold(0, |bits, i| bits | 1 << i);
            prop_assert_eq!(equal_bits(word(a), level), equal);
        }
    }
}
