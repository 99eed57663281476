//! Threads as the kernel sees them: policy, affinity, and a pin that is read back.
//!
//! The usual wrappers answer a pin with `true` or `false` and never look again. Yet a mask may be
//! granted and differ from what was asked (a cpuset cuts it), and a thread may be somewhere else
//! than its mask says for as long as nobody moved it. [`pin`] asks, reads the mask back, reads the
//! CPU back, and says which of them differs.
//!
//! SCHED_FIFO is always set with SCHED_RESET_ON_FORK: a thread or a process that a task starts is
//! an ordinary one.
//!
//! Raw here: libc scheduling calls on plain values. Tested by `tests/thread.rs`.

use crate::cpuset::{KernelCpu, KernelCpuSet};
use core::fmt;
use nix::errno::Errno;

/// The kernel's id of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub i32);

/// A scheduling policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The fair class (SCHED_OTHER; SCHED_BATCH and SCHED_IDLE read as this).
    Other,
    /// SCHED_FIFO with SCHED_RESET_ON_FORK; greater levels are more urgent, 1..=99.
    Fifo {
        /// The level, 1..=99.
        level: u8,
    },
    /// Another policy, which somebody else has set (SCHED_RR, SCHED_DEADLINE, ..): read, never set.
    Foreign(i32),
}

/// The calling kernel thread. Inside a carried fiber this is the carrier.
pub fn gettid() -> Tid {
    // SAFETY: gettid takes nothing and cannot fail.
    Tid(unsafe { libc::gettid() })
}

/// Sets the policy of a thread of this process.
///
/// # Errors
/// EPERM without the privilege (RLIMIT_RTPRIO, CAP_SYS_NICE, or a cgroup without real-time
/// runtime), ESRCH when the thread is gone, EINVAL for a level outside 1..=99 and for
/// [`Policy::Foreign`].
pub fn set_policy(tid: Tid, policy: Policy) -> Result<(), Errno> {
    let (number, level) = match policy {
        // Clearing the reset flag needs a privilege that dropping to the fair class does not: keep
        // it as it is.
        Policy::Other => (
            libc::SCHED_OTHER | (raw_policy(tid)? & libc::SCHED_RESET_ON_FORK),
            0,
        ),
        Policy::Fifo { level: 0 } | Policy::Foreign(_) => return Err(Errno::EINVAL),
        Policy::Fifo { level } => (
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            i32::from(level),
        ),
    };
    let parameter = libc::sched_param {
        sched_priority: level,
    };
    // SAFETY: the kernel reads one sched_param.
    Errno::result(unsafe { libc::sched_setscheduler(tid.0, number, &parameter) }).map(drop)
}

/// The policy of a thread.
///
/// # Errors
/// ESRCH when the thread is gone.
pub fn policy(tid: Tid) -> Result<Policy, Errno> {
    match raw_policy(tid)? & !libc::SCHED_RESET_ON_FORK {
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE => Ok(Policy::Other),
        libc::SCHED_FIFO => {
            let mut parameter = libc::sched_param { sched_priority: 0 };
            // SAFETY: the kernel fills one sched_param.
            Errno::result(unsafe { libc::sched_getparam(tid.0, &mut parameter) })?;
            Ok(Policy::Fifo {
                level: parameter.sched_priority as u8,
            })
        }
        number => Ok(Policy::Foreign(number)),
    }
}

/// Whether the children of a thread start in the fair class (SCHED_RESET_ON_FORK).
///
/// # Errors
/// ESRCH when the thread is gone.
pub fn resets_on_fork(tid: Tid) -> Result<bool, Errno> {
    Ok(raw_policy(tid)? & libc::SCHED_RESET_ON_FORK != 0)
}

fn raw_policy(tid: Tid) -> Result<i32, Errno> {
    // SAFETY: takes and returns plain values.
    Errno::result(unsafe { libc::sched_getscheduler(tid.0) })
}

