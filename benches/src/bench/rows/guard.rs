//! Entering and leaving a migrate-disable guard.
//!
//! The guard stands where a program of threads takes a lock of its own CPU's data, so the peer is an
//! uncontended `std::sync::Mutex`: two locked instructions and a poison flag. Both arms read one value
//! inside the section: the guard's CPU, the mutex's content. A compiler fence, which is no instruction,
//! ends each turn: it keeps the compiler from joining the end of one section with the start of the next,
//! which it may do with the plain words of a guard and not with the atomic ones of a mutex. Nothing
//! else stands in either loop.

use core::hint::black_box;
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};
use std::sync::Mutex;

use corelane::migrate_disable;
use corelane_benches::{Block, Claim, Stopwatch};

use crate::one_cpu::OneCpu;
use crate::rows::Row;
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "guard",
    about: "entering and leaving a migrate-disable guard: uncontended std Mutex",
    compare,
};

const TARGET: f64 = 0.2;

fn compare(run: &mut Run) {
    let cpu = OneCpu::new(&run.site);
    let claim = Claim::throughput("std Mutex, uncontended").at_most(TARGET);
    let mut ours = |enters| corelane(&cpu, enters);
    run.compare(claim, &[], &mut ours, &mut |locks| mutex(&cpu, locks));
}

fn corelane(cpu: &OneCpu, enters: u64) -> Block {
    cpu.in_task(move || {
        let watch = Stopwatch::start();
        for _ in 0..enters {
            let guard = migrate_disable();
            black_box(guard.cpu());
            drop(guard);
            compiler_fence(SeqCst);
        }
        watch.throughput(enters)
    })
}

fn mutex(cpu: &OneCpu, locks: u64) -> Block {
    cpu.in_thread(move || {
        let mutex = Mutex::new(0_usize);
        let mutex = black_box(&mutex);
        let watch = Stopwatch::start();
        for _ in 0..locks {
            let guard = mutex.lock().expect("nobody panics inside");
            black_box(*guard);
            drop(guard);
            compiler_fence(SeqCst);
        }
        watch.throughput(locks)
    })
}
