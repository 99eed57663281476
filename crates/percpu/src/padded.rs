//! A value alone on its cache lines.
//!
//! Two neighbours in one cache line slow each other down although they share nothing. On x86-64 the
//! prefetcher fetches lines in pairs, and some 64-bit Arm cores have lines of 128 bytes; so 64
//! bytes do not separate, 128 do.
//!
//! Cost: memory. A slot of eight bytes occupies 128.

use core::ops::{Deref, DerefMut};

/// A `T` that begins on a boundary of 128 bytes and shares those bytes with nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(128))]
pub struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    /// Pads `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Gives the value back, without its padding.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for CachePadded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for CachePadded<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::CachePadded;

    #[test]
    fn neighbours_in_an_array_are_128_bytes_apart() {
        let pair = [CachePadded::new(1_u8), CachePadded::new(2_u8)];
        let [first, second] = pair
            .each_ref()
            .map(|slot| core::ptr::from_ref(&**slot).addr());
        assert_eq!(second - first, 128);
        assert_eq!(first % 128, 0);
    }

    #[test]
    fn a_value_larger_than_the_padding_starts_the_next_one_on_a_boundary() {
        assert_eq!(size_of::<CachePadded<[u8; 129]>>(), 256);
    }

    #[test]
    fn the_value_is_reached_through_the_padding() {
        let mut padded = CachePadded::new(3);
        *padded += 1;
        assert_eq!(*padded, 4);
        assert_eq!(padded.into_inner(), 4);
    }
}
