//! The search among 64 levels with the vectors that every x86-64 processor has.
//!
//! Sixteen levels fit a vector, so four hold a group of 64, and the processor has the minimum of bytes as
//! one instruction. The levels are loaded as atomic words before and only then put together: a vector
//! load would be no atomic access.
//!
//! First the minimum of all 64 is looked for, allowed or not: it mostly belongs to an allowed CPU, and then
//! it is the answer. Otherwise the CPUs that are not allowed are made 127 and the search is repeated.
//!
//! Cost: some sixty instructions, and as many again when only CPUs that are not allowed are lowest.
//!
//! # Unsafe
//! What is raw: the processor must have SSE2, which the compiler takes for granted on x86-64 but asks to be
//! told at each entry. The test here compares with the portable search.

use core::arch::x86_64::*;

use crate::swar::WORDS_PER_GROUP;

type Group = [__m128i; WORDS_PER_GROUP / 2];

/// The lowest level strictly below `below` among the CPUs of a group in `allowed`, and those at it.
#[inline]
pub(crate) fn lowest_of(
    levels: &[u64; WORDS_PER_GROUP],
    below: u8,
    allowed: u64,
) -> Option<(u8, u64)> {
    // SAFETY: the file is compiled only where every processor of the target has SSE2.
    unsafe { lowest_of_most(&vectors(levels), below, allowed) }
}

/// The same, made for the case that the lowest CPUs of the group are mostly not in `allowed`.
#[inline]
pub(crate) fn lowest_of_few(
    levels: &[u64; WORDS_PER_GROUP],
    below: u8,
    allowed: u64,
) -> Option<(u8, u64)> {
    // SAFETY: as above.
    unsafe { lowest_of_kept(&vectors(levels), below, allowed) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn vectors(levels: &[u64; WORDS_PER_GROUP]) -> Group {
    let pair = |index: usize| [levels[2 * index] as i64, levels[2 * index + 1] as i64];
    core::array::from_fn(|index| {
        let [low, high] = pair(index);
        _mm_set_epi64x(high, low)
    })
}

#[inline]
#[target_feature(enable = "sse2")]
fn lowest_of_most(group: &Group, below: u8, allowed: u64) -> Option<(u8, u64)> {
    let level = minimum(group);
    if level >= below {
        return None;
    }
    match equal_bits(group, level) & allowed {
        0 => lowest_of_kept(group, below, allowed),
        cpus => Some((level, cpus)),
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn lowest_of_kept(group: &Group, below: u8, allowed: u64) -> Option<(u8, u64)> {
    let group = keep(group, allowed);
    let level = minimum(&group);
    (level < below).then(|| (level, equal_bits(&group, level) & allowed))
}

/// The smallest of the 64 bytes.
#[inline]
#[target_feature(enable = "sse2")]
fn minimum(group: &Group) -> u8 {
    let [a, b, c, d] = *group;
    let all = _mm_min_epu8(_mm_min_epu8(a, b), _mm_min_epu8(c, d));
    let all = _mm_min_epu8(all, _mm_srli_epi16::<8>(all)); // the smaller of each pair, in two bytes
    let all = _mm_min_epu8(all, _mm_shuffle_epi32::<0b01_00_11_10>(all)); // halves swapped
    let all = _mm_min_epu8(all, _mm_shuffle_epi32::<0b10_11_00_01>(all)); // quarters
    let all = _mm_min_epu8(all, _mm_shufflelo_epi16::<0b10_11_00_01>(all)); // eighths
    _mm_extract_epi16::<0>(all) as u8
}

/// One bit for each CPU at `level`, the first CPU in bit 0.
#[inline]
#[target_feature(enable = "sse2")]
fn equal_bits(group: &Group, level: u8) -> u64 {
    let level = _mm_set1_epi8(level as i8);
    let bits =
        |index: usize| u64::from(_mm_movemask_epi8(_mm_cmpeq_epi8(group[index], level)) as u16);
    bits(0) | bits(1) << 16 | bits(2) << 32 | bits(3) << 48
}

/// The CPUs that are not in `allowed` become 127.
#[inline]
#[target_feature(enable = "sse2")]
fn keep(group: &Group, allowed: u64) -> Group {
    let bit_of_each = _mm_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    core::array::from_fn(|index| {
        let bits = _mm_cvtsi32_si128((allowed >> (16 * index)) as u16 as i32);
        let bits = _mm_unpacklo_epi8(bits, bits);
        let bits = _mm_shufflelo_epi16::<0b01_01_00_00>(bits);
        let bits = _mm_shuffle_epi32::<0b01_01_00_00>(bits); // eight copies of each of both bytes
        let is_allowed = _mm_cmpeq_epi8(_mm_and_si128(bits, bit_of_each), bit_of_each);
        _mm_or_si128(
            group[index],
            _mm_andnot_si128(is_allowed, _mm_set1_epi8(127)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swar::portable_lowest_of;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_searches_give_the_same_answer(
            bytes in prop::collection::vec(0u8..=127, 64), few in 1u8..=128,
            below in 0u8..=128, a: u64, b: u64,
        ) {
            let mut levels = [0; WORDS_PER_GROUP];
            for (cpu, byte) in bytes.iter().enumerate() {
                levels[cpu / 8] |= u64::from(byte % few) << (cpu % 8 * 8);
            }
            for allowed in [0, a, a & b, a | b, !0, 1 << (a % 64)] {
                let expected = portable_lowest_of(&levels, below, allowed);
                prop_assert_eq!(lowest_of(&levels, below, allowed), expected);
                prop_assert_eq!(lowest_of_few(&levels, below, allowed), expected);
            }
        }
    }
}
