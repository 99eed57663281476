//! What the CPUs are like: how many are ours, who else uses them, how fast they run.

use super::{Property, Verdict};
use crate::cpuset::KernelCpuSet;
use crate::sysfs;
use crate::thread::{self, Tid};
use std::collections::BTreeSet;

const CPUS: &str = "/sys/devices/system/cpu";

fn own() -> KernelCpuSet {
    thread::affinity(Tid(0)).unwrap_or_default()
}

fn list(name: &str) -> Option<KernelCpuSet> {
    // An empty set is written as nothing, or as "(null)" by some kernels.
    KernelCpuSet::parse_list(sysfs::text(format!("{CPUS}/{name}"))?.trim_start_matches("(null)"))
}

pub(super) fn allowed() -> Property {
    let own = own();
    let verdict = match list("online") {
        None => Verdict::unknown(format!("{CPUS}/online is not readable; allowed are {own}")),
        Some(online) if online.iter().all(|cpu| own.contains(cpu)) => {
            Verdict::granted(format!("all {} online CPUs ({online})", online.len()))
        }
        Some(online) => Verdict::refused(
            format!(
                "{} of {} online CPUs: {own} of {online}",
                own.len(),
                online.len()
            ),
            "if that is not on purpose, widen the affinity (taskset) or the cpuset of the cgroup",
        ),
    };
    Property::new("allowed cpus", "every online CPU", verdict)
}

/// Which of the process's CPUs are in the kernel's list `file`.
fn set_apart(name: &'static str, file: &str, asked: &str, remedy: &str) -> Property {
    let own = own();
    let verdict = match list(file) {
        None => Verdict::unknown(format!("{CPUS}/{file} is not readable")),
        Some(set) => {
            let (inside, outside): (KernelCpuSet, KernelCpuSet) = (
                own.iter().filter(|&cpu| set.contains(cpu)).collect(),
                own.iter().filter(|&cpu| !set.contains(cpu)).collect(),
            );
            match (inside.is_empty(), outside.is_empty()) {
                (_, true) => Verdict::granted(format!("CPUs {inside}")),
                (true, _) => Verdict::refused("none of the allowed CPUs", remedy),
                (false, false) => {
                    Verdict::refused(format!("CPUs {inside}, but not {outside}"), remedy)
                }
            }
        }
    };
    Property::new(name, asked, verdict)
}

pub(super) fn isolated() -> Property {
    set_apart(
        "isolated cpus",
        "isolated",
        "the kernel balances nothing onto the workers' CPUs",
        "for the lowest jitter boot with isolcpus=<list>, or use an isolated cpuset partition",
    )
}

pub(super) fn tickless() -> Property {
    set_apart(
        "tickless cpus",
        "nohz_full",
        "no scheduler tick while a worker runs alone",
        "for the lowest jitter boot with nohz_full=<list> rcu_nocbs=<list>",
    )
}

pub(super) fn governor() -> Property {
    let governor = |cpu| sysfs::text(format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor"));
    let found: BTreeSet<String> = own().iter().filter_map(governor).collect();
    let names = found
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let verdict = if found.is_empty() {
        Verdict::unknown("no cpufreq in sysfs, as in most virtual machines")
    } else if names == "performance" {
        Verdict::granted(names)
    } else {
        Verdict::refused(
            format!("the governor is {names}"),
            "use `cpupower frequency-set -g performance`",
        )
    };
    Property::new("frequency governor", "performance", verdict)
}

pub(super) fn simultaneous_threads() -> Property {
    let verdict = match sysfs::number::<u8>(format!("{CPUS}/smt/active")) {
        None => Verdict::unknown(format!("{CPUS}/smt/active is not readable")),
        Some(0) => Verdict::granted("each CPU is a core of its own"),
        Some(_) => Verdict::refused(
            "two CPUs share a core, and slow each other down",
            "for the lowest jitter boot with nosmt, or leave the siblings of the workers' CPUs idle",
        ),
    };
    Property::new("smt", "off", verdict)
}
