//! What can go wrong, and what to do about it. Every message ends in advice.

use core::any::Any;
use core::fmt;
use core::time::Duration;

use corelane_os::fiber::FiberError;

/// Why a runtime could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The affinity mask or the topology could not be read.
    Topology(String),
    /// More CPUs were asked for than the process may use.
    TooManyCpus {
        /// How many were asked for.
        asked: usize,
        /// The kernel numbers of the CPUs in the process's affinity mask.
        allowed: Vec<usize>,
    },
    /// No CPU was asked for.
    NoCpus,
    /// A CPU was asked for that the process may not use.
    ForeignCpu {
        /// Its kernel number.
        cpu: usize,
        /// The kernel numbers of the CPUs in the process's affinity mask.
        allowed: Vec<usize>,
    },
    /// Another runtime of this process has a worker on that CPU.
    CpuInUse {
        /// Its kernel number.
        cpu: usize,
    },
    /// Called by a task of a runtime.
    Nested,
    /// The pool was given no fibers.
    NoFibers,
    /// A FIFO level outside what the runtime's threads need.
    FifoPriority {
        /// The level that was asked for.
        asked: u8,
        /// The greatest base level: the runtime uses two levels above it.
        max: u8,
    },
    /// The stacks are too small.
    StackTooSmall {
        /// Bytes that were asked for.
        asked: usize,
        /// The fewest bytes that work.
        min: usize,
    },
    /// A fiber could not be created.
    Fiber(FiberError),
    /// A thread could not be created.
    Thread(std::io::Error),
    /// `Realtime::Required` was asked for and the host refuses it.
    NotRealtime {
        /// The property that was refused.
        property: &'static str,
        /// Why.
        reason: String,
        /// What would help.
        remedy: String,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Topology(why) => {
                write!(f, "the CPUs of this host could not be read: {why}")
            }
            BuildError::TooManyCpus { asked, allowed } => write!(
                f,
                "{asked} CPUs were asked for, but this process may use {} ({allowed:?}): ask for fewer, or widen \
                 its affinity mask (taskset) or cpuset",
                allowed.len()
            ),
            BuildError::NoCpus => write!(
                f,
                "a runtime needs at least one CPU: use Cpus::All or name one"
            ),
            BuildError::ForeignCpu { cpu, allowed } => write!(
                f,
                "CPU {cpu} is not in this process's affinity mask {allowed:?}: choose among these, or widen the \
                 mask (taskset) or cpuset"
            ),
            BuildError::CpuInUse { cpu } => write!(
                f,
                "another runtime of this process has its worker on CPU {cpu}: two workers would take the CPU from \
                 each other; give each runtime its own CPUs with Builder::cpus, or share one runtime"
            ),
            BuildError::Nested => write!(
                f,
                "a task cannot build a runtime: use task::spawn, or build it on an ordinary thread (task::outside)"
            ),
            BuildError::NoFibers => {
                write!(f, "tasks run on fibers: give Builder::fibers at least 1")
            }
            BuildError::FifoPriority { asked, max } => write!(
                f,
                "FIFO level {asked} is out of range: choose 1 to {max}, the runtime needs two levels above it"
            ),
            BuildError::StackTooSmall { asked, min } => {
                write!(
                    f,
                    "stacks of {asked} bytes are too small: give Builder::stack_size at least {min}"
                )
            }
            BuildError::Fiber(error) => write!(f, "a fiber could not be created: {error}"),
            BuildError::Thread(error) => write!(
                f,
                "a thread could not be created: {error}: check RLIMIT_NPROC and the cgroup's pids.max"
            ),
            BuildError::NotRealtime {
                property,
                reason,
                remedy,
            } => write!(
                f,
                "Realtime::Required, but {property} was refused: {reason}; {remedy}, or use Realtime::BestEffort"
            ),
        }
    }
}

impl std::error::Error for BuildError {}

/// Why a task could not be spawned.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// The runtime is shutting down.
    ShuttingDown,
    /// The affinity has no CPU.
    EmptyAffinity,
    /// The affinity names a CPU slot that the runtime does not have.
    ForeignCpu {
        /// How many slots the runtime has.
        cpus: usize,
    },
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::ShuttingDown => {
                write!(f, "the runtime is shutting down and takes no more tasks")
            }
            SpawnError::EmptyAffinity => {
                write!(f, "the affinity is empty: give the task at least one CPU")
            }
            SpawnError::ForeignCpu { cpus } => write!(
                f,
                "the affinity names a CPU slot beyond this runtime's {cpus}: slots are 0..{cpus}, not kernel numbers"
            ),
        }
    }
}

impl std::error::Error for SpawnError {}

/// Why a task has no result.
#[non_exhaustive]
pub enum JoinError {
    /// It panicked; the payload is what `std::thread::JoinHandle::join` would give.
    Panicked(Box<dyn Any + Send + 'static>),
    /// It was cancelled, or its runtime was dropped before it ended.
    Cancelled,
    /// A task cannot wait for itself.
    Itself,
    /// No fiber could be created to run it on; the message says why.
    NoFiber(String),
}

impl JoinError {
    /// The payload's message if the task panicked with a string.
    pub fn panic_message(&self) -> Option<&str> {
        let JoinError::Panicked(payload) = self else {
            return None;
        };
        let text = payload.downcast_ref::<&str>().copied();
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(_) => f
                .debug_tuple("Panicked")
                .field(&self.panic_message())
                .finish(),
            JoinError::Cancelled => write!(f, "Cancelled"),
            JoinError::Itself => write!(f, "Itself"),
            JoinError::NoFiber(why) => f.debug_tuple("NoFiber").field(why).finish(),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(_) => {
                write!(
                    f,
                    "the task panicked: {}",
                    self.panic_message().unwrap_or("no message")
                )
            }
            JoinError::Cancelled => write!(f, "the task was cancelled before it ended"),
            JoinError::Itself => {
                write!(
                    f,
                    "a task cannot join itself: it would wait for ever; join it from another task"
                )
            }
            JoinError::NoFiber(why) => {
                write!(
                    f,
                    "no fiber could be created for the task: {why}; raise Builder::fibers or the limit"
                )
            }
        }
    }
}

impl std::error::Error for JoinError {}

/// Why the affinity or priority of a live task was not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ChangeError {
    /// The affinity has no CPU.
    EmptyAffinity,
    /// The affinity names a CPU slot that the runtime does not have.
    ForeignCpu {
        /// How many slots the runtime has.
        cpus: usize,
    },
    /// The task excludes the CPU to which its own migrate-disable guard holds it.
    Held,
    /// The task belongs to the background class, which has neither priority nor affinity.
    Background,
    /// The task has ended.
    Done,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::EmptyAffinity => {
                write!(f, "the affinity is empty: give the task at least one CPU")
            }
            ChangeError::ForeignCpu { cpus } => write!(
                f,
                "the affinity names a CPU slot beyond this runtime's {cpus}: slots are 0..{cpus}, not kernel numbers"
            ),
            ChangeError::Held => write!(
                f,
                "the task holds a migrate-disable guard on a CPU that the new affinity excludes: drop the guard first"
            ),
            ChangeError::Background => {
                write!(
                    f,
                    "background tasks have no priority and no affinity: spawn a real-time task instead"
                )
            }
            ChangeError::Done => write!(f, "the task has ended"),
        }
    }
}

impl std::error::Error for ChangeError {}

/// A limit that a caller gave and that passed; used by reports.
pub(crate) const SHUTDOWN_LIMIT_DEFAULT: Duration = Duration::from_secs(1);
