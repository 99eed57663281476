//! Native parts and the housekeeping thread: the task leaves its CPU and comes back once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use corelane::task;
use corelane_os_model::{Model, thread};

use crate::kit::{end, join, only, prio, runtime, thread};

/// Tasks go native, are woken there, have things done outside, and are moved meanwhile.
pub(crate) fn excursions() {
    let runtime = runtime();
    let done = Arc::new(AtomicU32::new(0));
    let excursion = || {
        let done = done.clone();
        move || {
            task::native(|| {
                thread::sleep(std::time::Duration::from_micros(5));
                task::park();
                done.fetch_add(1, SeqCst);
            });
            task::outside(|| done.fetch_add(1, SeqCst));
            task::yield_now();
        }
    };
    let realtime = runtime.spawn(prio(30), excursion());
    let background = runtime.spawn_background(excursion());
    let less = runtime.spawn(prio(10), || (0..2).for_each(|_| task::yield_now()));
    let (woken, moved) = (realtime.task(), realtime.task());
    let wake = thread(move || woken.unpark());
    let mover = thread(move || _ = moved.set_affinity(&only(1)));
    background.task().unpark();
    realtime.join().unwrap();
    background.join().unwrap();
    less.join().unwrap();
    join(wake);
    join(mover);
    assert_eq!(done.load(SeqCst), 4);
    end(runtime);
}

#[test]
fn tasks_come_back_from_native_parts_and_from_outside() {
    Model::new().hasty().schedules(300).check(excursions);
}
