//! Misuse ends in a typed error that says what to do, or in a clear panic; never in a hang.

mod common;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{prio, runtime};
use corelane::{
    BuildError, ChangeError, CpuId, CpuSet, Cpus, JoinError, Priority, Realtime, Runtime,
    SpawnError, TaskState, task,
};

/// Asserts that a message names each of `words`.
fn says(error: &dyn Display, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(
            message.contains(word),
            "\"{message}\" does not say \"{word}\""
        );
    }
}

/// The message with which `f` panics.
fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("misuse panics");
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .expect("a panic with a message")
}

/// The error of a builder whose configuration is refused.
fn refused(configure: impl FnOnce(corelane::Builder) -> corelane::Builder) -> BuildError {
    match common::builder().map(configure).build() {
        Ok(_) => panic!("a bad configuration was accepted"),
        Err(error) => error,
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("procfs is mounted")
        .count()
}

#[test]
fn a_priority_outside_1_to_99_is_refused() {
    says(
        &Priority::new(0).unwrap_err(),
        &["0 is not a priority", "1 ", "99", "spawn_background"],
    );
    says(
        &Priority::new(100).unwrap_err(),
        &["100 is not a priority", "1 ", "99"],
    );
    assert!(Priority::try_from(255).is_err());
}

#[test]
fn an_empty_or_foreign_affinity_is_refused_at_spawn() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    let spawn = |affinity| runtime.build_task().affinity(affinity).try_spawn(|| ());
    let empty = spawn(CpuSet::empty(cpus)).unwrap_err();
    assert_eq!(empty, SpawnError::EmptyAffinity);
    says(&empty, &["at least one CPU"]);
    for slot in [cpus, cpus + 70] {
        let foreign = spawn(CpuSet::single(slot + 1, CpuId::new(slot))).unwrap_err();
        assert_eq!(foreign, SpawnError::ForeignCpu { cpus });
        says(&foreign, &[&format!("0..{cpus}"), "not kernel numbers"]);
    }
    let builder = runtime.build_task().affinity(CpuSet::empty(cpus));
    let message = panic_of(|| drop(builder.spawn(|| ())));
    says(&message, &["at least one CPU"]);
}

#[test]
fn room_for_more_slots_than_there_are_is_no_error() {
    let runtime = runtime();
    let roomy = CpuSet::single(1000, CpuId::new(0));
    let handle = runtime.build_task().affinity(roomy.clone()).spawn(move || {
        let own = task::current().unwrap();
        own.set_affinity(&CpuSet::full(1)).unwrap();
        own.set_affinity(&roomy).unwrap();
        own.affinity().iter().collect::<Vec<_>>()
    });
    assert_eq!(handle.join().unwrap(), [CpuId::new(0)]);
}

#[test]
fn a_bad_change_of_a_live_task_is_refused_and_changes_nothing() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    let parked = runtime.spawn(prio(50), task::park);
    let task = parked.task();
    let empty = task.set_affinity(&CpuSet::empty(cpus)).unwrap_err();
    assert_eq!(empty, ChangeError::EmptyAffinity);
    says(&empty, &["at least one CPU"]);
    let foreign = task
        .set_affinity(&CpuSet::single(cpus + 1, CpuId::new(cpus)))
        .unwrap_err();
    assert_eq!(foreign, ChangeError::ForeignCpu { cpus });
    says(&foreign, &["slots are", "not kernel numbers"]);
    assert_eq!(task.affinity().count(), cpus);
    task.unpark();
    parked.join().unwrap();
    // The result is there a moment before the task has left its fiber.
    common::wait_until("the task to be done", || task.state() == TaskState::Done);
    assert_eq!(task.set_priority(prio(1)), Err(ChangeError::Done));
    assert_eq!(
        task.set_affinity(&CpuSet::full(cpus)),
        Err(ChangeError::Done)
    );
    says(&ChangeError::Done, &["has ended"]);
}

#[test]
fn a_background_task_has_no_priority_and_no_affinity_to_change() {
    let runtime = runtime();
    let handle = runtime.spawn_background(task::park);
    let task = handle.task();
    assert_eq!(task.priority(), None);
    assert_eq!(task.set_priority(prio(9)), Err(ChangeError::Background));
    let error = task
        .set_affinity(&CpuSet::full(runtime.cpus()))
        .unwrap_err();
    assert_eq!(error, ChangeError::Background);
    says(&error, &["spawn a real-time task"]);
    task.unpark();
    handle.join().unwrap();
}

