//! Looking at a memory fault before the process's own handler does.
//!
//! A stack overflow is a fault in a guard page, and what std prints about it names the thread. Whoever
//! runs many tasks on a thread wants to name the task, and must say it before std's handler ends the
//! process. Replacing that handler would lose its report, or that of a crash reporter which the embedder
//! installed; so [`look_first`] installs a handler that calls one function, and then does what the
//! disposition before it would have done, with the same flags and the same mask.
//!
//! It is installed once, and stays. A handler that somebody installs later replaces it, unless it chains.
//! One that somebody installs at the same moment is found by the exchange that installs ours, and chained to
//! as well. Only if that one cannot be chained to is it put back, by a second exchange, and there is no way
//! to make that one conditional: a third handler installed between the two would be lost.
//!
//! A handler that does not ask for the alternate stack is left alone: running it there could be more than
//! that stack holds, and it never sees an overflow anyway.
//!
//! Raw here: a signal handler; libc's sigaction; a system call for the line. Tested by the tests of
//! `corelane-attacks` (`overflow.rs`), which run programs that end that way.

use crate::syscall::syscall3;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

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

/// Null until somebody looks first. A chain is never freed: a handler may be reading it.
static CHAIN: AtomicPtr<Chain> = AtomicPtr::new(ptr::null_mut());

/// Has `look` called at each SIGSEGV, before whatever handler is there now. Once per process.
pub fn look_first(look: Look) -> LookFirst {
    look_first_after(look, || ())
}

/// `meanwhile` is what others do between our look at the disposition and the exchange.
fn look_first_after(look: Look, meanwhile: impl FnOnce()) -> LookFirst {
    let before = exchange(None);
    if !may_chain(&before) {
        return LookFirst::LeftAlone;
    }
    // The handler reads the chain, so it is complete before the handler can run. Release: pairs with the
    // Acquire in `handle`. Lost: an earlier call's look stays.
    let chain = Box::into_raw(Box::new(Chain { look, before }));
    let first = CHAIN.compare_exchange(
        ptr::null_mut(),
        chain,
        Ordering::Release,
        Ordering::Relaxed, // Relaxed: what was found is not read.
    );
    if first.is_err() {
        // SAFETY: made above, and nobody has seen it.
        drop(unsafe { Box::from_raw(chain) });
        return LookFirst::Before;
    }
    meanwhile();
    let mut ours = before;
    ours.sa_sigaction = handle as *const () as usize;
    ours.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK;
    let found = exchange(Some(&ours));
    if is_same(&found, &before) {
        return LookFirst::Installed;
    }
    if may_chain(&found) && runs_alike(&found, &before) {
        // Somebody installed a handler in between. It has not seen ours, so chaining to it makes no ring. A
        // fault in this moment goes to the one before. Release: as above.
        let before = found;
        let chain = Box::into_raw(Box::new(Chain { look, before }));
        CHAIN.store(chain, Ordering::Release);
        return LookFirst::Installed;
    }
    exchange(Some(&found)); // see the module's page
    LookFirst::LeftAlone
}

fn is_same(one: &libc::sigaction, other: &libc::sigaction) -> bool {
    one.sa_sigaction == other.sa_sigaction && one.sa_flags == other.sa_flags
}

/// Whether two handlers want the same mask and flags, apart from those that ours has anyway.
fn runs_alike(one: &libc::sigaction, other: &libc::sigaction) -> bool {
    const OURS: i32 = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both sets came from the kernel.
    let is_blocked = |set: &libc::sigset_t, signal| unsafe { libc::sigismember(set, signal) == 1 };
    let mask_is_same = (1..=libc::SIGRTMAX())
        .all(|signal| is_blocked(&one.sa_mask, signal) == is_blocked(&other.sa_mask, signal));
    mask_is_same && one.sa_flags | OURS == other.sa_flags | OURS
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
    // SAFETY: null or a chain, which is never freed. Acquire: pairs with the Release in `look_first_after`;
    // a chain that was just replaced ends in the handler before.
    let Some(Chain { look, before }) = (unsafe { CHAIN.load(Ordering::Acquire).as_ref() }) else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    static LOOKED: AtomicUsize = AtomicUsize::new(0);
    static HANDLED: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn of_somebody(_: i32) {
        HANDLED.fetch_add(1, SeqCst);
    }

    /// The only test here: the disposition is the process's, and is taken over once.
    #[test]
    fn a_handler_that_is_installed_at_the_same_moment_stays_in_the_chain() {
        let look = |address: usize| {
            assert_eq!(address, 8);
            LOOKED.fetch_add(1, SeqCst);
        };
        let original = exchange(None);
        let install = || {
            let mut theirs = original;
            theirs.sa_sigaction = of_somebody as *const () as usize;
            theirs.sa_flags = theirs.sa_flags & !libc::SA_SIGINFO | libc::SA_ONSTACK;
            exchange(Some(&theirs));
        };
        assert_eq!(look_first_after(look, install), LookFirst::Installed);
        // SAFETY: a signal sent by `raise`, with a handler that returns.
        unsafe { libc::raise(libc::SIGSEGV) };
        let seen = (LOOKED.load(SeqCst), HANDLED.load(SeqCst));
        assert_eq!(seen, (0, 1), "what is sent is no fault");
        // SAFETY: zeroed integers are a siginfo; the handler reads its code and its address.
        let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
        info.si_code = 1;
        // SAFETY: `si_addr` is the third word, on every Linux of 64 bits.
        unsafe { (&raw mut info).cast::<usize>().add(2).write(8) };
        // SAFETY: what the kernel does at a fault.
        unsafe { handle(libc::SIGSEGV, &mut info, ptr::null_mut()) };
        let seen = (LOOKED.load(SeqCst), HANDLED.load(SeqCst));
        assert_eq!(seen, (1, 2), "the look, then the other's handler");
        assert_eq!(look_first(look), LookFirst::Before);
        exchange(Some(&original));
    }
}
