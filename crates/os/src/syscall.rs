//! System calls without a C library in between.
//!
//! A wrapper of the C library writes `errno`, which is a thread-local. While a foreign thread
//! control block is loaded, or while a parked thread has lent its own, that write lands in a
//! variable that somebody else is using. These functions are the bare instruction: arguments in
//! registers, the kernel's answer in a register, and nothing else.
//!
//! Raw here: the `syscall` instruction. Tested through [`crate::futex`] (`tests/futex.rs` checks
//! that `errno` stays).

use core::arch::asm;

/// Three-argument system call. The answer is the kernel's own: `-errno` for an error.
///
/// # Safety
/// The call `number` with these arguments must be sound; pointers among them must be valid for what
/// the kernel does.
#[inline(always)]
pub(crate) unsafe fn syscall3(number: i64, a: usize, b: usize, c: usize) -> isize {
    let answer: isize;
    // SAFETY: the kernel preserves every register but rax, rcx and r11, which are declared;
    // soundness of the call itself is the caller's.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

/// Six-argument system call. The answer is the kernel's own: `-errno` for an error.
///
/// # Safety
/// As [`syscall3`].
#[inline(always)]
pub(crate) unsafe fn syscall6(number: i64, arguments: [usize; 6]) -> isize {
    let answer: isize;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: as in `syscall3`.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

/// Ends the process with a message, touching neither the heap nor a thread-local: for broken
/// invariants found while the loaded thread control block may not be the caller's.
#[cold]
#[inline(never)]
pub(crate) fn die(message: &str) -> ! {
    // SAFETY: write reads `len` bytes of a live string; ud2 raises SIGILL and does not continue.
    unsafe {
        syscall3(libc::SYS_write, 2, message.as_ptr() as usize, message.len());
        asm!("ud2", options(noreturn, nostack));
    }
}
