//! What a lender lends of its stack.
//!
//! The lender parks near the top of its pthread stack. Below its frame stays a reserve, in which it
//! may still take one of glibc's internal signals (they cannot be blocked) and run its few steps
//! around the lending. All below the reserve, down to the pthread's own guard page, is the body's.
//!
//! Raw here: the stack pointer, pthread attributes, and the promise of [`Stack`]. Tested by `tests/fiber.rs` and
//! `tests/fiber_overflow.rs`.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::ptr;
use corosensei::stack::{STACK_ALIGNMENT, Stack, StackPointer};
use nix::errno::Errno;

/// Stack that the lender keeps for itself below its parked frame, beside room for one signal frame.
pub const RESERVE_BYTES: usize = 16 * 1024;

/// The smallest stack a fiber may have: 16 KiB of reserve, up to 12 KiB for a signal frame with AMX
/// state, 4 KiB for the control block and the start of the pthread, and half of it for the body. A
/// program with very large static thread-locals needs more, which [`super::Fiber::spawn`] then
/// says.
pub const STACK_SIZE_MIN: usize = 64 * 1024;

/// A body's part is never smaller than this.
pub(super) const BODY_BYTES_MIN: usize = 16 * 1024;

const _: () = assert!(
    STACK_SIZE_MIN.is_multiple_of(4096),
    "stack sizes are whole pages"
);
const _: () = assert!(
    RESERVE_BYTES + SIGNAL_FRAME_FALLBACK + BODY_BYTES_MIN < STACK_SIZE_MIN,
    "the smallest stack holds reserve, signal frame and body"
);

/// The kernel's floor of a signal frame where AT_MINSIGSTKSZ is absent (Linux before 5.14).
const SIGNAL_FRAME_FALLBACK: usize = 12 * 1024;

/// The addresses of the calling thread's stack: `low..high`, without its guard page.
pub(crate) fn bounds() -> Result<(usize, usize), Errno> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut low, mut size) = (ptr::null_mut(), 0);
    // SAFETY: getattr initialises the attributes on success, which are read and then destroyed
    // once.
    unsafe {
        match libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) {
            0 => {}
            errno => return Err(Errno::from_raw(errno)),
        }
        let answer = libc::pthread_attr_getstack(attributes.as_ptr(), &mut low, &mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        if answer != 0 {
            return Err(Errno::from_raw(answer));
        }
    }
    Ok((low as usize, low as usize + size))
}

/// The stack pointer of the calling thread, about. Not the address of a local: AddressSanitizer may keep
/// locals elsewhere.
#[inline(always)]
pub(super) fn pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Bytes between a parked frame and the body's part.
pub(super) fn reserve_bytes() -> usize {
    // SAFETY: takes and returns plain values; 0 means that the kernel does not say.
    let signal_frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    RESERVE_BYTES
        + if signal_frame == 0 {
            SIGNAL_FRAME_FALLBACK
        } else {
            signal_frame
        }
}

/// The stack size that leaves BODY_BYTES_MIN for a body when `above` bytes are in use above the
/// parked frame.
pub(super) fn size_needed(above: usize) -> usize {
    (above + reserve_bytes() + BODY_BYTES_MIN + STACK_ALIGNMENT)
        .next_multiple_of(4096)
        .max(STACK_SIZE_MIN)
}

/// The body's part of a lender's stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    top: StackPointer,
    low: StackPointer,
}

impl Rest {
    /// What remains below `frame` (an address in the parked frame) and its reserve, down to `low`;
    /// `None` when that is too little for a body.
    pub(super) fn below(frame: usize, low: usize) -> Option<Rest> {
        let top = frame.checked_sub(reserve_bytes())? & !(STACK_ALIGNMENT - 1);
        let low = low.next_multiple_of(STACK_ALIGNMENT);
        if top < low.checked_add(BODY_BYTES_MIN)? {
            return None;
        }
        Some(Rest {
            top: StackPointer::new(top)?,
            low: StackPointer::new(low)?,
        })
    }

    pub(super) fn low(&self) -> usize {
        self.low.get()
    }

    pub(super) fn bytes(&self) -> usize {
        self.top.get() - self.low.get()
    }
}

// SAFETY: the memory is the rest of a pthread's stack, which keeps its guard page below `low` and
// lives until the lender is joined; `below` keeps BODY_BYTES_MIN of it and aligns both ends. The
// lender stays above `top` while it lends.
unsafe impl Stack for Rest {
    fn base(&self) -> StackPointer {
        self.top
    }

    fn limit(&self) -> StackPointer {
        self.low
    }
}