#[test]
fn a_task_cannot_exclude_the_cpu_that_its_own_guard_holds_it_to() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    if cpus < 2 {
        return; // every affinity contains the only CPU
    }
    let handle = runtime.spawn(prio(50), move || {
        let own = task::current().unwrap();
        let guard = corelane::migrate_disable();
        let other = CpuId::new((guard.cpu().index() + 1) % cpus);
        let refused = own.set_affinity(&CpuSet::single(cpus, other));
        drop(guard);
        (
            refused,
            own.set_affinity(&CpuSet::single(cpus, other)),
            own.cpu() == other,
        )
    });
    let (refused, allowed, moved) = handle.join().unwrap();
    assert_eq!(refused, Err(ChangeError::Held));
    says(&refused.unwrap_err(), &["drop the guard first"]);
    assert_eq!((allowed, moved), (Ok(()), true));
}

#[test]
fn more_cpus_than_there_are_no_cpus_and_foreign_cpus_are_refused() {
    let many = refused(|builder| builder.cpus(Cpus::Count(100_000)));
    assert!(
        matches!(&many, BuildError::TooManyCpus { asked: 100_000, allowed } if !allowed.is_empty())
    );
    says(&many, &["100000", "ask for fewer", "taskset"]);
    for nothing in [Cpus::Count(0), Cpus::Kernel(Vec::new())] {
        let none = refused(|builder| builder.cpus(nothing));
        assert!(matches!(none, BuildError::NoCpus));
        says(&none, &["at least one CPU", "Cpus::All"]);
    }
    for number in [100_000, usize::MAX] {
        let foreign = refused(|builder| builder.cpus(Cpus::Kernel(vec![number])));
        assert!(matches!(foreign, BuildError::ForeignCpu { cpu, .. } if cpu == number));
        says(
            &foreign,
            &[&number.to_string(), "choose among these", "taskset"],
        );
    }
}

#[test]
fn no_fibers_small_stacks_and_bad_levels_are_refused() {
    says(
        &refused(|builder| builder.fibers(0)),
        &["Builder::fibers", "at least 1"],
    );
    for bytes in [0, 1, 4096, 64 * 1024 - 1] {
        let small = refused(|builder| builder.stack_size(bytes));
        assert!(matches!(small, BuildError::StackTooSmall { asked, .. } if asked == bytes));
        says(&small, &["Builder::stack_size", "at least 65536"]);
    }
    for level in [0, 97, 98, 99, 255] {
        let error = refused(|builder| builder.fifo_priority(level));
        assert!(matches!(error, BuildError::FifoPriority { asked, max: 96 } if asked == level));
        says(&error, &["choose 1 to 96"]);
    }
}

#[test]
fn the_smallest_stack_the_error_names_is_enough_for_a_task() {
    let built = common::builder()
        .map(|builder| builder.stack_size(64 * 1024))
        .build();
    let runtime = built.expect("the smallest stack is accepted");
    assert_eq!(
        runtime
            .spawn(prio(50), || "fits".to_owned())
            .join()
            .unwrap(),
        "fits"
    );
}

#[test]
fn a_refused_build_leaves_no_thread_and_no_claim_behind() {
    drop(runtime());
    let before = threads();
    for bytes in [1 << 50, usize::MAX / 2] {
        let error = refused(|builder| builder.stack_size(bytes));
        assert!(matches!(error, BuildError::Fiber(_)), "{error:?}");
        says(&error, &["fiber could not be created"]);
    }
    common::wait_until("the threads of refused builds to return", || {
        threads() == before
    });
    assert_eq!(runtime().spawn(prio(50), || 1).join().unwrap(), 1);
}

#[test]
fn a_task_cannot_build_a_runtime() {
    let runtime = runtime();
    let build = || Runtime::builder().build().map(drop);
    let nested = runtime.spawn(prio(50), move || {
        (build(), task::native(build), task::outside(build))
    });
    let (carried, native, outside) = nested.join().unwrap();
    for error in [carried.unwrap_err(), native.unwrap_err()] {
        assert!(matches!(error, BuildError::Nested));
        says(&error, &["task::spawn", "ordinary thread"]);
    }
    // An ordinary thread may build one, but not on the same CPUs.
    assert!(matches!(outside.unwrap_err(), BuildError::CpuInUse { .. }));
}

