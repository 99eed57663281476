//! Withdrawing a lender's restartable-sequences registration.
//!
//! glibc (2.35 and later) registers an area inside each thread's control block, into which the
//! kernel writes the number of the CPU that the *registering kernel thread* runs on. `sched_getcpu`
//! and per-CPU allocators read it as the CPU they are on. In a carried control block that number is
//! wherever the lender last slept, and a critical section announced there is never restarted:
//! silent corruption.
//!
//! The lender therefore withdraws its registration before it lends, verifies that it is withdrawn,
//! and marks the area as *registration failed*, so that `sched_getcpu` takes its slow path and
//! nobody registers it anew. The length must be the one glibc registered, which depends on its
//! version and the kernel; the candidates are few and all are tried.
//!
//! Raw here: the rseq system call, and a store into the thread control block. Tested by
//! `tests/fiber.rs` (`a_carried_body_learns_the_cpu_of_its_carrier`).

use super::switch::own_control_block;
use core::fmt;
use nix::errno::Errno;

/// The signature that glibc registers on x86.
const SIGNATURE: u32 = 0x5305_3053;
const UNREGISTER: i32 = 1;
/// The size of the area in its first version; no registration is shorter.
const LENGTH_MIN: usize = 32;
const AT_RSEQ_FEATURE_SIZE: libc::c_ulong = 27;
const AT_RSEQ_ALIGN: libc::c_ulong = 28;
/// `cpu_id` is the second word of the area.
const CPU_ID_WORD: usize = 1;
/// RSEQ_CPU_ID_REGISTRATION_FAILED.
const REGISTRATION_FAILED: i32 = -2;

/// Why a thread's rseq registration could not be withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RseqError {
    /// The kernel refused every known length; the last answer.
    Refused(Errno),
    /// The withdrawal was accepted, and the area is registered all the same.
    StillRegistered,
}

impl fmt::Display for RseqError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RseqError::Refused(errno) => write!(
                f,
                "the rseq registration of a thread could not be withdrawn ({errno}); a seccomp filter may forbid it, or \
                 another library registered it (GLIBC_TUNABLES=glibc.pthread.rseq=0 makes glibc leave it alone)"
            ),
            RseqError::StillRegistered => {
                f.write_str("the kernel keeps a withdrawn rseq registration")
            }
        }
    }
}

impl std::error::Error for RseqError {}

/// Withdraws the calling thread's registration with glibc's area, and marks the area. A thread
/// without one (glibc before 2.35, or the tunable) has nothing to withdraw.
pub(super) fn withdraw() -> Result<(), RseqError> {
    let Some(area) = area() else { return Ok(()) };
    let mut refusal = Errno::EINVAL;
    for length in lengths() {
        match unregister(area, length) {
            Ok(()) => return verify(area, length),
            Err(errno) => refusal = errno,
        }
    }
    Err(RseqError::Refused(refusal))
}

/// The kernel answers EINVAL to a second withdrawal when there is nothing left to withdraw.
fn verify(area: *mut u32, length: usize) -> Result<(), RseqError> {
    if unregister(area, length) != Err(Errno::EINVAL) {
        return Err(RseqError::StillRegistered);
    }
    // SAFETY: glibc's area is at least LENGTH_MIN bytes of this thread's own control block, and the
    // kernel no longer writes there. Volatile: glibc reads it behind the compiler's back.
    unsafe {
        area.add(CPU_ID_WORD)
            .write_volatile(REGISTRATION_FAILED as u32)
    };
    Ok(())
}

/// The lengths that a glibc may have registered, the likeliest first.
fn lengths() -> impl Iterator<Item = usize> {
    // SAFETY: getauxval takes and returns plain values; 0 means that the kernel does not say.
    let (feature, align) = unsafe {
        (
            libc::getauxval(AT_RSEQ_FEATURE_SIZE),
            libc::getauxval(AT_RSEQ_ALIGN),
        )
    };
    let feature = (feature as usize).max(LENGTH_MIN);
    let aligned = feature.next_multiple_of((align as usize).max(LENGTH_MIN));
    [feature, aligned, LENGTH_MIN].into_iter()
}

/// glibc's area of the calling thread, or `None` when glibc registered none.
fn area() -> Option<*mut u32> {
    // SAFETY: dlsym of the default scope; glibc documents the two symbols as `const ptrdiff_t` and
    // `const unsigned int`.
    let (offset, size) = unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<u32>();
        (offset.as_ref()?, size.as_ref()?)
    };
    let block = own_control_block() as *mut u8;
    (*size != 0).then(|| block.wrapping_offset(*offset).cast())
}

fn unregister(area: *mut u32, length: usize) -> Result<(), Errno> {
    // SAFETY: the kernel compares the arguments with the registration and clears the area, which is
    // this thread's own.
    let answer =
        unsafe { libc::syscall(libc::SYS_rseq, area, length as u32, UNREGISTER, SIGNATURE) };
    Errno::result(answer).map(drop)
}
