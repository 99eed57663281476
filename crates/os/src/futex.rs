//! Sleep on a word, wake who sleeps on it.
//!
//! The runtime sleeps and wakes at moments when the loaded thread control block may be a fiber's,
//! or when a parked lender's own block is in use elsewhere. The C library's `syscall` writes
//! `errno` there, into a variable that a task is using. Both calls are therefore the bare
//! instruction: no `errno`, no thread-local, no allocation, no panic.
//!
//! Words are process-private. Deadlines are absolute CLOCK_MONOTONIC times
//! ([`crate::clock::now_ns`]), so that a sleep that is interrupted and repeated does not drift. As
//! with every futex, [`Wait::Woken`] is a hint: the caller looks at the word again.
//!
//! Raw here: two futex calls. Tested by `tests/futex.rs`.

use crate::syscall::{die, syscall3, syscall6};
use core::sync::atomic::AtomicU32;

const NS_PER_S: u64 = 1_000_000_000;
const WAIT: i32 = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
const WAKE: i32 = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;

/// How a [`wait`] ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Somebody called [`wake`], or the kernel woke the sleeper for no reason that it tells.
    Woken,
    /// The word was not `expected` when the kernel looked; nobody slept.
    Changed,
    /// The deadline passed.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Sleeps while `*word == expected`, until a [`wake`], the absolute CLOCK_MONOTONIC `deadline_ns`,
/// or a signal handler.
///
/// The kernel compares the word under the lock that [`wake`] takes: a change followed by a wake is
/// never missed. Any answer other than the four of [`Wait`] ends the process.
#[inline]
pub fn wait(word: &AtomicU32, expected: u32, deadline_ns: Option<u64>) -> Wait {
    let deadline = deadline_ns.map(|ns| libc::timespec {
        tv_sec: (ns / NS_PER_S) as i64,
        tv_nsec: (ns % NS_PER_S) as i64,
    });
    let deadline = deadline
        .as_ref()
        .map_or(core::ptr::null(), core::ptr::from_ref);
    let arguments = [
        word.as_ptr() as usize,
        WAIT as usize,
        expected as usize,
        deadline as usize,
        0,
        libc::FUTEX_BITSET_MATCH_ANY as u32 as usize,
    ];
    // SAFETY: the word and the deadline live in this frame's borrows for the whole call; the kernel
    // only reads them.
    match unsafe { syscall6(libc::SYS_futex, arguments) } as i32 {
        0 => Wait::Woken,
        answer if answer == -libc::EAGAIN => Wait::Changed,
        answer if answer == -libc::ETIMEDOUT => Wait::TimedOut,
        answer if answer == -libc::EINTR => Wait::Interrupted,
        _ => die("corelane-os: futex wait answered outside {0, EAGAIN, ETIMEDOUT, EINTR}\n"),
    }
}

/// Wakes at most `count` sleepers of `word` and returns how many it woke.
#[inline]
pub fn wake(word: &AtomicU32, count: u32) -> u32 {
    wake_at(word.as_ptr(), count)
}

/// As [`wake`], for a word that its owner may free as soon as it sees the store that this wake
/// follows. The kernel uses the address of a private futex as a key and does not read it, so a late
/// wake is at worst a spurious one.
#[inline]
pub(crate) fn wake_at(word: *const u32, count: u32) -> u32 {
    let count_max = count.min(i32::MAX as u32);
    // SAFETY: FUTEX_WAKE on a private word dereferences nothing.
    let woken = unsafe {
        syscall3(
            libc::SYS_futex,
            word as usize,
            WAKE as usize,
            count_max as usize,
        )
    };
    if woken < 0 {
        die("corelane-os: futex wake of an aligned private word was refused\n");
    }
    woken as u32
}
