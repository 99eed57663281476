//! What of the host bears on a ratio, a line each.

use corelane::Status;
use corelane_os::host::Verdict;
use corelane_os::memory;

use crate::Site;

/// The facts that a reader needs to judge the table; `status` is that of a runtime on the same CPUs.
/// Locks the memory of the process, so that no arm pays for a page fault.
pub fn facts(site: &Site, status: &Status) -> Vec<String> {
    let fifo = match site.has_fifo() {
        true => "granted to every real-time arm",
        false => {
            "NOT GRANTED: every arm runs in the ordinary class, peers that need it are left out"
        }
    };
    let memory = match memory::lock_on_fault() {
        Ok(locked) => format!("locked ({})", locked.basis),
        Err(refused) => format!("NOT LOCKED: {}", refused.reason),
    };
    let mut facts = vec![
        format!("SCHED_FIFO: {fifo}"),
        format!("CPUs in the affinity mask: {}", site.cpus()),
        format!("memory: {memory}"),
        format!("timestamps: {}", site.stamp.name()),
        format!("fibers: {}", status.fiber_backend),
    ];
    for property in &status.properties {
        if let Verdict::Refused { reason, .. } = &property.verdict {
            facts.push(format!("{}: {reason}", property.name));
        }
    }
    facts
}
