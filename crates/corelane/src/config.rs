//! What a runtime is asked to be.

use corelane_os::fiber::STACK_SIZE_MIN;

use crate::BuildError;

/// Which CPUs the runtime uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cpus {
    /// Every CPU of the process's affinity mask.
    All,
    /// The first so many of the affinity mask.
    Count(usize),
    /// These, by kernel number.
    Kernel(Vec<usize>),
}

/// What happens when the host refuses a real-time property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Realtime {
    /// The runtime starts all the same, and its status says what it did not get.
    BestEffort,
    /// The runtime does not start.
    Required,
}

/// What a worker does when it has nothing to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// It polls for ever. A wake costs one store; everything else on that CPU starves, and the kernel's
    /// fair server takes about 50 ms per second from it as soon as an ordinary thread wants the CPU.
    Spin,
    /// It polls for `spin_ns`, then sleeps in the kernel.
    SpinThenPark {
        /// How long it polls, in nanoseconds.
        spin_ns: u64,
    },
    /// It sleeps in the kernel at once.
    Park,
}

/// How a running task is preempted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Preemption {
    /// At its next safe point: any call into the runtime.
    SafePoints,
}

/// Whether the process's memory is locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockMemory {
    /// Left as it is.
    No,
    /// Each page stays once it has been touched (`MCL_ONFAULT`). Applies to the whole process, and stays
    /// after the runtime is gone.
    OnFault,
}

/// How a task shares its level with its equals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// It runs until it waits, yields or is preempted.
    Fifo,
    /// It goes behind its equals after `slice_ns` nanoseconds of running, at its next safe point.
    RoundRobin {
        /// The slice in nanoseconds; 0 counts as 1.
        slice_ns: u64,
    },
}

impl Policy {
    pub(crate) fn sched(self) -> corelane_sched::Policy {
        match self {
            Policy::Fifo => corelane_sched::Policy::Fifo,
            Policy::RoundRobin { slice_ns } => corelane_sched::Policy::RoundRobin { slice_ns },
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) cpus: Cpus,
    pub(crate) fifo_level: u8,
    pub(crate) idle: Idle,
    pub(crate) preemption: Preemption,
    pub(crate) fibers: usize,
    pub(crate) stack_bytes: usize,
    pub(crate) lock_memory: LockMemory,
    pub(crate) realtime: Realtime,
    pub(crate) events: usize,
    pub(crate) native_only: bool,
}

/// Levels above the base: one for native and blocking tasks, one for fiber growth.
pub(crate) const LEVELS_ABOVE_BASE: u8 = 2;
const FIFO_LEVEL_MAX: u8 = 98;

impl Config {
    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        let max = FIFO_LEVEL_MAX - LEVELS_ABOVE_BASE;
        if !(1..=max).contains(&self.fifo_level) {
            return Err(BuildError::FifoPriority {
                asked: self.fifo_level,
                max,
            });
        }
        if self.fibers == 0 {
            return Err(BuildError::NoFibers);
        }
        if self.stack_bytes < STACK_SIZE_MIN {
            let min = STACK_SIZE_MIN;
            return Err(BuildError::StackTooSmall {
                asked: self.stack_bytes,
                min,
            });
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            cpus: Cpus::All,
            fifo_level: 20,
            idle: Idle::SpinThenPark { spin_ns: 50_000 },
            preemption: Preemption::SafePoints,
            fibers: 64,
            stack_bytes: 256 * 1024,
            lock_memory: LockMemory::No,
            realtime: Realtime::BestEffort,
            events: 0,
            native_only: false,
        }
    }
}