#[test]
fn two_runtimes_cannot_share_a_cpu_and_the_first_is_unharmed() {
    let runtime = runtime();
    let error = Runtime::builder().build().map(drop).unwrap_err();
    assert!(matches!(error, BuildError::CpuInUse { .. }));
    says(&error, &["Builder::cpus", "share one runtime"]);
    assert_eq!(runtime.spawn(prio(50), || 7).join().unwrap(), 7);
    drop(runtime);
    assert_eq!(common::runtime().spawn(prio(50), || 8).join().unwrap(), 8);
}

#[test]
fn a_task_cannot_join_itself_natively_either() {
    let runtime = runtime();
    let (send, receive) = channel::<corelane::JoinHandle<()>>();
    let (tell, told) = channel();
    let handle = runtime.spawn(prio(50), move || {
        task::park();
        let own = receive.recv().unwrap();
        tell.send(task::native(|| own.join())).unwrap();
    });
    let task = handle.task();
    send.send(handle).unwrap();
    task.unpark();
    let error = told.recv().unwrap().unwrap_err();
    assert!(matches!(error, JoinError::Itself));
    says(&error, &["cannot join itself", "another task"]);
}

#[test]
fn what_only_a_task_can_do_panics_on_an_ordinary_thread() {
    says(&panic_of(task::park), &["task::park is called by a task"]);
    let timed = || _ = task::park_timeout(Duration::from_millis(1));
    says(&panic_of(timed), &["task::park is called by a task"]);
    says(
        &panic_of(|| drop(task::spawn(prio(1), || ()))),
        &["use Runtime::spawn"],
    );
    says(
        &panic_of(|| drop(corelane::migrate_disable())),
        &["called by a task", "ordinary threads"],
    );
    assert!(corelane::try_migrate_disable().is_none());
    assert!(task::current().is_none());
}

#[test]
fn what_any_thread_can_do_does_no_harm_on_an_ordinary_one() {
    task::yield_now();
    task::checkpoint();
    task::sleep(Duration::from_micros(10));
    task::sleep_until(std::time::Instant::now());
    assert_eq!(task::native(|| 1) + task::outside(|| 2), 3);
}

#[test]
fn a_runtime_dropped_by_its_own_task_panics_there_and_ends_all_the_same() {
    for by_shutdown in [false, true] {
        drop(runtime()); // waits for its turn
        let runtime = Runtime::builder().build().unwrap();
        let (send, receive) = channel::<Runtime>();
        let parked = runtime.spawn(prio(40), task::park);
        let handle = runtime.spawn(prio(50), move || {
            let own = receive.recv().unwrap();
            match by_shutdown {
                true => _ = own.shutdown(Duration::from_secs(1)),
                false => drop(own),
            }
        });
        send.send(runtime).unwrap();
        let error = handle.join().unwrap_err();
        says(&error, &["cannot end its own runtime", "drop it elsewhere"]);
        assert!(matches!(parked.join(), Err(JoinError::Cancelled)));
        common::wait_until("the CPUs to be free again", || {
            Runtime::builder().build().is_ok()
        });
    }
}

#[test]
fn realtime_required_is_refused_with_the_remedy_where_the_host_refuses_it() {
    drop(runtime());
    match Runtime::builder().realtime(Realtime::Required).build() {
        Ok(runtime) => assert!(runtime.status().is_realtime()),
        Err(error) => {
            assert!(matches!(
                error,
                BuildError::NotRealtime {
                    property: "SCHED_FIFO",
                    ..
                }
            ));
            says(
                &error,
                &["CAP_SYS_NICE", "RLIMIT_RTPRIO", "Realtime::BestEffort"],
            );
            let runtime = runtime();
            assert!(!runtime.status().is_realtime());
            says(runtime.status(), &["NOT GRANTED"]);
            assert_eq!(runtime.spawn(prio(50), || 9).join().unwrap(), 9);
        }
    }
}
