//! Migrate-disable: whatever others do, the CPU of a task does not change under its guard.

use corelane::{migrate_disable, task};
use corelane_os_model::Model;

use crate::kit::{Busy, end, join, only, pause, prio, runtime, thread};

/// A task holds a guard and yields, parks and sleeps, while it is reprioritised, moved, woken, and while more
/// urgent tasks want its CPU.
pub(crate) fn disturbed(holds: bool) {
    let runtime = runtime();
    let busy = Busy::default();
    let stops = busy.clone();
    let held = runtime.spawn(prio(30), move || {
        for _ in 0..2 {
            let guard = migrate_disable();
            let cpu = guard.cpu();
            let stays = || {
                let now = migrate_disable().cpu();
                assert_eq!(now, cpu, "the CPU changed");
            };
            let guard = holds.then_some(guard);
            task::yield_now();
            stays();
            task::park();
            stays();
            task::checkpoint();
            stays();
            drop(guard);
            task::checkpoint();
        }
        stops.stop();
    });
    let urgent =
        [45, 50].map(|p| runtime.spawn(prio(p), || (0..2).for_each(|_| task::yield_now())));
    let computing = {
        let busy = busy.clone();
        runtime.spawn(prio(20), move || busy.compute())
    };
    let changed = held.task();
    let changer = thread(move || {
        // It may have ended by then, which is as good.
        let _ = changed.set_priority(prio(10));
        let _ = changed.set_affinity(&only(1));
        let _ = changed.set_priority(prio(60));
    });
    while !held.is_finished() {
        held.task().unpark();
        pause();
    }
    join(changer);
    held.join().unwrap();
    computing.join().unwrap();
    urgent.into_iter().for_each(|task| task.join().unwrap());
    end(runtime);
}

#[test]
fn the_cpu_never_changes_under_a_guard() {
    Model::new().schedules(300).check(|| disturbed(true));
}

#[test]
fn without_the_guard_the_cpu_changes() {
    let model = Model::new().schedules(300);
    assert!(model.finds_fault(|| disturbed(false)));
}
