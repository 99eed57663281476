//! What the models share: runtimes, priorities, ordinary threads, and waiting for a state to come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use corelane::{Builder, CpuId, CpuSet, Idle, Priority, Runtime, task};
use corelane_os_model::shuttle;
use corelane_os_model::thread::{self, JoinHandle};

pub(crate) fn prio(value: u8) -> Priority {
    Priority::new(value).expect("models use priorities of 1..=99")
}

/// A runtime whose workers sleep as soon as they have nothing to do.
pub(crate) fn runtime() -> Runtime {
    builder().build().expect("the modelled host grants all")
}

pub(crate) fn builder() -> Builder {
    Runtime::builder().idle(Idle::Park).fibers(4)
}

/// Workers that poll for one look at the clock, then sleep.
pub(crate) const SPIN_THEN_PARK: Idle = Idle::SpinThenPark { spin_ns: 1 };

pub(crate) fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::empty(2);
    set.insert(CpuId::new(cpu));
    set
}

/// An ordinary thread.
pub(crate) fn thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(f)
}

pub(crate) fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("a modelled thread does not panic")
}

/// Ends a runtime that has the time to end everything.
pub(crate) fn end(runtime: Runtime) {
    let report = runtime.shutdown(Duration::from_secs(1));
    assert_eq!(report.abandoned, []);
}

/// Gives up the processor of the host without saying anything to the runtime.
pub(crate) fn pause() {
    shuttle::thread::yield_now();
}

/// More looks than it takes until nothing changes any more.
const LOOKS_MAX: u32 = 1_000;

/// Waits, on an ordinary thread, for what must come.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    assert!(comes(is_so), "it never came that {what}");
}

/// Whether it comes.
pub(crate) fn comes(is_so: impl Fn() -> bool) -> bool {
    for _ in 0..LOOKS_MAX {
        if is_so() {
            return true;
        }
        pause();
    }
    false
}

/// Keeps a CPU busy until told to stop, as a task that computes would.
#[derive(Clone, Default)]
pub(crate) struct Busy(Arc<AtomicBool>);

impl Busy {
    pub(crate) fn compute(&self) {
        while !self.0.load(SeqCst) {
            task::checkpoint();
            pause();
        }
    }

    pub(crate) fn stop(&self) {
        self.0.store(true, SeqCst);
    }
}

/// Counts what is alive.
#[derive(Clone, Default)]
pub(crate) struct Census(Arc<AtomicUsize>);

pub(crate) struct Citizen(Census);

impl Census {
    pub(crate) fn citizen(&self) -> Citizen {
        self.0.fetch_add(1, SeqCst);
        Citizen(self.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Drop for Citizen {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}
