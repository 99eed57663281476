//! What the host did to a round.
//!
//! A round in which the hypervisor ran somebody else, or the kernel took the CPU from a measured
//! thread, says nothing about the code. To drop such rounds by their *results* would be
//! cherry-picking; they are dropped by these two counts alone, whichever arm they hurt, and counted.

use nix::sys::resource::{UsageWho, getrusage};

/// What is watched around a round.
#[derive(Clone, Copy, Debug)]
pub struct Disturbance {
    stolen_ns: u64,
}

impl Disturbance {
    /// Starts to watch.
    pub fn watch() -> Disturbance {
        Disturbance {
            stolen_ns: stolen_ns(),
        }
    }

    /// Whether a CPU of this machine was stolen from since. Its unit is a clock tick of the kernel
    /// (usually 10 ms), so short thefts show up in one round of many.
    pub fn has_stolen(&self) -> bool {
        stolen_ns() != self.stolen_ns
    }
}

fn stolen_ns() -> u64 {
    // A kernel that does not tell has no hypervisor above it.
    corelane_os::host::stolen_ns().unwrap_or(0)
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
