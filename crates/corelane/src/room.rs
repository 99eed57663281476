//! Room for one value of any type, in place if it fits.
//!
//! A task brings a closure and leaves a result, each of a type that only its spawner knows. A box for each
//! is an allocation for each, and the allocator is most of what spawning a small closure costs. A task is
//! one allocation anyway, so it carries some room: what fits lies there, what does not is boxed and its
//! address lies there. The two never live at the same time, so one room serves both.
//!
//! # Unsafe
//! What is raw: bytes that are given a type by whoever calls. The room does not know whether it is full;
//! its owner does. Shown by the tests below and `tests/payloads.rs`.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Enough for a dozen words: a few shared pointers, a channel's end, some numbers.
pub(crate) const ROOM_BYTES: usize = 96;

#[repr(C, align(16))]
pub(crate) struct Room(MaybeUninit<[u8; ROOM_BYTES]>);

impl Room {
    #[inline]
    pub(crate) const fn empty() -> Room {
        Room(MaybeUninit::uninit())
    }

    /// Whether values of a type lie in the room itself.
    pub(crate) const fn holds<V>() -> bool {
        size_of::<V>() <= size_of::<Room>() && align_of::<V>() <= align_of::<Room>()
    }

    /// Fills the room. What was in it is forgotten.
    #[inline]
    pub(crate) fn put<V>(&mut self, value: V) {
        if const { Room::holds::<V>() } {
            // SAFETY: `holds`: the value fits, and the room is aligned for it.
            unsafe { self.place::<V>().write(value) };
        } else {
            // SAFETY: a pointer fits.
            unsafe {
                self.place::<NonNull<V>>()
                    .write(NonNull::from(Box::leak(Box::new(value))))
            };
        }
    }

    /// Empties the room.
    ///
    /// # Safety
    /// It was filled with a `V`, which has not been taken out.
    #[inline]
    pub(crate) unsafe fn take<V>(&mut self) -> V {
        if const { Room::holds::<V>() } {
            // SAFETY: the caller says that a `V` is there, and it is not read again.
            unsafe { self.place::<V>().read() }
        } else {
            // SAFETY: as above; `put` left the address of a box, which is ours again.
            *unsafe { Box::from_raw(self.place::<NonNull<V>>().read().as_ptr()) }
        }
    }

    fn place<V>(&mut self) -> *mut V {
        self.0.as_mut_ptr().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_in_and_comes_out<V: Clone + PartialEq + core::fmt::Debug>(value: V, lies_inside: bool) {
        assert_eq!(Room::holds::<V>(), lies_inside);
        let mut room = Room::empty();
        for _ in 0..3 {
            room.put(value.clone());
            // SAFETY: just put in.
            assert_eq!(unsafe { room.take::<V>() }, value);
        }
    }

    #[test]
    fn a_value_lies_inside_if_size_and_alignment_fit() {
        #[repr(align(32))]
        #[derive(Clone, PartialEq, Debug)]
        struct Wide(u8);

        goes_in_and_comes_out((), true);
        goes_in_and_comes_out([7u8; ROOM_BYTES], true);
        goes_in_and_comes_out([7u8; ROOM_BYTES + 1], false);
        goes_in_and_comes_out([1u128; ROOM_BYTES / 16], true);
        goes_in_and_comes_out(Wide(3), false);
        goes_in_and_comes_out([Wide(1), Wide(2), Wide(3), Wide(4)], false);
        goes_in_and_comes_out("heap".to_owned(), true);
        goes_in_and_comes_out(vec!["heap".to_owned(); 3], true);
        goes_in_and_comes_out(
            core::array::from_fn::<String, 9, _>(|i| i.to_string()),
            false,
        );
    }

    #[test]
    fn what_is_taken_out_is_dropped_once_and_what_is_boxed_is_aligned() {
        #[repr(align(128))]
        struct Counts(std::rc::Rc<()>);

        let count = std::rc::Rc::new(());
        let mut room = Room::empty();
        room.put(Counts(count.clone()));
        // SAFETY: just put in.
        let taken = unsafe { room.take::<Counts>() };
        assert_eq!(core::ptr::from_ref(&taken).addr() % 128, 0);
        assert_eq!(std::rc::Rc::strong_count(&taken.0), 2);
        drop(taken);
        assert_eq!(std::rc::Rc::strong_count(&count), 1);
    }
}
