//! What the fiber tests share: every backend of this host, and fibers by name.
#![allow(dead_code, reason = "each test binary uses its own part")]

use corelane_os::fiber::{
    Backend, Fiber, FiberSpec, FsBase, NativeReason, Resumed, Suspender, detect_backend,
};

pub(crate) const STACK_SIZE: usize = 256 * 1024;

/// Every way in which this host can resume a fiber.
pub(crate) fn backends() -> Vec<Backend> {
    let native = Backend::Native(NativeReason::Asked);
    match detect_backend() {
        Backend::Carried(FsBase::Instruction) => {
            vec![
                Backend::Carried(FsBase::Instruction),
                Backend::Carried(FsBase::Syscall),
                native,
            ]
        }
        Backend::Carried(FsBase::Syscall) => vec![Backend::Carried(FsBase::Syscall), native],
        Backend::Native(_) => vec![native],
    }
}

pub(crate) fn carried_backends() -> Vec<Backend> {
    backends()
        .into_iter()
        .filter(|backend| matches!(backend, Backend::Carried(_)))
        .collect()
}

pub(crate) fn spawn(backend: Backend, body: impl FnOnce(&Suspender<'_>) + Send + 'static) -> Fiber {
    let spec = FiberSpec {
        name: "test-fiber",
        stack_size: STACK_SIZE,
        backend,
    };
    Fiber::spawn(&spec, body).expect("the fiber starts")
}

/// Resumes on the calling thread.
pub(crate) fn resume(fiber: &mut Fiber) -> Resumed {
    // SAFETY: the calling thread is an ordinary test thread that stays, and no body here holds what
    // belongs to a carrier.
    unsafe { fiber.resume() }
}

/// Resumes on a fresh thread.
pub(crate) fn resume_elsewhere(mut fiber: Fiber) -> (Fiber, Resumed) {
    std::thread::spawn(move || {
        let resumed = resume(&mut fiber);
        (fiber, resumed)
    })
    .join()
    .expect("the carrier does not panic")
}

pub(crate) fn gettid() -> i32 {
    corelane_os::thread::gettid().0
}
