//! Process-wide credential changes (`setuid`, `setgid`, `setgroups` and their kin) beside carried
//! bodies.
//!
//! To the kernel, credentials belong to a thread. glibc makes them the process's: it marks every
//! thread control block, sends each thread a signal of its own, and in the handler repeats the
//! system call and clears the mark of the block that is *loaded*. On a carrier in the middle of a
//! body that is the body's block. The carrier's stays marked, and glibc signals it again and again,
//! under a lock, until the body suspends.
//!
//! So the handler is wrapped: on a carrier it loads the carrier's own block, calls glibc's, and
//! loads the body's again. Then a change takes as long as with any other threads.
//!
//! A carried body that itself makes such a call cannot be served. glibc takes the caller for the
//! thread whose block is loaded, and leaves that one out: the fiber's own kernel thread would keep
//! the credentials that the process meant to give up. That ends the process with a message that
//! says where to call it.
//!
//! Raw here: the signal action of glibc's own signal, its handler, the thread pointer. Tested by
//! `tests/fiber_setxid.rs`.

use super::lender::Lender;
use super::switch;
use crate::thread;
use core::cell::Cell;
use core::ffi::c_void;
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Once;

/// The signal that glibc keeps for this (SIGSETXID), below those that SIGRTMIN begins with.
const SIGSETXID: i32 = 33;
/// The kernel's signal sets have 64 bits.
const SET_BYTES: usize = 8;
/// The `syscall` instruction.
const SYSCALL_BYTES: [u8; 2] = [0x0f, 0x05];

const REFUSAL: &str = "corelane: a task changed the credentials of the process (setuid, setgid or setgroups). \
                       Its kernel thread cannot follow. Call it in task::native or task::outside, on an ordinary \
                       thread, or before the runtime is built.\n";

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

/// The kernel's own form of a signal action, with which glibc's signals can be reached.
#[repr(C)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// glibc's handler; 0 until it is wrapped.
static GLIBCS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The lender that the loaded block belongs to; null in blocks that are never lent.
    static LENDER: Cell<*const Lender> = const { Cell::new(ptr::null()) };
}

/// Makes the calling lender's block known to the handler, and wraps the handler if that was not
/// done. glibc installs its own when the process creates its first thread, which has happened.
pub(super) fn attend(lender: &Lender) {
    static WRAPPED: Once = Once::new();
    LENDER.set(lender);
    WRAPPED.call_once(wrap);
}

fn wrap() {
    let mut action = Action {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    if !exchange(ptr::null(), &mut action) || action.handler <= libc::SIG_IGN {
        return; // a C library without this signal has no such handler to be wrapped
    }
    // Release: pairs with the Acquire in `on_change`, which may run as soon as it is installed.
    GLIBCS.store(action.handler, Ordering::Release);
    action.handler = on_change as *const () as usize;
    action.mask = u64::MAX; // no other handler sees the carrier's block in the middle of a body
    exchange(&action, ptr::null_mut());
}

fn exchange(new: *const Action, old: *mut Action) -> bool {
    // SAFETY: both are null or point to a live action of the kernel's layout. The new handler
    // passes everything on to the old one.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, SIGSETXID, new, old, SET_BYTES) == 0 }
}

extern "C" fn on_change(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Acquire: pairs with `wrap`; the handler is installed after the store.
    let glibcs = GLIBCS.load(Ordering::Acquire);
    // SAFETY: stored by `wrap` from the action that the kernel had for this very signal.
    let glibcs = unsafe { transmute::<usize, Handler>(glibcs) };
    // SAFETY: null, or the lender of the loaded block, which lives until its thread was joined.
    let lender = unsafe { LENDER.get().as_ref() };
    let Some((by, carrier)) = lender.and_then(Lender::carrier) else {
        return glibcs(signal, info, context);
    };
    // SAFETY: the kernel passes the context that it interrupted.
    if unsafe { interrupts_own_change(context) } {
        refuse();
    }
    // SAFETY: the block is that of this kernel thread, and its own code is suspended in `carried`,
    // where it touches no thread-local.
    unsafe { switch::with_thread_pointer(by, carrier, || glibcs(signal, info, context)) };
}

/// Whether the interrupted code was just sending this signal to itself, as only a credential change
/// of the carried body does.
///
/// # Safety
/// `context` is the third argument of a signal handler that runs.
unsafe fn interrupts_own_change(context: *const c_void) -> bool {
    // SAFETY: by contract.
    let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let register = |index: i32| registers[index as usize];
    let sends = [
        register(libc::REG_RSI),
        register(libc::REG_RDX),
        register(libc::REG_RAX),
    ];
    if sends != [i64::from(thread::gettid().0), i64::from(SIGSETXID), 0] {
        return false;
    }
    let before = register(libc::REG_RIP) as usize - SYSCALL_BYTES.len();
    // SAFETY: code that was just executed can be read; two bytes before it lies within it, because
    // glibc's call is not the start of its text.
    let instruction = unsafe { (before as *const [u8; 2]).read_unaligned() };
    instruction == SYSCALL_BYTES
}

#[cold]
fn refuse() -> ! {
    // SAFETY: write reads a live string; abort does not return.
    unsafe {
        libc::write(2, REFUSAL.as_ptr().cast(), REFUSAL.len());
        libc::abort()
    }
}
