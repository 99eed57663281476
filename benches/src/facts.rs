//! What of the host bears on a ratio, a line each.

use core::fmt;

use corelane::Status;
use corelane_os::host::Verdict;
use corelane_os::memory;

use crate::Site;

/// One fact about the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// How it is.
    pub finding: String,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.finding)
    }
}

/// The facts that a reader needs to judge the table; `status` is that of a runtime on the same CPUs.
/// Locks the memory of the process, so that no arm pays for a page fault.
pub fn facts(site: &Site, status: &Status) -> Vec<Fact> {
    let fact = |name, finding| Fact { name, finding };
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
        fact("SCHED_FIFO", fifo.to_owned()),
        fact("CPUs in the affinity mask", site.cpus().to_string()),
        fact("memory", memory),
        fact("timestamps", site.stamp.name().to_owned()),
        fact("fibers", status.fiber_backend.to_string()),
    ];
    for property in &status.properties {
        if let Verdict::Refused { reason, .. } = &property.verdict {
            facts.push(fact(property.name, reason.clone()));
        }
    }
    facts
}
