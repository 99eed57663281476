//! What the event ring says of tasks that leave their CPU by other ways than waiting.

mod common;
#[path = "common/kit.rs"]
mod kit;

use common::prio;
use corelane::{EventKind, task};
use kit::{has_two_cpus, only};

#[test]
fn a_native_part_and_a_closure_outside_are_departures_in_the_record() {
    let runtime = common::builder().events(1 << 10).build().unwrap();
    let handle = runtime.spawn(prio(9), || task::native(|| 1) + task::outside(|| 2));
    let id = handle.task().id();
    assert_eq!(handle.join().unwrap(), 3);
    common::wait_until("the end to be recorded", || runtime.stats().finished == 1);
    let mut told = String::new();
    for event in runtime.events() {
        told += match event.kind {
            EventKind::Wake { task, .. } if task == id => "wake ",
            EventKind::Switch { task, .. } if task == id => "switch ",
            EventKind::Depart { task } if task == id => "depart ",
            EventKind::Exit { task } if task == id => "exit",
            _ => "",
        };
    }
    let each = "wake switch depart ";
    assert_eq!(told, format!("{each}{each}wake switch exit"));
}

#[test]
fn a_task_that_is_woken_beside_a_holder_is_recorded_where_it_is_queued() {
    let runtime = common::builder().events(1 << 12).build().unwrap();
    if !has_two_cpus(&runtime) {
        return;
    }
    let builder = runtime
        .build_task()
        .priority(prio(10))
        .affinity(only(&runtime, 0));
    let holder = builder.spawn(move || {
        let _guard = corelane::migrate_disable();
        // The other CPU is idle and not its last: the child is offered to this CPU only if it looks best,
        // and is sent beside the guard on arrival.
        let wide = task::build().priority(prio(20));
        let children: Vec<_> = (0..50)
            .map(|_| {
                wide.clone()
                    .spawn(|| task::sleep(std::time::Duration::from_micros(100)))
            })
            .collect();
        children.into_iter().for_each(|child| child.join().unwrap());
    });
    holder.join().unwrap();
    common::wait_until("all to end", || runtime.stats().finished == 51);
    let mut queued = std::collections::BTreeMap::new();
    for event in runtime.events() {
        match event.kind {
            EventKind::Wake { task, .. } => {
                let before = queued.insert(task, event.cpu);
                assert_eq!(before, None, "task {task} is queued twice: {event:?}");
            }
            EventKind::Switch { task, .. } => {
                assert_eq!(queued.remove(&task), Some(event.cpu), "{event:?}");
            }
            EventKind::Preempt { task, .. } | EventKind::Yield { task, .. } => {
                queued.insert(task, event.cpu);
            }
            EventKind::Migrate { task, .. } => {
                queued.remove(&task);
            }
            _ => {}
        }
    }
}
