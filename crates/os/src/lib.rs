//! The kernel seam of Corelane: everything the runtime wants from Linux, and nothing it decides by
//! itself.
//!
//! A real-time executor needs a handful of things from the kernel, and needs to know exactly what
//! each of them did: a thread at a FIFO level, a pin that really holds, a sleep until an absolute
//! time, memory that stays resident, a stack that brings its thread identity along. The libraries
//! that wrap these calls mostly answer with a `bool`, with a guess, or with a write to `errno` at a
//! moment when `errno` belongs to somebody else. This crate is the one place where system calls are
//! made, and each module says what its calls may answer.
//!
//! The contract of the seam:
//!
//! - **Nothing is downgraded in silence.** A refusal is a value that carries the reason and the
//!   remedy; what was granted is read back from the kernel.
//! - **Errors the kernel may answer are listed.** An answer outside the list is a broken invariant
//!   and ends the process; it is never mapped to the nearest known case.
//! - **Identity travels.** While a [`fiber::Fiber`] runs, the thread pointer of the carrier is the
//!   fiber's. Code that runs near that moment ([`futex`], the switch itself, the parked lender)
//!   uses raw system calls: no `errno`, no thread-local, no allocation.
//! - **Kernel words keep their kernel meaning.** Levels are SCHED_FIFO levels (1..=99, greater is
//!   more urgent), CPUs are [`cpuset::KernelCpu`] numbers, times are CLOCK_MONOTONIC nanoseconds.
//! - **Signals and credentials stay process matters.** A carried body runs under the signal mask
//!   and the credentials of its carrier's kernel thread. A process-wide credential change (`setuid`
//!   and its like) waits for each running body to suspend, because glibc's handler clears the mark
//!   of whichever thread control block it finds loaded.
//!
//! Only x86_64 Linux with a dynamically linked glibc is supported: carrying a thread control block
//! rests on glibc's layout of the restartable-sequences area and on its handling of credential
//! changes.
//!
//! | module | noun | unsafe | tested by |
//! |---|---|---|---|
//! | [`clock`] | monotonic time, cycle counter | `rdtsc` | `tests/clock.rs` |
//! | [`futex`] | sleep and wake on a word | raw calls | `tests/futex.rs` |
//! | [`thread`] | policy, affinity, pin | libc calls | `tests/thread.rs` |
//! | [`cpuset`] | sets of kernel CPUs | none | unit tests |
//! | [`topology`] | who shares what with whom | none | unit tests, `tests/host.rs` |
//! | [`memory`] | locked memory, prefaulted stack | libc calls | `tests/memory.rs` |
//! | [`host`] | what the host grants | libc calls | `tests/host.rs` |
//! | [`fault`] | a first look at a memory fault | signal handler | `corelane-attacks` |
//! | [`fiber`] | a stack with a thread identity | all of it | `tests/fiber*.rs` |

#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    target_pointer_width = "64"
)))]
compile_error!(
    "corelane-os supports x86_64 Linux with glibc only: carrying a thread control block between kernel threads relies on \
     glibc's layout of the rseq area and on its handling of setxid. Build for x86_64-unknown-linux-gnu."
);

#[cfg(target_feature = "crt-static")]
compile_error!(
    "corelane-os needs a dynamically linked glibc: a static one hides __rseq_offset, so that the rseq registration of a \
     fiber's thread could not be withdrawn. Build without -C target-feature=+crt-static."
);

pub mod clock;
pub mod cpuset;
pub mod fault;
pub mod fiber;
pub mod futex;
pub mod host;
pub mod memory;
mod syscall;
mod sysfs;
pub mod thread;
pub mod topology;