/// Sets the affinity of a thread.
///
/// # Errors
/// EINVAL when no CPU of `set` is allowed by the cpuset, ESRCH when the thread is gone, EPERM for a
/// foreign thread.
pub fn set_affinity(tid: Tid, set: &KernelCpuSet) -> Result<(), Errno> {
    let words = set.words();
    // SAFETY: the kernel reads `size_of_val(words)` bytes of a live slice.
    Errno::result(unsafe {
        libc::sched_setaffinity(tid.0, core::mem::size_of_val(words), words.as_ptr().cast())
    })
    .map(drop)
}

/// The affinity of a thread, in as many words as the kernel needs.
///
/// # Errors
/// ESRCH when the thread is gone.
pub fn affinity(tid: Tid) -> Result<KernelCpuSet, Errno> {
    const WORDS_MAX: usize = 1 << 10;
    let mut words = vec![0u64; 16];
    loop {
        // SAFETY: the kernel writes at most the given number of bytes into a live vector.
        let bytes = Errno::result(unsafe {
            libc::syscall(
                libc::SYS_sched_getaffinity,
                tid.0,
                words.len() * 8,
                words.as_mut_ptr(),
            )
        });
        match bytes {
            // The kernel answers EINVAL to a mask shorter than its own.
            Err(Errno::EINVAL) if words.len() < WORDS_MAX => words = vec![0; words.len() * 2],
            Err(errno) => return Err(errno),
            Ok(bytes) => {
                words.truncate((bytes as usize).div_ceil(8));
                return Ok(KernelCpuSet::from_words(words));
            }
        }
    }
}

/// The CPU that the calling thread runs on, unless it was moved since.
///
/// # Panics
/// When the kernel does not know, which it always does.
pub fn current_cpu() -> KernelCpu {
    // SAFETY: takes nothing.
    let cpu = unsafe { libc::sched_getcpu() };
    KernelCpu(u32::try_from(cpu).expect("the kernel knows on which CPU this thread runs"))
}

/// Why a pin does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinError {
    /// The kernel refused the mask.
    Refused {
        /// The CPU that was asked for.
        asked: KernelCpu,
        /// EINVAL: the CPU is offline or outside the cpuset; EPERM: a security module objects.
        errno: Errno,
    },
    /// The kernel accepted the mask, and keeps another one.
    MaskDiffers {
        /// The CPU that was asked for.
        asked: KernelCpu,
        /// The mask that was read back.
        found: KernelCpuSet,
    },
    /// The mask holds, and the thread runs elsewhere.
    RunsElsewhere {
        /// The CPU that was asked for.
        asked: KernelCpu,
        /// The CPU that the thread was found on.
        found: KernelCpu,
    },
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinError::Refused { asked, errno } => write!(
                f,
                "cannot pin to CPU {asked}: {errno}; choose a CPU of the process's affinity mask that is online"
            ),
            PinError::MaskDiffers { asked, found } => {
                write!(
                    f,
                    "asked for CPU {asked}, the kernel kept the mask {found}; check the cpuset of this process"
                )
            }
            PinError::RunsElsewhere { asked, found } => write!(
                f,
                "asked for CPU {asked}, still running on CPU {found}; check whether the CPU went offline"
            ),
        }
    }
}

impl std::error::Error for PinError {}

/// Pins the calling kernel thread to one CPU and reads back both the mask and the CPU.
///
/// # Errors
/// Says what was refused, or what differs from what was asked.
pub fn pin(cpu: KernelCpu) -> Result<(), PinError> {
    let refused = |errno| PinError::Refused { asked: cpu, errno };
    let own = Tid(0);
    set_affinity(own, &KernelCpuSet::single(cpu)).map_err(refused)?;
    let found = affinity(own).map_err(refused)?;
    if found != KernelCpuSet::single(cpu) {
        return Err(PinError::MaskDiffers { asked: cpu, found });
    }
    match current_cpu() {
        found if found == cpu => Ok(()),
        found => Err(PinError::RunsElsewhere { asked: cpu, found }),
    }
}

/// Runs `f` and puts the caller's `errno` back: for code that may fail on the way and must not show it.
///
/// Two calls for the address of `errno`, no system call.
pub fn keeping_errno<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the address of the calling thread's errno, which stays the same while the thread lives.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; nobody else writes it.
    let kept = unsafe { *errno };
    let result = f();
    // SAFETY: as above.
    unsafe { *errno = kept };
    result
}
