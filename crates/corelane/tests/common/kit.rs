//! Seeded randomness, tasks that occupy a CPU without starving the host, and the replay of the event ring.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corelane::{CpuId, CpuSet, Event, EventKind, MigrateGuard, Runtime, task};

/// SplitMix64: the same seed gives the same numbers everywhere.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Occupies the CPU slot, with safe points, until `condition` holds. The carrier sleeps in the kernel
/// between its looks, so that ordinary threads of this process run although a FIFO thread is busy.
pub fn occupy_until(condition: impl Fn() -> bool) {
    while !condition() {
        task::checkpoint();
        breathe();
    }
}

/// Lets ordinary threads run while this task keeps its CPU slot. No safe point.
pub fn breathe() {
    std::thread::sleep(Duration::from_micros(20));
}

/// The set of one CPU slot.
pub fn only(runtime: &Runtime, cpu: usize) -> CpuSet {
    CpuSet::single(runtime.cpus(), CpuId::new(cpu))
}

/// All CPU slots.
pub fn every(runtime: &Runtime) -> CpuSet {
    CpuSet::full(runtime.cpus())
}

/// Says why a test that needs two CPUs does not run here.
pub fn has_two_cpus(runtime: &Runtime) -> bool {
    if runtime.cpus() < 2 {
        eprintln!(
            "skipped: this test needs two CPUs, the runtime has {}",
            runtime.cpus()
        );
        return false;
    }
    true
}

/// What the event ring says: who runs on each CPU, and who is runnable at all.
#[derive(Default)]
pub struct Replay {
    running: BTreeMap<usize, u64>,
    runnable: BTreeSet<u64>,
    pub migrations: Vec<(u64, u16)>,
}

impl Replay {
    pub fn new() -> Replay {
        Replay::default()
    }

    /// Takes what has happened since the last call; says whether anything has.
    pub fn follow(&mut self, runtime: &Runtime) -> bool {
        let events = runtime.events();
        events.iter().for_each(|event| self.apply(event));
        !events.is_empty()
    }

    /// The tasks that run, on whatever CPU.
    pub fn running(&self) -> BTreeSet<u64> {
        self.running.values().copied().collect()
    }

    pub fn running_on(&self, cpu: usize) -> Option<u64> {
        self.running.get(&cpu).copied()
    }

    /// The tasks that run or are queued.
    pub fn runnable(&self) -> &BTreeSet<u64> {
        &self.runnable
    }

    fn apply(&mut self, event: &Event) {
        let cpu = event.cpu.index();
        match event.kind {
            EventKind::Wake { task, .. } => {
                self.runnable.insert(task);
            }
            EventKind::Switch { task, .. } => {
                let before = self.running.insert(cpu, task);
                assert_eq!(
                    before, None,
                    "CPU {cpu} switches to {task} while another runs there"
                );
            }
            EventKind::Preempt { task, .. } | EventKind::Yield { task, .. } => self.stop(cpu, task),
            EventKind::Block { task } | EventKind::Exit { task } => {
                self.stop(cpu, task);
                self.runnable.remove(&task);
            }
            EventKind::Migrate { task, to } => {
                self.migrations.push((task, to));
                if self.running.get(&cpu) == Some(&task) {
                    self.running.remove(&cpu);
                }
            }
            EventKind::NoFiber { task } => panic!("task {task} found no fiber: give the pool more"),
            EventKind::Idle => assert_eq!(self.running.get(&cpu), None, "an idle CPU runs nothing"),
            _ => {}
        }
    }

    fn stop(&mut self, cpu: usize, task: u64) {
        assert_eq!(
            self.running.remove(&cpu),
            Some(task),
            "what stops on CPU {cpu} ran there"
        );
    }
}

/// Asserts that the calling task is where its guard says: by the guard, by its own handle, by the kernel.
pub fn assert_home(guard: &MigrateGuard, kernel: &[usize]) {
    assert_eq!(task::current().unwrap().cpu(), guard.cpu());
    // SAFETY: the call takes no pointer.
    let here = unsafe { libc::sched_getcpu() };
    assert_eq!(
        here as usize,
        kernel[guard.cpu().index()],
        "the kernel's CPU of slot {}",
        guard.cpu().index()
    );
}

/// The kernel's CPU of each slot.
pub fn kernel_cpus(runtime: &Runtime) -> Vec<usize> {
    every(runtime)
        .iter()
        .map(|cpu| runtime.kernel_cpu(cpu))
        .collect()
}
