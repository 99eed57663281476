//! Names for CPUs and for the threads that act for them.

use core::fmt;

/// A CPU of the runtime: a dense slot `0..n`, not the kernel's CPU number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(u16);

impl CpuId {
    /// The largest number of CPUs that one runtime or simulation can have.
    pub const CPUS_MAX: usize = 4096;

    /// The CPU in slot `index`.
    ///
    /// # Panics
    /// If `index` is not below [`CpuId::CPUS_MAX`].
    #[inline]
    pub const fn new(index: usize) -> CpuId {
        assert!(index < CpuId::CPUS_MAX, "a CPU slot is below CPUS_MAX");
        CpuId(index as u16)
    }

    /// The slot, for indexing arrays with one element per CPU.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu{}", self.0)
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A carrier: an OS thread pinned to a CPU, which may hold that CPU's worker role.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CarrierId(pub u32);
