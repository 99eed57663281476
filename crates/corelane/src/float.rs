//! The floating-point control words with which a task starts.
//!
//! The switch keeps MXCSR and the x87 control word per fiber, so a task that flushes denormals to zero
//! keeps that wherever it runs, and its neighbours do not see it. But fibers are pooled: what an ended task
//! left would be what the next one starts with, and its arithmetic would depend on who had the fiber
//! before. So a fiber remembers the words it was born with and restores them between tasks.
//!
//! # Unsafe
//! What is raw: four instructions that store and load control words. Shown by `tests/identity.rs`.

use core::arch::asm;

/// MXCSR and the x87 control word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FloatControls {
    mxcsr: u32,
    x87: u16,
}

impl FloatControls {
    /// Those of the caller.
    pub(crate) fn current() -> FloatControls {
        let (mut mxcsr, mut x87) = (0u32, 0u16);
        // SAFETY: both instructions store into a live local of the right size.
        unsafe {
            asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &mut mxcsr, in(reg) &mut x87, options(nostack, preserves_flags));
        }
        FloatControls { mxcsr, x87 }
    }

    /// Makes them the caller's again, each word that is not. Ordinary arithmetic leaves its mark in MXCSR
    /// alone, and loading the x87 word costs several times as much.
    pub(crate) fn restore(self) {
        let left = FloatControls::current();
        if left.mxcsr != self.mxcsr {
            // SAFETY: the word was stored by `current`, so it is valid. No floating-point code of the caller
            // is in between.
            unsafe {
                asm!("ldmxcsr [{}]", in(reg) &self.mxcsr, options(nostack, preserves_flags, readonly));
            }
        }
        if left.x87 != self.x87 {
            // SAFETY: as above; pending x87 exceptions of the ended task are cleared, or loading its
            // successor's mask could raise them.
            unsafe {
                asm!("fnclex", "fldcw [{}]", in(reg) &self.x87, options(nostack, preserves_flags, readonly));
            }
        }
    }
}
