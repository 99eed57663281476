//! Entering and leaving a migrate-disable guard.
//!
//! The guard stands where a program of threads takes a lock of its own CPU's data, so the peer is an
//! uncontended `std::sync::Mutex`: two locked instructions and a poison flag.

use core::hint::black_box;
use std::sync::Mutex;

use corelane::{Priority, Runtime, migrate_disable};
use corelane_benches::{Block, Claim, Seat, involuntary_switches};
use corelane_os::clock;

use crate::Run;

const TARGET: f64 = 0.2;

pub(crate) fn compare(run: &mut Run) {
    let runtime = run
        .site
        .runtime(&[run.site.cpu()])
        .build()
        .expect("a runtime on one CPU");
    let seat = run.site.seat(run.site.cpu(), 0);
    let claim = Claim::throughput("guard", "std Mutex, uncontended", TARGET);
    let mut ours = |enters| corelane(&runtime, enters);
    run.compare(claim, &[], &mut ours, &mut |locks| mutex(seat, locks));
}

fn corelane(runtime: &Runtime, enters: u64) -> Block {
    let measure = move || {
        let interruptions = involuntary_switches();
        let start_ns = clock::now_ns();
        for _ in 0..enters {
            let guard = migrate_disable();
            black_box(guard.cpu());
        }
        let length_ns = clock::now_ns() - start_ns;
        Block::of_throughput(enters, length_ns, involuntary_switches() - interruptions)
    };
    runtime
        .spawn(Priority::MIN, measure)
        .join()
        .expect("a measuring task returns")
}

fn mutex(seat: Seat, locks: u64) -> Block {
    seat.run(move || {
        let mutex = Mutex::new(0_usize);
        let interruptions = involuntary_switches();
        let start_ns = clock::now_ns();
        for _ in 0..locks {
            let guard = black_box(&mutex).lock().expect("nobody panics inside");
            black_box(*guard);
        }
        let length_ns = clock::now_ns() - start_ns;
        Block::of_throughput(locks, length_ns, involuntary_switches() - interruptions)
    })
}
