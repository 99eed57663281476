//! Threads as the kernel sees them, and as the standard library does.
//!
//! Policies and affinities are written down and granted; nobody obeys them. Which thread runs is the
//! checker's choice alone.

use core::time::Duration;

use nix::errno::Errno;

pub use corelane_os::thread::{PinError, Policy, Tid};
pub use shuttle::thread::{Builder, JoinHandle, ThreadId, current, spawn};

use crate::clock;
use crate::cpuset::{KernelCpu, KernelCpuSet};
use crate::machine;
use crate::panic;

/// The kernel's id of the calling thread; of its carrier, if it is a body that is carried.
pub fn gettid() -> Tid {
    let own = Tid(usize::from(shuttle::current::me()) as i32 + 1);
    machine::with(|machine| machine.carriers.get(&own).copied().unwrap_or(own))
}

fn task(tid: Tid) -> shuttle::scheduler::TaskId {
    let tid = if tid.0 == 0 { gettid() } else { tid };
    ((tid.0 - 1) as usize).into()
}

/// Sets the policy of a thread: granted.
///
/// # Errors
/// None on this host.
pub fn set_policy(tid: Tid, policy: Policy) -> Result<(), Errno> {
    let task = task(tid);
    machine::with(|machine| _ = machine.policies.insert(task, policy));
    Ok(())
}

/// The policy of a thread; the fair class unless it was set.
///
/// # Errors
/// None on this host.
pub fn policy(tid: Tid) -> Result<Policy, Errno> {
    let task = task(tid);
    let policy = machine::with(|machine| machine.policies.get(&task).copied());
    Ok(policy.unwrap_or(Policy::Other))
}

/// Sets the affinity of a thread: granted.
///
/// # Errors
/// None on this host.
pub fn set_affinity(tid: Tid, set: &KernelCpuSet) -> Result<(), Errno> {
    let task = task(tid);
    machine::with(|machine| _ = machine.affinities.insert(task, set.clone()));
    Ok(())
}

/// The affinity of a thread; all CPUs unless it was set.
///
/// # Errors
/// None on this host.
pub fn affinity(tid: Tid) -> Result<KernelCpuSet, Errno> {
    let task = task(tid);
    Ok(machine::with(|machine| {
        let all = || (0..machine.settings.cpus).map(KernelCpu).collect();
        machine.affinities.get(&task).cloned().unwrap_or_else(all)
    }))
}

/// Pins the calling thread: granted.
///
/// # Errors
/// None on this host.
pub fn pin(cpu: KernelCpu) -> Result<(), PinError> {
    let refused = |errno| PinError::Refused { asked: cpu, errno };
    set_affinity(Tid(0), &KernelCpuSet::single(cpu)).map_err(refused)
}

/// Whether the calling thread unwinds by [`panic::resume_unwind`].
pub fn panicking() -> bool {
    panic::is_unwinding()
}

/// Sleeps for virtual time.
pub fn sleep(duration: Duration) {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    match ns {
        0 => shuttle::thread::yield_now(),
        _ => machine::sleep_until(clock::now_ns().saturating_add(ns)),
    }
}

/// Runs `f`. The model's calls do not write `errno`.
pub fn keeping_errno<R>(f: impl FnOnce() -> R) -> R {
    f()
}
