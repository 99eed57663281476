//! The switch: thread pointer, floating-point control words, stack, and back.
//!
//! Between the moment the thread pointer changes and the moment the stack does, compiled code runs
//! with one thread's identity on another thread's stack. A single access to a thread-local there is
//! a bug that no test shows twice, and the compiler may move or cache the address of any
//! thread-local that the surrounding function uses. So both changes live in one function that is
//! never inlined and uses none: [`carried`].
//!
//! The control words (MXCSR and the x87 control word) belong to the body as well: flush-to-zero set
//! by one body must neither reach the next one, nor get lost when the body moves. They are read at
//! each switch, and loaded only when they differ. The sticky exception flags of MXCSR travel with
//! it; those of the x87 status word do not.
//!
//! Raw here: FSGSBASE instructions, `arch_prctl`, MXCSR, x87. Tested by `tests/fiber.rs`.

use super::lender::Lender;
use super::stack::Rest;
use super::{FsBase, Resumed};
use crate::syscall::{die, syscall3};
use core::arch::asm;
use core::ptr::NonNull;
use corosensei::{Coroutine, CoroutineResult};

/// A body with its suspended registers.
pub(super) type Body = Coroutine<(), (), (), Rest>;

const ARCH_SET_FS: usize = 0x1002;

/// The floating-point control words of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Controls {
    mxcsr: u32,
    x87: u16,
}

impl Controls {
    #[inline(always)]
    pub(super) fn current() -> Controls {
        let (mut mxcsr, mut x87) = (0u32, 0u16);
        // SAFETY: both instructions store a control word into a live local.
        unsafe {
            asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &mut mxcsr, in(reg) &mut x87, options(nostack, preserves_flags));
        }
        Controls { mxcsr, x87 }
    }

    /// Loads these words where `now`, the loaded ones, differ.
    ///
    /// # Safety
    /// The code that runs next must be the code that these words belong to.
    #[inline(always)]
    unsafe fn load_over(self, now: Controls) {
        if self.mxcsr != now.mxcsr {
            // SAFETY: the value was stored by stmxcsr, so it has no reserved bit.
            unsafe {
                asm!("ldmxcsr [{}]", in(reg) &self.mxcsr, options(nostack, preserves_flags, readonly))
            };
        }
        if self.x87 != now.x87 {
            // SAFETY: exceptions pending under the old mask are cleared, or unmasking would raise
            // them in the wrong body.
            unsafe {
                asm!("fnclex", "fldcw [{}]", in(reg) &self.x87, options(nostack, preserves_flags, readonly))
            };
        }
    }
}

/// The address of the loaded thread control block, which x86_64's thread ABI keeps in its first
/// word.
#[inline(always)]
pub(super) fn own_control_block() -> u64 {
    let block;
    // SAFETY: reads the first word of the loaded control block.
    unsafe { asm!("mov {}, fs:[0]", out(reg) block, options(nostack, preserves_flags, readonly)) };
    block
}

#[inline(always)]
fn thread_pointer(by: FsBase) -> u64 {
    match by {
        FsBase::Syscall => own_control_block(),
        FsBase::Instruction => {
            let pointer;
            // SAFETY: `Fiber::spawn` accepts this variant only where the kernel has enabled
            // FSGSBASE.
            unsafe {
                asm!("rdfsbase {}", out(reg) pointer, options(nostack, nomem, preserves_flags))
            };
            pointer
        }
    }
}

/// # Safety
/// `pointer` is the control block of a parked lender, or the caller's own; the caller touches no
/// thread-local until the code that the block belongs to runs. Not `nomem`: what thread-locals mean
/// changes here.
#[inline(always)]
unsafe fn load_thread_pointer(by: FsBase, pointer: u64) {
    match by {
        // SAFETY: FSGSBASE is enabled (see `thread_pointer`); the value is a control block by
        // contract.
        FsBase::Instruction => unsafe {
            asm!("wrfsbase {}", in(reg) pointer, options(nostack, preserves_flags))
        },
        FsBase::Syscall => {
            // SAFETY: ARCH_SET_FS writes the register only.
            let answer =
                unsafe { syscall3(libc::SYS_arch_prctl, ARCH_SET_FS, pointer as usize, 0) };
            if answer != 0 {
                die(
                    "corelane-os: arch_prctl refused to load the thread pointer of a live thread\n",
                );
            }
        }
    }
}

/// Resumes the body of `first` on the calling thread with its thread pointer and control words, then
/// the one that it switches to, and so on until one suspends or returns; says what that last one did.
///
/// From one body to the next the carrier's own identity is not put back: half the cost of a switch is
/// the thread pointer, and nothing of the carrier runs in between but this loop.
///
/// A lender is touched for the last time when its body has left: from then on somebody else may resume it,
/// finish it and free it while this loop carries the next one. So no reference to it is an argument here.
///
/// # Safety
/// `first` is parked, not finished and the caller's, and so is each `next` that a body names
/// ([`super::Suspender::switch_to`]). A finished body would make corosensei panic here, with the wrong
/// identity loaded.
#[inline(never)]
pub(super) unsafe fn carried(first: NonNull<Lender>, by: FsBase) -> Resumed {
    let own_controls = Controls::current();
    let own_pointer = thread_pointer(by);
    let mut loaded = own_controls;
    let mut lender = first.as_ptr().cast_const();
    // SAFETY: until `own_pointer` is loaded no thread-local is touched, only bodies run; each lender is
    // parked and ours by contract, and lives until `left` has returned: `next` was kept by the body before
    // it left, and whoever may resume that body afterwards is let to by the next one, which has not run.
    let last = unsafe {
        loop {
            let (body, pointer, controls) = (*lender).take_over(own_pointer);
            controls.load_over(loaded);
            load_thread_pointer(by, pointer);
            let last = resumed((*body).resume(()));
            loaded = Controls::current();
            let next = (*lender).left(last, loaded);
            if next.is_null() {
                break last;
            }
            lender = next;
        }
    };
    // SAFETY: the bodies have left; these are the carrier's own.
    unsafe {
        load_thread_pointer(by, own_pointer);
        own_controls.load_over(loaded);
    }
    last
}

/// Calls `f` with another thread pointer loaded.
///
/// # Safety
/// `pointer` is the control block of the calling kernel thread, whose own code is suspended, and
/// `f` uses no thread-local that it looked up before.
#[inline(never)]
pub(super) unsafe fn with_thread_pointer(by: FsBase, pointer: u64, f: impl FnOnce()) {
    let loaded = thread_pointer(by);
    // SAFETY: by contract; between the two loads runs `f` only.
    unsafe { load_thread_pointer(by, pointer) };
    f();
    // SAFETY: what was loaded before, for the code that called us.
    unsafe { load_thread_pointer(by, loaded) };
}

/// Resumes `body` on its own kernel thread, until it suspends or returns.
///
/// # Safety
/// Called by the lender of `body`, above the body's part of the stack; `body` is not finished.
#[inline(never)]
pub(super) unsafe fn native(body: &mut Body, controls: &mut Controls) -> Resumed {
    let own_controls = Controls::current();
    // SAFETY: the body, to which the words belong, runs next.
    unsafe { controls.load_over(own_controls) };
    let result = body.resume(());
    *controls = Controls::current();
    // SAFETY: the code that runs next is the lender's, from which these words were read.
    unsafe { own_controls.load_over(*controls) };
    resumed(result)
}

#[inline(always)]
fn resumed(result: CoroutineResult<(), ()>) -> Resumed {
    match result {
        CoroutineResult::Yield(()) => Resumed::Suspended,
        CoroutineResult::Return(()) => Resumed::Finished,
    }
}
