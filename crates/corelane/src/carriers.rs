//! The threads of a runtime: started, told what the host granted them, and joined.
//!
//! | thread | per | policy and level |
//! |---|---|---|
//! | worker `corelane-w` | CPU | FIFO, base level |
//! | lane `corelane-b` | CPU | ordinary |
//! | growth `corelane-grow` | runtime | FIFO, two levels above |
//! | housekeeping `corelane-house` | runtime | ordinary |
//!
//! A worker gets its priority before its pin: pinned first, it might sit under a FIFO thread and never get
//! to ask. Threads start before the shared part exists, because that depends on what they were granted.

use crate::primitives::atomic::{AtomicBool, Ordering::*};
use crate::primitives::mpsc::{Receiver, Sender, channel};
use crate::primitives::thread::{Builder, JoinHandle};
use std::sync::Arc;

use corelane_os::cpuset::KernelCpu;
use corelane_os::memory;
use corelane_os::thread::{self, Policy, Tid};
use corelane_sched::CpuId;

use crate::BuildError;
use crate::background::LaneCarrier;
use crate::claims::Claims;
use crate::config::LEVELS_ABOVE_BASE;
use crate::runtime::Shared;
use crate::status::Grant;
use crate::worker::Worker;

/// How much of a carrier's stack is touched before it serves.
pub(crate) const CARRIER_STACK_PREFAULT_BYTES: usize = 64 * 1024;

/// What the host granted a worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerGrants {
    pub(crate) fifo: Grant,
    pub(crate) pin: Grant,
}

/// A thread that has started and waits for the shared part.
pub(crate) struct Starting {
    pub(crate) carrier: Carrier,
    pub(crate) grants: WorkerGrants,
    start: Sender<Arc<Shared>>,
}

impl Starting {
    /// Lets the thread serve.
    pub(crate) fn start(self, shared: &Arc<Shared>) -> Carrier {
        // A thread that is gone has panicked, which joining reports.
        let _ = self.start.send(shared.clone());
        self.carrier
    }
}

/// A thread of the runtime.
pub(crate) struct Carrier {
    pub(crate) tid: Tid,
    exited: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

impl Carrier {
    pub(crate) fn has_exited(&self) -> bool {
        self.exited.load(Acquire) // Acquire: pairs with the Release at the thread's end.
    }

    /// Joins a thread that has exited, or is about to.
    pub(crate) fn join(self) {
        if let Err(payload) = self.handle.join() {
            std::panic::resume_unwind(payload); // a broken invariant of the runtime itself
        }
    }
}

/// All threads of a running runtime, and the CPUs they claim.
pub(crate) struct Carriers {
    pub(crate) threads: Vec<Carrier>,
    pub(crate) claims: Claims,
}

/// Starts the worker of one CPU.
pub(crate) fn start_worker(
    id: CpuId,
    kernel: KernelCpu,
    level: u8,
) -> Result<Starting, BuildError> {
    let name = format!("corelane-w{}", id.index());
    start(name, Policy::Fifo { level }, Some(kernel), move |shared| {
        Worker::new(shared, id).run()
    })
}

/// Starts the background carrier of one CPU.
pub(crate) fn start_lane(id: CpuId, kernel: KernelCpu) -> Result<Starting, BuildError> {
    let name = format!("corelane-b{}", id.index());
    start(name, Policy::Other, Some(kernel), move |shared| {
        LaneCarrier::new(shared, id).serve()
    })
}

/// Starts the thread that adds fibers.
pub(crate) fn start_growth(level: u8) -> Result<Starting, BuildError> {
    let policy = Policy::Fifo {
        level: level + LEVELS_ABOVE_BASE,
    };
    start("corelane-grow".into(), policy, None, |shared| {
        shared.fibers.serve_growth(shared)
    })
}

/// Starts the housekeeping thread.
pub(crate) fn start_housekeeping() -> Result<Starting, BuildError> {
    start("corelane-house".into(), Policy::Other, None, |shared| {
        shared.housekeeping.serve()
    })
}

fn start(
    name: String,
    policy: Policy,
    kernel: Option<KernelCpu>,
    serve: impl FnOnce(&Shared) + Send + 'static,
) -> Result<Starting, BuildError> {
    let (report, reported) = channel();
    let (start, started) = channel();
    let exited = Arc::new(AtomicBool::new(false));
    let at_exit = exited.clone();
    let live = move || {
        let grants = prepare(policy, kernel);
        let _ = report.send((thread::gettid(), grants));
        serve_until_stopped(&started, serve);
        at_exit.store(true, Release); // Release: pairs with `has_exited`.
    };
    let handle = Builder::new()
        .name(name)
        .spawn(live)
        .map_err(BuildError::Thread)?;
    let (tid, grants) = reported
        .recv()
        .expect("a starting thread reports what it was granted");
    Ok(Starting {
        carrier: Carrier {
            tid,
            exited,
            handle,
        },
        grants,
        start,
    })
}

/// A build that fails drops the sender, and the thread returns.
fn serve_until_stopped(started: &Receiver<Arc<Shared>>, serve: impl FnOnce(&Shared)) {
    if let Ok(shared) = started.recv() {
        serve(&shared);
    }
}

fn prepare(policy: Policy, kernel: Option<KernelCpu>) -> WorkerGrants {
    let fifo = thread::set_policy(Tid(0), policy);
    let pin = kernel.map_or(Ok(()), thread::pin);
    // A page that cannot be touched now is touched later; the doctor reports whether it can.
    let _ = memory::prefault_stack(CARRIER_STACK_PREFAULT_BYTES);
    WorkerGrants {
        fifo: Grant::of(fifo.map_err(|errno| format!("sched_setscheduler: {errno}"))),
        pin: Grant::of(pin.map_err(|error| error.to_string())),
    }
}
