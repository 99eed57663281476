//! What tests about the end of tasks share: counted destructors, flags, occupied CPUs.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::time::Duration;

use super::common::{Exclusive, prio, wait_until};
use corelane::{CpuId, CpuSet, JoinError, JoinHandle, TaskState};

/// Counts how often it was dropped.
#[derive(Clone)]
pub struct Drops(pub Arc<AtomicU32>);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Makes values whose drops are counted.
pub fn drops() -> (Arc<AtomicU32>, impl Fn() -> Drops + Clone) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    (count, move || Drops(counted.clone()))
}

/// A flag that one side raises and the other waits for.
#[derive(Clone, Default)]
pub struct Flag(pub Arc<AtomicBool>);

impl Flag {
    pub fn raise(&self) {
        self.0.store(true, SeqCst);
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(SeqCst)
    }
}

pub fn assert_cancelled<T>(result: Result<T, JoinError>) {
    match result {
        Err(JoinError::Cancelled) => {}
        Err(error) => panic!("cancelled, not {error}"),
        Ok(_) => panic!("a cancelled task returned"),
    }
}

pub fn state_is(handle: &JoinHandle<()>, state: TaskState) {
    wait_until("a task to reach a state", || handle.task().state() == state);
}

/// Occupies a CPU until `end` is raised, without a safe point. The carrier sleeps in the kernel in between,
/// so that the host is not starved.
pub fn occupy(runtime: &Exclusive, cpu: usize, end: &Flag) -> JoinHandle<()> {
    let (began, end) = (Flag::default(), end.clone());
    let begin = began.clone();
    let only = CpuSet::single(runtime.cpus(), CpuId::new(cpu));
    let builder = runtime
        .build_task()
        .name("stuck")
        .priority(prio(90))
        .affinity(only);
    let handle = builder.spawn(move || {
        begin.raise();
        while !end.is_raised() {
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    wait_until("a CPU to be occupied", || began.is_raised());
    handle
}
