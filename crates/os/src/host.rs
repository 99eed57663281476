//! What this host grants, refuses, and does not tell.
//!
//! A real-time program that runs badly mostly runs on a host that withholds something: a limit, a
//! governor, a cgroup, a kernel option. Each costs a day when it is found by its symptoms.
//! [`examine`] asks for every property that latency and the promises of the runtime rest on, really
//! trying where a limit alone does not tell, and answers with what was granted, or with the reason
//! and the remedy.
//!
//! Examining changes nothing: policies and pins are tried on threads that end at once.
//!
//! The properties live in files of their own (`scheduling`, `cpus`, `kernel`); `privilege` holds what
//! they share.
//!
//! Raw here: one `sysconf`. Tested by `tests/host.rs`.

pub(crate) mod privilege;

mod cpus;
mod kernel;
mod scheduling;

pub use privilege::{Capability, has_capability};

use crate::sysfs;
use crate::{fiber, memory};
use core::fmt;

/// Whether memory shall be locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockMemory {
    /// Leave memory as it is.
    #[default]
    No,
    /// Lock pages as they are touched ([`memory::lock_on_fault`]).
    OnFault,
}

/// What the program wants from its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The highest SCHED_FIFO level it will use, 1..=99; 0 when it wants none.
    pub fifo_level: u8,
    /// Whether it locks memory.
    pub lock_memory: LockMemory,
    /// Bytes of stack it touches beforehand in each thread; 0 when none.
    pub prefault_stack_bytes: usize,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is so.
    Granted {
        /// What was found.
        detail: String,
    },
    /// It is not so.
    Refused {
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// Nobody asked; this is how it is.
    NotAsked {
        /// What was found.
        detail: String,
    },
    /// The host does not tell.
    Unknown {
        /// Why it is unknown.
        reason: String,
    },
}

impl Verdict {
    pub(crate) fn granted(detail: impl Into<String>) -> Verdict {
        Verdict::Granted {
            detail: detail.into(),
        }
    }

    pub(crate) fn refused(reason: impl Into<String>, remedy: impl Into<String>) -> Verdict {
        Verdict::Refused {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn not_asked(detail: impl Into<String>) -> Verdict {
        Verdict::NotAsked {
            detail: detail.into(),
        }
    }

    pub(crate) fn unknown(reason: impl Into<String>) -> Verdict {
        Verdict::Unknown {
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Granted { detail } => write!(f, "granted: {detail}"),
            Verdict::Refused { reason, remedy } => write!(f, "refused: {reason}; {remedy}"),
            Verdict::NotAsked { detail } => write!(f, "not asked: {detail}"),
            Verdict::Unknown { reason } => write!(f, "unknown: {reason}"),
        }
    }
}

/// One property of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// What it is; unique among the properties.
    pub name: &'static str,
    /// What was wanted.
    pub asked: String,
    /// What was found.
    pub verdict: Verdict,
}

impl Property {
    pub(crate) fn new(name: &'static str, asked: impl Into<String>, verdict: Verdict) -> Property {
        Property {
            name,
            asked: asked.into(),
            verdict,
        }
    }
}

/// Examines the host. Starts a few short-lived threads and reads some files; call it from ordinary
/// code.
pub fn examine(asked: &Asked) -> Vec<Property> {
    let backend = fiber::detect_backend();
    vec![
        scheduling::fifo_policy(asked.fifo_level),
        scheduling::fifo_levels(asked.fifo_level),
        scheduling::rt_throttling(),
        scheduling::fair_server(),
        scheduling::pinning(),
        memory_lock(asked.lock_memory),
        stack_prefault(asked.prefault_stack_bytes),
        cpus::allowed(),
        cpus::isolated(),
        cpus::tickless(),
        cpus::governor(),
        cpus::simultaneous_threads(),
        kernel::clock_source(),
        kernel::preemption_model(),
        kernel::thread_pointer(backend),
        kernel::rseq_withdrawal(backend),
        kernel::shadow_stack(),
    ]
}

fn memory_lock(asked: LockMemory) -> Property {
    let possible = memory::may_lock();
    let verdict = match (asked, possible) {
        (LockMemory::No, Ok(basis)) => {
            Verdict::not_asked(format!("it would be permitted by {basis}"))
        }
        (LockMemory::No, Err(refused)) => {
            Verdict::not_asked(format!("it would be refused: {}", refused.reason))
        }
        (LockMemory::OnFault, Ok(basis)) => Verdict::granted(format!("permitted by {basis}")),
        (LockMemory::OnFault, Err(refused)) => Verdict::refused(refused.reason, refused.remedy),
    };
    let wish = match asked {
        LockMemory::No => "unlocked",
        LockMemory::OnFault => "all pages locked as they are touched",
    };
    Property::new("memory lock", wish, verdict)
}

fn stack_prefault(bytes: usize) -> Property {
    let touch = move || memory::prefault_stack(bytes);
    let tried = std::thread::Builder::new()
        .name("host-probe".into())
        .stack_size(bytes.saturating_add(256 * 1024));
    let verdict = match bytes {
        0 => Verdict::not_asked("stacks fault on first use"),
        _ => match tried.spawn(touch).map(std::thread::JoinHandle::join) {
            Ok(Ok(Ok(touched))) if touched + 4096 >= bytes => {
                Verdict::granted(format!("{touched} bytes touched"))
            }
            Ok(Ok(Ok(touched))) => Verdict::refused(
                format!("only {touched} bytes are there"),
                "use larger stacks",
            ),
            Ok(Ok(Err(errno))) => {
                Verdict::unknown(format!("the bounds of a stack could not be read: {errno}"))
            }
            Ok(Err(_)) => Verdict::unknown("the probe thread panicked"),
            Err(error) => Verdict::refused(
                format!("no thread with such a stack: {error}"),
                "ask for less",
            ),
        },
    };
    Property::new(
        "stack prefault",
        format!("{bytes} bytes per thread"),
        verdict,
    )
}

/// The time that the hypervisor gave to others while a CPU of this machine wanted to run: the sum
/// over all CPUs since boot, in nanoseconds, in steps of a clock tick (1 / USER_HZ). `None` when
/// /proc/stat does not tell.
pub fn stolen_ns() -> Option<u64> {
    const STEAL_FIELD: usize = 7;
    // SAFETY: takes and returns plain values.
    let ticks_per_s = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) })
        .ok()
        .filter(|&hz| hz > 0)?;
    let stat = sysfs::text("/proc/stat")?;
    let total = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: u64 = total.split_whitespace().nth(STEAL_FIELD)?.parse().ok()?;
    Some(ticks.saturating_mul(1_000_000_000 / ticks_per_s))
}
