//! Whether, and how, thread pointers can be carried on this host.
//!
//! Three facts decide. The thread pointer must be writable: by the FSGSBASE instructions where the
//! kernel has enabled them, else by `arch_prctl`. A thread's rseq registration must be
//! withdrawable, or a carried control block would lie about its CPU. And no shadow stack may be
//! active, because the shadow of a stack does not move with it. The last two are tried on a probe
//! thread; where they fail, fibers run natively, which is correct and slower, and the reason is
//! kept.
//!
//! Raw here: auxiliary vector, `arch_prctl`. Tested by `tests/fiber.rs`.

use super::rseq::{self, RseqError};
use super::switch::own_control_block;
use core::fmt;

/// How fibers are resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// On the resuming thread, with the fiber's thread pointer loaded.
    Carried(FsBase),
    /// On the fiber's own kernel thread, by two futex wakes.
    Native(NativeReason),
}

/// How the thread pointer is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsBase {
    /// By `wrfsbase`: a few nanoseconds.
    Instruction,
    /// By `arch_prctl`: a system call per load.
    Syscall,
}

/// Why fibers are not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeReason {
    /// The configuration asks for it.
    Asked,
    /// A shadow stack is active.
    ShadowStack,
    /// The rseq registration of a probe thread could not be withdrawn.
    Rseq(RseqError),
    /// The thread pointer of a probe thread is not the address of its control block.
    ThreadPointer,
    /// The probe thread could not be created.
    NoProbe,
}

impl fmt::Display for NativeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NativeReason::Asked => f.write_str("asked for by the configuration"),
            NativeReason::ShadowStack => f.write_str(
                "a shadow stack is active, which cannot travel (GLIBC_TUNABLES=glibc.cpu.x86_shstk=off turns it off)",
            ),
            NativeReason::Rseq(error) => error.fmt(f),
            NativeReason::ThreadPointer => f.write_str("the thread pointer is not the address of the control block"),
            NativeReason::NoProbe => f.write_str("a probe thread could not be created; check RLIMIT_NPROC"),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Carried(FsBase::Instruction) => {
                f.write_str("carried, thread pointer by wrfsbase")
            }
            Backend::Carried(FsBase::Syscall) => {
                f.write_str("carried, thread pointer by arch_prctl")
            }
            Backend::Native(reason) => write!(f, "native: {reason}"),
        }
    }
}

/// Finds the fastest way that is sound on this host. Starts a probe thread; call it once.
pub fn detect_backend() -> Backend {
    match std::thread::Builder::new()
        .name("fiber-probe".into())
        .spawn(probe)
    {
        Err(_) => Backend::Native(NativeReason::NoProbe),
        Ok(probe) => match probe.join().expect("the probe does not panic") {
            Err(reason) => Backend::Native(reason),
            Ok(()) if has_fsgsbase() => Backend::Carried(FsBase::Instruction),
            Ok(()) => Backend::Carried(FsBase::Syscall),
        },
    }
}

fn probe() -> Result<(), NativeReason> {
    if has_shadow_stack() {
        return Err(NativeReason::ShadowStack);
    }
    if kernel_thread_pointer() != Some(own_control_block()) {
        return Err(NativeReason::ThreadPointer);
    }
    rseq::withdraw().map_err(NativeReason::Rseq)
}

/// Whether the kernel has enabled the FSGSBASE instructions for user space (Linux 5.9 and later).
pub(crate) fn has_fsgsbase() -> bool {
    const HWCAP2_FSGSBASE: libc::c_ulong = 1 << 1;
    // SAFETY: takes and returns plain values.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

/// Whether a shadow stack is active on the calling thread. Kernels without the feature refuse the
/// question.
pub(crate) fn has_shadow_stack() -> bool {
    const ARCH_SHSTK_STATUS: i32 = 0x5005;
    const ARCH_SHSTK_SHSTK: u64 = 1;
    let mut features = 0u64;
    // SAFETY: the kernel writes one word into a live local.
    let answer = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SHSTK_STATUS, &mut features) };
    answer == 0 && features & ARCH_SHSTK_SHSTK != 0
}

fn kernel_thread_pointer() -> Option<u64> {
    const ARCH_GET_FS: i32 = 0x1003;
    let mut pointer = 0u64;
    // SAFETY: the kernel writes one word into a live local.
    let answer = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_FS, &mut pointer) };
    (answer == 0).then_some(pointer)
}
