//! What the host did to a round.
//!
//! A round in which the hypervisor ran somebody else, or the kernel took the CPU from a measured
//! thread, says nothing about the code. To drop such rounds by their *results* would be
//! cherry-picking; they are dropped by these two counts alone, whichever arm they hurt, and counted.
//!
//! The second count also shows the kernel's fair server, which takes a CPU from real-time threads
//! that have kept ordinary ones waiting for long.

use corelane_os::cpuset::KernelCpu;
use nix::sys::resource::{UsageWho, getrusage};

/// What is watched around a round.
#[derive(Clone, Debug)]
pub struct Disturbance<'a> {
    cpus: &'a [KernelCpu],
    stolen_ticks: u64,
}

impl Disturbance<'_> {
    /// Starts to watch these CPUs; none where theft does not matter.
    pub fn watch(cpus: &[KernelCpu]) -> Disturbance<'_> {
        Disturbance {
            cpus,
            stolen_ticks: stolen_ticks(cpus),
        }
    }

    /// Whether one of the CPUs was stolen from since. The unit is a clock tick of the kernel
    /// (usually 10 ms), so short thefts show up in one round of many.
    pub fn has_stolen(&self) -> bool {
        stolen_ticks(self.cpus) != self.stolen_ticks
    }
}

fn stolen_ticks(cpus: &[KernelCpu]) -> u64 {
    if cpus.is_empty() {
        return 0;
    }
    // A kernel that does not tell has no hypervisor above it.
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stolen_in(&stat, cpus)
}

/// The stolen ticks of `cpus` in the text of /proc/stat.
fn stolen_in(stat: &str, cpus: &[KernelCpu]) -> u64 {
    const STEAL_FIELD: usize = 7;
    let of_line = |line: &str| {
        // The line of the sum has no number: its first field is empty.
        let mut fields = line.strip_prefix("cpu")?.split(' ');
        let number: u32 = fields.next()?.parse().ok()?;
        let is_ours = cpus.contains(&KernelCpu(number));
        is_ours.then(|| fields.nth(STEAL_FIELD)?.parse::<u64>().ok())?
    };
    stat.lines().filter_map(of_line).sum()
}

/// How often the kernel took the CPU from the calling kernel thread so far. Inside a task that is
/// the thread that carries it.
///
/// # Panics
/// If the kernel refuses to tell a thread about itself, which it never does.
pub fn involuntary_switches() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("a thread may ask about itself");
    usage.involuntary_context_switches() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_theft_of_the_cpus_involved_counts() {
        let stat = "cpu  1 2 3 4 5 6 7 90 9 10\ncpu0 1 2 3 4 5 6 7 30 9 10\n\
                    cpu1 1 2 3 4 5 6 7 40 9 10\ncpu12 1 2 3 4 5 6 7 20 9 10\nintr 5\n";
        assert_eq!(stolen_in(stat, &[KernelCpu(0)]), 30);
        assert_eq!(stolen_in(stat, &[KernelCpu(12), KernelCpu(1)]), 60);
        assert_eq!(stolen_in("cpu0 1 2 3 4\n", &[KernelCpu(0)]), 0);
    }

    #[test]
    fn without_cpus_nothing_is_stolen() {
        assert!(!Disturbance::watch(&[]).has_stolen());
    }
}
