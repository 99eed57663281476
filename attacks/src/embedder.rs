//! A program that embeds the runtime and has a SIGSEGV handler of its own, as crash reporters do.
//!
//! # Unsafe
//! What is raw: a signal handler. It writes one line and hands the signal on to whoever had it before.

use std::sync::OnceLock;

static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
const LINE: &[u8] = b"the embedder's handler saw the fault\n";

/// Installs it, on the alternate stack as such handlers must be.
///
/// # Panics
/// If the kernel refuses.
pub fn install() {
    let before = exchange(libc::SA_ONSTACK);
    BEFORE
        .set(before)
        .unwrap_or_else(|_| panic!("installed once"));
}

/// Installs it as one that hands nothing on: it ends the process.
///
/// # Panics
/// If the kernel refuses.
pub fn install_alone() {
    exchange(libc::SA_ONSTACK);
}

/// Installs it as one that runs on the stack of whoever faults, so that an overflow never reaches it.
///
/// # Panics
/// If the kernel refuses.
pub fn install_off_the_alternate_stack() {
    exchange(0);
}

fn exchange(flags: i32) -> libc::sigaction {
    // SAFETY: a zeroed sigaction is a valid one, and `handle` has the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | flags;
        let mut before: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, &mut before), 0);
        before
    }
}

/// Says that it saw the signal, and lets the one before it have it, if it knows one.
extern "C" fn handle(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: write and sigaction are async-signal-safe; the faulting instruction is repeated after the
    // return, under the former disposition.
    unsafe {
        libc::write(2, LINE.as_ptr().cast(), LINE.len());
        match BEFORE.get() {
            Some(before) => libc::sigaction(libc::SIGSEGV, before, std::ptr::null_mut()),
            None => libc::abort(),
        };
    }
}
