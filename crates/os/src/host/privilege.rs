//! What the calling thread may do by privilege.
//!
//! Capability bits alone do not tell: in a user namespace a process holds them all, and the kernel
//! asks for the ones that matter here in the *initial* namespace. A capability counts only when the
//! bit is set and the namespace is that one.

use crate::sysfs;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// A capability that matters to a real-time program, with its bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Locks memory beyond RLIMIT_MEMLOCK.
    IpcLock = 14,
    /// Uses real-time levels beyond RLIMIT_RTPRIO.
    SysNice = 23,
}

/// Whether the calling thread has `capability` where the kernel asks for it.
pub fn has_capability(capability: Capability) -> bool {
    effective().is_some_and(|bits| bits & (1 << capability as u32) != 0)
        && in_initial_user_namespace()
}

pub(crate) use has_capability as has;

fn effective() -> Option<u64> {
    let status =
        sysfs::text("/proc/thread-self/status").or_else(|| sysfs::text("/proc/self/status"))?;
    u64::from_str_radix(sysfs::field(&status, "CapEff")?, 16).ok()
}

/// The initial user namespace maps every id to itself. One that maps so too is owned by root and as
/// good for our purpose.
fn in_initial_user_namespace() -> bool {
    let map = sysfs::text("/proc/self/uid_map");
    map.is_none_or(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// The highest SCHED_FIFO level that this process may use, 0 for none.
pub(crate) fn fifo_level_max() -> u8 {
    const LEVEL_MAX: u64 = 99;
    if has(Capability::SysNice) {
        return LEVEL_MAX as u8;
    }
    match getrlimit(Resource::RLIMIT_RTPRIO) {
        Ok((RLIM_INFINITY, _)) => LEVEL_MAX as u8,
        Ok((soft, _)) => soft.min(LEVEL_MAX) as u8,
        Err(_) => 0,
    }
}
