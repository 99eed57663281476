//! The witness of the current CPU.
//!
//! Code that works on the data near it must know which slot that is, and the answer must not go
//! stale while it works. A function `current_cpu()` gives an answer that may be wrong by the time
//! the caller has it. A value that *keeps* the caller where it is, and that must be shown to reach
//! the data, makes the mistake hard to write.
//!
//! Nothing raw happens here. The trait is `unsafe` because an implementor promises something that
//! the compiler cannot see; the tests of [`PerCpu`](crate::PerCpu) and
//! [`PerCpuCounter`](crate::PerCpuCounter) break that promise on purpose.

/// Proof that the caller stays on one CPU slot for as long as the value lives.
///
/// A slot is a dense index `0..n` chosen by whoever implements the trait. It is not the kernel's
/// CPU number, which may be sparse and may exceed the number of CPUs that a program is allowed to
/// use.
///
/// # Safety
///
/// Locality is what the implementor owes: while any value exists, the task that created it is not
/// moved to another slot by its scheduler, `slot` gives the same answer each time, and the value
/// cannot be sent to another task.
///
/// Memory safety is not owed and not assumed: the kernel can break any pin (cpuset, CPU unplug,
/// `taskset`), so every user of a witness stays sound when two threads show the same slot at once.
/// A lying witness costs cache misses, and code that assumed exclusivity without a lock gets wrong
/// sums, never undefined behaviour.
pub unsafe trait PinCurrentCpu {
    /// The slot that the caller is pinned to.
    fn slot(&self) -> usize;
}

/// A pin that says whatever a test wants it to say.
#[cfg(test)]
pub(crate) struct TestPin(pub(crate) usize);

// SAFETY: tests of locality keep one pin per thread; the others lie on purpose, and only locality
// is owed.
#[cfg(test)]
unsafe impl PinCurrentCpu for TestPin {
    fn slot(&self) -> usize {
        self.0
    }
}
