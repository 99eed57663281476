//! What the kernel is like: its clock, its preemption model, and whether thread identities can
//! travel.

use super::{Property, Verdict};
use crate::fiber::{Backend, FsBase, NativeReason, has_shadow_stack};
use crate::sysfs;

pub(super) fn clock_source() -> Property {
    const FILE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let verdict = match sysfs::text(FILE).as_deref() {
        None => Verdict::unknown(format!("{FILE} is not readable")),
        // These are read in user space, through the vDSO.
        Some(source @ ("tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page")) => {
            Verdict::granted(source)
        }
        Some(source) => Verdict::refused(
            format!("the clock source {source} is read by a system call or a slow device"),
            "use tsc where the hardware has a stable one (boot parameter tsc=reliable)",
        ),
    };
    Property::new("clock source", "readable without a system call", verdict)
}

pub(super) fn preemption_model() -> Property {
    let realtime = sysfs::number::<u8>("/sys/kernel/realtime") == Some(1);
    let version = version_line();
    let dynamic = sysfs::text("/sys/kernel/debug/sched/preempt")
        .and_then(|modes| chosen(&modes).map(str::to_owned));
    let full = "a kernel with CONFIG_PREEMPT or PREEMPT_RT, or preempt=full at boot";
    let verdict = match (dynamic.as_deref(), version.as_str()) {
        (_, version) if realtime || version.contains("PREEMPT_RT") => {
            Verdict::granted("PREEMPT_RT")
        }
        (Some("full"), _) => Verdict::granted("full, chosen at boot or run time"),
        (Some(mode), _) => Verdict::refused(
            format!("the mode is {mode}: system calls delay a real-time thread"),
            full,
        ),
        (None, version) if version.contains("PREEMPT_DYNAMIC") => Verdict::unknown(
            "PREEMPT_DYNAMIC: the mode stands in /sys/kernel/debug/sched/preempt, which is not readable",
        ),
        (None, version) if version.contains("PREEMPT") => Verdict::granted("full (CONFIG_PREEMPT)"),
        (None, _) => Verdict::refused(
            "the kernel is not preemptible: system calls delay a real-time thread",
            full,
        ),
    };
    Property::new("kernel preemption", "full or real-time", verdict)
}

/// The mode in parentheses of a line like `none voluntary (full) lazy`.
fn chosen(modes: &str) -> Option<&str> {
    modes
        .split_whitespace()
        .find_map(|mode| mode.strip_prefix('(')?.strip_suffix(')'))
}

fn version_line() -> String {
    sysfs::text("/proc/sys/kernel/version").unwrap_or_default()
}

pub(super) fn thread_pointer(backend: Backend) -> Property {
    let verdict = match backend {
        Backend::Carried(FsBase::Instruction) => Verdict::granted("by wrfsbase"),
        Backend::Carried(FsBase::Syscall) => Verdict::refused(
            "the kernel has not enabled FSGSBASE; each switch costs two system calls",
            "boot Linux 5.9 or later without nofsgsbase",
        ),
        Backend::Native(reason) => Verdict::refused(
            format!("fibers run on their own kernel threads: {reason}"),
            "remove that reason, or accept switches at the kernel's price",
        ),
    };
    Property::new("thread pointer switching", "in user space", verdict)
}

pub(super) fn rseq_withdrawal(backend: Backend) -> Property {
    let verdict = match backend {
        Backend::Native(NativeReason::Rseq(error)) => Verdict::refused(
            error.to_string(),
            "let the process use the rseq system call",
        ),
        Backend::Native(reason) => Verdict::unknown(format!("not tried: {reason}")),
        Backend::Carried(_) => {
            Verdict::granted("withdrawn from a probe thread, or never registered")
        }
    };
    Property::new(
        "rseq withdrawal",
        "a carried thread tells no stale CPU",
        verdict,
    )
}

pub(super) fn shadow_stack() -> Property {
    let verdict = match has_shadow_stack() {
        false => Verdict::granted("none"),
        true => Verdict::refused(
            "a shadow stack is active, which cannot travel with a fiber",
            "start the process with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
        ),
    };
    Property::new("shadow stack", "none", verdict)
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn the_chosen_preemption_mode_stands_in_parentheses() {
        assert_eq!(chosen("none voluntary (full) lazy"), Some("full"));
        assert_eq!(chosen("(none) voluntary full"), Some("none"));
        assert_eq!(chosen("none voluntary"), None);
    }
}
