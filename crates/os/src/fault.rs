//! Looking at a memory fault before the process's own handler does.
//!
//! A stack overflow is a fault in a guard page, and what std prints about it names the thread. Whoever
//! runs many tasks on a thread wants to name the task, and must say it before std's handler ends the
//! process. Replacing that handler would lose its report, or that of a crash reporter which the embedder
//! installed; so [`look_first`] installs a handler that calls one function, and then does what the
//! disposition before it would have done, with the same flags and the same mask.
//!
//! It is installed once, and stays. A handler that somebody installs later replaces it, unless it chains.
//! A handler that does not ask for the alternate stack is left alone: running it there could be more than
//! that stack holds, and it never sees an overflow anyway.
//!
//! Raw here: a signal handler; libc's sigaction; a system call for the line. Tested by the tests of
//! `corelane-attacks` (`overflow.rs`), which run programs that end that way.

use crate::syscall::syscall3;
use core::mem::MaybeUninit;
use core::ptr;
use std::sync::OnceLock;

/// Called with the address of a fault, on the thread that faulted, in its signal handler: it may only do
/// what is async-signal-safe, within a few hundred bytes of stack.
pub type Look = fn(address: usize);

/// Whether the look comes first now.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookFirst {
    /// It does, until somebody installs another handler.
    Installed,
    /// An earlier call installed one.
    Before,
    /// SIGSEGV is ignored, or its handler does not run on the alternate stack.
    LeftAlone,
}

struct Chain {
    look: Look,
    before: libc::sigaction,
}

static CHAIN: OnceLock<Chain> = OnceLock::new();

/// Has `look` called at each SIGSEGV, before whatever handler is there now. Once per process.
pub fn look_first(look: Look) -> LookFirst {
    let before = exchange(None);
    if !may_chain(&before) {
        return LookFirst::LeftAlone;
    }
    // The handler reads the chain, so it is complete before the handler can run.
    if CHAIN.set(Chain { look, before }).is_err() {
        return LookFirst::Before;
    }
    let mut ours = before;
    ours.sa_sigaction = handle as *const () as usize;
    ours.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK;
    let found = exchange(Some(&ours));
    if found.sa_sigaction != before.sa_sigaction {
        // Somebody installed a handler in between, which we do not chain to: it stays.
        exchange(Some(&found));
        return LookFirst::LeftAlone;
    }
    LookFirst::Installed
}

/// Writes one line to standard error, from a signal handler.
pub fn say(line: &[u8]) {
    // SAFETY: the kernel reads a live slice; a refusal leaves nobody to tell.
    unsafe { syscall3(libc::SYS_write, 2, line.as_ptr() as usize, line.len()) };
}

fn may_chain(before: &libc::sigaction) -> bool {
    match before.sa_sigaction {
        libc::SIG_DFL => true,
        libc::SIG_IGN => false,
        _ => before.sa_flags & libc::SA_ONSTACK != 0,
    }
}

/// Reads the disposition of SIGSEGV, and replaces it if there is a new one.
fn exchange(new: Option<&libc::sigaction>) -> libc::sigaction {
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `new` is null or came from the kernel but for our handler, whose signature is that of
    // SA_SIGINFO; on success the kernel has filled `before`.
    unsafe {
        let answer = libc::sigaction(libc::SIGSEGV, new, before.as_mut_ptr());
        assert_eq!(answer, 0, "the disposition of SIGSEGV can be read and set");
        before.assume_init()
    }
}

/// # Safety
/// `info` and `context` are what the kernel filled for this signal. `look_first` keeps it by installing this
/// with SA_SIGINFO; a handler that is installed later and chains to this one has to pass them on.
unsafe extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(Chain { look, before }) = CHAIN.get() else {
        return; // not reached: the chain is set before the handler is installed
    };
    // SAFETY: with SA_SIGINFO the kernel passes a filled siginfo.
    let (address, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    if code > 0 {
        look(address); // a fault; what somebody sent by `kill` has no address
    }
    // SAFETY: the signature is the one that the flags promised when it was installed; this is a handler of
    // that very signal.
    unsafe {
        match before.sa_sigaction {
            libc::SIG_DFL => end_by_default(signal, code),
            handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                    core::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(i32) = core::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

/// Nobody handled the signal before us: a fault is repeated, under the default disposition; what was sent
/// is sent again, and arrives when the handler returns.
fn end_by_default(signal: i32, code: i32) {
    // SAFETY: a zeroed sigaction is the default disposition; both calls are async-signal-safe.
    unsafe {
        let default: libc::sigaction = core::mem::zeroed();
        libc::sigaction(signal, &default, ptr::null_mut());
        if code <= 0 {
            libc::raise(signal);
        }
    }
}
