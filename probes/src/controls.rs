//! Probes that break the rules, one rule each: a checker that lets them pass checks nothing.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static WORD: AtomicU64 = AtomicU64::new(0);

/// Makes the linker keep functions that nobody calls.
pub(crate) fn keep() {
    black_box([
        probe_control_locked as *const (),
        probe_control_exchange as *const (),
        probe_control_part as *const (),
        probe_control_call as *const (),
        probe_control_pointer as *const (),
        probe_control_panic as *const (),
        probe_control_always_slow as *const (),
        probe_control_clean as *const (),
    ]);
}

/// A locked instruction.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_control_locked() {
    WORD.fetch_add(1, Relaxed);
}

/// An exchange with memory: locked without a prefix.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_control_exchange() -> u64 {
    WORD.swap(1, Relaxed)
}

/// A locked instruction in a function that is part of the operation.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_control_part() -> u64 {
    locked_aside() + 1
}

#[inline(never)]
fn locked_aside() -> u64 {
    WORD.fetch_or(black_box(1), Relaxed)
}

/// A call on the hit path.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_control_call() -> u64 {
    aside() + 1
}

#[inline(never)]
fn aside() -> u64 {
    black_box(WORD.load(Relaxed))
}

/// A call through a pointer.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_control_pointer(f: extern "C" fn() -> u64) -> u64 {
    f() + 1
}

/// A panic behind a conditional jump that no rule lists.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_control_panic(index: usize) -> u64 {
    black_box([1, 2, 3, 4])[index]
}

/// A listed slow path that is taken each time: there is no hit path.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_control_always_slow() -> u64 {
    aside() + 2
}

/// Nothing wrong: a rule that refuses everything is no rule either.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_control_clean() -> u64 {
    if WORD.load(Relaxed) == 7 {
        return aside();
    }
    WORD.load(Relaxed) + 3
}
