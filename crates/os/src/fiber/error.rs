//! What can go wrong around a fiber, in words that say what to do.

use super::{Fiber, RseqError};
use core::fmt;
use std::any::Any;

/// Why a fiber was not created.
#[derive(Debug)]
pub enum FiberError {
    /// The stack is too small for control block, reserve and a body.
    StackTooSmall {
        /// Bytes that were asked for.
        asked: usize,
        /// Bytes that are needed at least.
        min: usize,
    },
    /// The name holds a NUL byte.
    Name,
    /// The thread could not be created.
    Thread(std::io::Error),
    /// The bounds of the new thread's stack could not be read.
    StackBounds(nix::errno::Errno),
    /// The new thread's rseq registration could not be withdrawn, so its control block cannot be
    /// carried.
    Rseq(RseqError),
    /// The new thread has a shadow stack, which does not travel.
    ShadowStack,
    /// [`super::FsBase::Instruction`] was asked for, and the kernel has not enabled FSGSBASE.
    NoFsGsBase,
}

impl fmt::Display for FiberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FiberError::StackTooSmall { asked, min } => {
                write!(
                    f,
                    "a fiber's stack of {asked} bytes is too small; ask for at least {min}"
                )
            }
            FiberError::Name => write!(f, "the fiber's name holds a NUL byte; choose another name"),
            FiberError::Thread(error) => write!(
                f,
                "the fiber's thread could not be created: {error}; check RLIMIT_NPROC, the pids limit of the cgroup, \
                 /proc/sys/vm/max_map_count and RLIMIT_MEMLOCK if memory is locked"
            ),
            FiberError::StackBounds(errno) => write!(
                f,
                "the bounds of the fiber's stack are unknown: {errno}; is /proc mounted?"
            ),
            FiberError::Rseq(error) => write!(f, "{error}; use the native backend"),
            FiberError::ShadowStack => write!(
                f,
                "a shadow stack is active, which cannot travel with a fiber; use the native backend, or start the process \
                 with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off"
            ),
            FiberError::NoFsGsBase => write!(
                f,
                "the kernel has not enabled FSGSBASE; use FsBase::Syscall, or boot Linux 5.9 or later without nofsgsbase"
            ),
        }
    }
}

impl std::error::Error for FiberError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FiberError::Thread(error) => Some(error),
            FiberError::Rseq(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a fiber did not end.
pub enum FinishError {
    /// The body suspended again instead of returning: here is the fiber, parked.
    Suspended(Fiber),
    /// Dropping a body that had never started panicked; the fiber is gone. The payload of the
    /// panic.
    Panicked(Box<dyn Any + Send>),
}

impl fmt::Debug for FinishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FinishError::Suspended(_) => "Suspended(..)",
            FinishError::Panicked(_) => "Panicked(..)",
        })
    }
}

impl fmt::Display for FinishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FinishError::Suspended(_) => {
                "the body suspended again; resume it until it can return, then finish the fiber"
            }
            FinishError::Panicked(_) => "dropping the body of a fiber that never started panicked",
        })
    }
}

impl std::error::Error for FinishError {}
