//! What the scheduler grants: the FIFO policy, its levels, its throttling, and a pin.

use super::privilege::{self, Capability};
use super::{Property, Verdict};
use crate::cpuset::KernelCpu;
use crate::sysfs;
use crate::thread::{self, Policy, Tid};
use nix::errno::Errno;

const LEVELS: core::ops::RangeInclusive<u8> = 1..=99;
const GRANT: &str = "raise RLIMIT_RTPRIO (`ulimit -r`, rtprio in limits.conf, LimitRTPRIO= in a unit) or grant CAP_SYS_NICE";

/// Runs `attempt` on a thread of its own, which ends at once.
fn on_a_short_thread<T: Send + 'static>(attempt: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    std::thread::Builder::new()
        .name("host-probe".into())
        .spawn(attempt)
        .ok()?
        .join()
        .ok()
}

pub(super) fn fifo_policy(level: u8) -> Property {
    let asked = format!("SCHED_FIFO at level {level}");
    let verdict = match level {
        0 => Verdict::not_asked("threads stay in the fair class"),
        level if !LEVELS.contains(&level) => {
            Verdict::refused("levels are 1..=99", "choose a level in that range")
        }
        level => match on_a_short_thread(move || try_fifo(level)) {
            None => Verdict::unknown("a probe thread could not be created"),
            Some(Ok(Policy::Fifo { level: found })) if found == level => {
                Verdict::granted("set on a thread and read back")
            }
            Some(Ok(found)) => Verdict::refused(
                format!("the kernel kept {found:?}"),
                "look for a service that resets policies",
            ),
            Some(Err(errno)) => refused_fifo(errno, level),
        },
    };
    Property::new("fifo policy", asked, verdict)
}

fn try_fifo(level: u8) -> Result<Policy, Errno> {
    thread::set_policy(Tid(0), Policy::Fifo { level })?;
    let found = thread::policy(Tid(0));
    thread::set_policy(Tid(0), Policy::Other)?;
    found
}

fn refused_fifo(errno: Errno, level: u8) -> Verdict {
    let level_max = privilege::fifo_level_max();
    if errno != Errno::EPERM {
        return Verdict::refused(
            format!("sched_setscheduler answers {errno}"),
            "check the sandbox of this process",
        );
    }
    if level_max >= level {
        return Verdict::refused(
            format!(
                "EPERM although level {level} is within the limits: the cgroup has no real-time runtime"
            ),
            "write a share to cpu.rt_runtime_us of the cgroup, move the process to the root cgroup, or use a kernel without \
             CONFIG_RT_GROUP_SCHED",
        );
    }
    let capability = if privilege::has(Capability::SysNice) {
        "with"
    } else {
        "without"
    };
    Verdict::refused(
        format!("EPERM: RLIMIT_RTPRIO permits levels up to {level_max}, {capability} CAP_SYS_NICE"),
        GRANT,
    )
}

pub(super) fn fifo_levels(level: u8) -> Property {
    let level_max = privilege::fifo_level_max();
    let basis = if privilege::has(Capability::SysNice) {
        "CAP_SYS_NICE"
    } else {
        "RLIMIT_RTPRIO"
    };
    let verdict = match level_max {
        0 if level == 0 => Verdict::not_asked("no real-time level is permitted"),
        level_max if level == 0 => Verdict::not_asked(format!("1..={level_max} by {basis}")),
        level_max if level_max >= level => Verdict::granted(format!("1..={level_max} by {basis}")),
        level_max => Verdict::refused(format!("{basis} permits levels up to {level_max}"), GRANT),
    };
    Property::new("fifo levels", format!("1..={level}"), verdict)
}

pub(super) fn rt_throttling() -> Property {
    let runtime_us = sysfs::number::<i64>("/proc/sys/kernel/sched_rt_runtime_us");
    let period_us = sysfs::number::<i64>("/proc/sys/kernel/sched_rt_period_us");
    let verdict = match (runtime_us, period_us) {
        (Some(-1), _) => Verdict::granted("off: a FIFO thread that spins keeps its CPU"),
        (Some(runtime_us), Some(period_us)) if runtime_us >= period_us => {
            Verdict::granted("off: the runtime is the period")
        }
        (Some(runtime_us), Some(period_us)) => Verdict::refused(
            format!("real-time threads get {runtime_us} us of {period_us} us when others starve"),
            "if workers may use a whole CPU, write -1 to /proc/sys/kernel/sched_rt_runtime_us",
        ),
        _ => Verdict::unknown("/proc/sys/kernel/sched_rt_runtime_us is not readable"),
    };
    Property::new("rt throttling", "off", verdict)
}

/// Since Linux 6.12 a deadline server lends the fair class 50 ms of every second on a CPU that
/// real-time threads occupy.
pub(super) fn fair_server() -> Property {
    const DIRECTORY: &str = "/sys/kernel/debug/sched/fair_server";
    let runtime = |cpu: KernelCpu| sysfs::number::<u64>(format!("{DIRECTORY}/cpu{cpu}/runtime"));
    let allowed = thread::affinity(Tid(0)).unwrap_or_default();
    let runtimes: Vec<u64> = allowed.iter().filter_map(runtime).collect();
    let verdict = match runtimes.iter().max() {
        None => Verdict::unknown(format!(
            "{DIRECTORY} is not readable (debugfs is for root, the server is of Linux 6.12)"
        )),
        Some(0) => Verdict::granted("off on every CPU"),
        Some(runtime_ns) => Verdict::refused(
            format!("starving ordinary threads get up to {runtime_ns} ns of each second"),
            format!("if workers may use a whole CPU, write 0 to {DIRECTORY}/cpu*/runtime"),
        ),
    };
    Property::new("fair server", "off", verdict)
}

pub(super) fn pinning() -> Property {
    let tried = on_a_short_thread(|| {
        let allowed = thread::affinity(Tid(0)).unwrap_or_default();
        let failed = allowed.iter().find_map(|cpu| thread::pin(cpu).err());
        (allowed, failed)
    });
    let verdict = match tried {
        None => Verdict::unknown("a probe thread could not be created"),
        Some((allowed, None)) => {
            Verdict::granted(format!("a thread ran on each of the CPUs {allowed}"))
        }
        Some((_, Some(error))) => Verdict::refused(
            error.to_string(),
            "give the process a cpuset whose CPUs are online",
        ),
    };
    Property::new("pinning", "a thread stays on its CPU", verdict)
}
