//! Memory that does not fault when it matters.
//!
//! A page fault in a control loop costs more than the loop's budget. `mlockall(MCL_FUTURE)` is the
//! usual remedy, and under a finite RLIMIT_MEMLOCK a trap: the call succeeds, and some later `mmap`
//! fails: a thread's stack, an allocation. So [`lock_on_fault`] first finds out whether a limit
//! would bite later, and refuses with the remedy when one would.
//!
//! Pages are locked as they are touched (MCL_ONFAULT), which keeps large, sparsely used stacks
//! small; what must not fault even once is touched beforehand, see [`prefault_stack`].
//!
//! Raw here: `mlockall`, resource limits, writes below the stack pointer. Tested by
//! `tests/memory.rs`.

use crate::fiber::stack_bounds;
use crate::host::privilege::{self, Capability};
use core::arch::asm;
use core::fmt;
use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// What permits this process to lock memory without a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockBasis {
    /// CAP_IPC_LOCK in the initial user namespace: no limit applies.
    Capability,
    /// RLIMIT_MEMLOCK is unlimited.
    UnlimitedRlimit,
}

impl fmt::Display for LockBasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockBasis::Capability => "CAP_IPC_LOCK",
            LockBasis::UnlimitedRlimit => "RLIMIT_MEMLOCK is unlimited",
        })
    }
}

/// All present and future pages stay in memory once touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLocked {
    /// What permitted it.
    pub basis: LockBasis,
}

/// Memory is not locked, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLockRefused {
    /// What stands against it.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}

impl fmt::Display for MemoryLockRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory is not locked: {}; {}", self.reason, self.remedy)
    }
}

impl std::error::Error for MemoryLockRefused {}

const REMEDY: &str =
    "set `ulimit -l unlimited` (LimitMEMLOCK=infinity in a unit) or grant CAP_IPC_LOCK";

/// Whether [`lock_on_fault`] would lock, without locking.
///
/// # Errors
/// The refusal that it would return.
pub fn may_lock() -> Result<LockBasis, MemoryLockRefused> {
    if privilege::has(Capability::IpcLock) {
        return Ok(LockBasis::Capability);
    }
    let reason = match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((RLIM_INFINITY, _)) => return Ok(LockBasis::UnlimitedRlimit),
        Ok((soft_bytes, _)) => format!(
            "without CAP_IPC_LOCK, RLIMIT_MEMLOCK of {} KiB would make later mappings fail, thread stacks among them",
            soft_bytes / 1024
        ),
        Err(errno) => format!("RLIMIT_MEMLOCK could not be read: {errno}"),
    };
    Err(MemoryLockRefused {
        reason,
        remedy: REMEDY,
    })
}

/// Locks all present and future pages of the process as they are touched.
///
/// # Errors
/// When a limit would let the lock succeed and later mappings fail, or when the kernel refuses.
pub fn lock_on_fault() -> Result<MemoryLocked, MemoryLockRefused> {
    let basis = may_lock()?;
    let flags = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | mcl_onfault();
    match mlockall(flags) {
        Ok(()) => Ok(MemoryLocked { basis }),
        Err(errno) => Err(MemoryLockRefused {
            reason: refusal(errno, basis),
            remedy: REMEDY,
        }),
    }
}

fn mcl_onfault() -> MlockAllFlags {
    MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT)
}

fn refusal(errno: Errno, basis: LockBasis) -> String {
    match errno {
        Errno::EPERM | Errno::ENOMEM => format!(
            "mlockall answers {errno} although it is permitted by {basis}; a sandbox or a user namespace withholds it"
        ),
        Errno::EINVAL => "mlockall does not know MCL_ONFAULT (Linux before 4.4)".to_owned(),
        Errno::EAGAIN => "mlockall could not lock every present page".to_owned(),
        errno => format!("mlockall answers {errno}"),
    }
}

/// Room that [`prefault_stack`] leaves above the stack's low end, for a main thread whose guard gap
/// is not in its bounds.
const LOW_MARGIN: usize = 64 * 1024;

/// Touches the pages below the current frame of the calling thread, so that the next calls that
/// deep do not fault. Returns how many bytes were touched: `bytes`, or fewer where the thread's
/// stack ends.
///
/// On a fiber this is the fiber's stack.
///
/// # Errors
/// When the bounds of the stack cannot be read.
#[inline(never)]
pub fn prefault_stack(bytes: usize) -> Result<usize, Errno> {
    const PAGE: usize = 4096;
    let (low, _) = stack_bounds()?;
    let here = stack_pointer() & !(PAGE - 1);
    let floor = here
        .saturating_sub(bytes)
        .max(low + LOW_MARGIN.min(here.saturating_sub(low)));
    let mut page = here;
    while page >= floor + PAGE {
        page -= PAGE;
        // SAFETY: the page is mapped stack of this thread, above its low end. The write changes no
        // bit; nothing runs between its read and its write but a signal handler, which puts back
        // what it uses.
        unsafe { asm!("lock or byte ptr [{}], 0", in(reg) page, options(nostack)) };
    }
    Ok(here - page)
}

#[inline(always)]
fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nostack, nomem, preserves_flags)) };
    pointer
}
