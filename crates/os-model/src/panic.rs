//! Unwinding, told apart by modelled thread.
//!
//! All modelled threads are on one thread of the host, whose panic count is the sum of theirs: a task that
//! is switched out in the middle of its unwinding would make every other task look as if it unwound too.
//! So unwinds that the runtime starts are counted per thread. A panic is not: it ends the model.

use std::any::Any;
use std::panic;

pub use std::panic::{AssertUnwindSafe, UnwindSafe};

use crate::machine;

fn unwinds() -> u32 {
    let me = shuttle::current::me();
    machine::with(|machine| machine.unwinds.get(&me).copied().unwrap_or(0))
}

fn set_unwinds(count: u32) {
    let me = shuttle::current::me();
    machine::with(|machine| _ = machine.unwinds.insert(me, count));
}

/// As `std::panic::catch_unwind`.
///
/// # Errors
/// The payload of the unwind.
pub fn catch_unwind<R>(f: impl FnOnce() -> R + UnwindSafe) -> Result<R, Box<dyn Any + Send>> {
    let before = unwinds();
    let result = panic::catch_unwind(f);
    set_unwinds(before);
    result
}

/// As `std::panic::resume_unwind`.
pub fn resume_unwind(payload: Box<dyn Any + Send>) -> ! {
    set_unwinds(unwinds() + 1);
    panic::resume_unwind(payload)
}

/// Whether the calling modelled thread is unwinding.
pub(crate) fn is_unwinding() -> bool {
    unwinds() > 0
}
