//! What the host granted, said plainly.

use core::fmt;

use corelane_os::fiber::Backend;
use corelane_os::host::{Property, Verdict};
use corelane_sched::CpuId;

use crate::config::{Config, Preemption};

/// Whether the host gave what was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Grant {
    /// It did, and this was read back.
    Granted,
    /// It did not.
    Refused {
        /// Why.
        reason: String,
    },
    /// Nobody asked.
    NotAsked,
}

impl Grant {
    pub(crate) fn of(result: Result<(), String>) -> Grant {
        match result {
            Ok(()) => Grant::Granted,
            Err(reason) => Grant::Refused { reason },
        }
    }

    /// Whether it was granted.
    pub fn is_granted(&self) -> bool {
        *self == Grant::Granted
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::Granted => write!(f, "granted"),
            Grant::Refused { reason } => write!(f, "NOT GRANTED ({reason})"),
            Grant::NotAsked => write!(f, "not asked for"),
        }
    }
}

/// One CPU of the runtime.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CpuStatus {
    /// Its slot.
    pub cpu: CpuId,
    /// The kernel's number.
    pub kernel_cpu: usize,
    /// SCHED_FIFO for its worker.
    pub fifo: Grant,
    /// The pin of its worker.
    pub pin: Grant,
}

/// What a runtime got from its host.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Each CPU and what its worker was granted.
    pub cpus: Vec<CpuStatus>,
    /// The SCHED_FIFO level that the workers asked for.
    pub fifo_level: u8,
    /// The memory lock.
    pub memory_lock: Grant,
    /// How running tasks are preempted.
    pub preemption: Preemption,
    /// How fibers are resumed.
    pub fiber_backend: Backend,
    /// Fibers made when the runtime was built.
    pub fibers: usize,
    /// Everything else about the host that bears on latency.
    pub properties: Vec<Property>,
}

impl Status {
    pub(crate) fn new(
        config: &Config,
        cpus: Vec<CpuStatus>,
        memory_lock: Grant,
        fiber_backend: Backend,
        properties: Vec<Property>,
    ) -> Status {
        Status {
            cpus,
            fifo_level: config.fifo_level,
            memory_lock,
            preemption: config.preemption,
            fiber_backend,
            fibers: config.fibers,
            properties,
        }
    }

    /// Whether every worker runs SCHED_FIFO on its own CPU.
    pub fn is_realtime(&self) -> bool {
        self.cpus
            .iter()
            .all(|cpu| cpu.fifo.is_granted() && cpu.pin.is_granted())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for cpu in &self.cpus {
            let (slot, kernel) = (cpu.cpu, cpu.kernel_cpu);
            writeln!(
                f,
                "cpu {slot} (kernel {kernel}): FIFO {} {}; pin {}",
                self.fifo_level, cpu.fifo, cpu.pin
            )?;
        }
        writeln!(f, "memory lock: {}", self.memory_lock)?;
        writeln!(f, "preemption: at safe points only")?;
        writeln!(f, "fibers: {} ({})", self.fibers, self.fiber_backend)?;
        for property in &self.properties {
            if let Verdict::Refused { reason, remedy } = &property.verdict {
                writeln!(f, "{}: NOT GRANTED ({reason}); {remedy}", property.name)?;
            }
        }
        Ok(())
    }
}
