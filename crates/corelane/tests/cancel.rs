//! Cancellation: a task that is asked to end unwinds at its next safe point, wherever it is.

mod common;
#[path = "common/ends.rs"]
mod ends;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::*;
use std::time::Duration;

use common::{prio, runtime, wait_until};
use corelane::{CpuId, CpuSet, JoinHandle, TaskState, task};

use ends::*;

#[test]
fn a_cancelled_task_ends_wherever_it_is() {
    let runtime = runtime();
    let computing = runtime.spawn(prio(10), || {
        loop {
            task::checkpoint();
            std::thread::sleep(Duration::from_micros(20));
        }
    });
    let yielding = runtime.spawn(prio(10), || {
        loop {
            task::yield_now();
            std::thread::sleep(Duration::from_micros(20));
        }
    });
    let parked = runtime.spawn(prio(50), task::park);
    let timed = runtime.spawn(prio(50), || {
        _ = task::park_timeout(Duration::from_secs(3600))
    });
    let asleep = runtime.spawn(prio(50), || task::sleep(Duration::from_secs(3600)));
    let joining = runtime.spawn(prio(50), || {
        task::spawn(prio(40), task::park).join().unwrap()
    });
    for waits in [&parked, &timed, &asleep, &joining] {
        state_is(waits, TaskState::Waiting);
    }
    let tasks: [JoinHandle<()>; 6] = [computing, yielding, parked, timed, asleep, joining];
    for handle in tasks {
        handle.cancel();
        handle.cancel();
        assert_cancelled(handle.join());
    }
    wait_until("the end of all to be counted", || {
        runtime.stats().cancelled == 6
    });
}

#[test]
fn a_task_cancelled_before_its_first_run_never_runs() {
    let (count, made) = drops();
    let (runtime, end, ran) = (runtime(), Flag::default(), Flag::default());
    let stuck: Vec<_> = (0..runtime.cpus())
        .map(|cpu| occupy(&runtime, cpu, &end))
        .collect();
    let (run, local) = (ran.clone(), made());
    let queued = runtime.spawn(prio(5), move || {
        let _local = local;
        run.raise();
    });
    queued.cancel();
    end.raise();
    assert_cancelled(queued.join());
    assert_eq!((ran.is_raised(), count.load(SeqCst)), (false, 1));
    stuck.into_iter().for_each(|stuck| stuck.join().unwrap());
}

#[test]
fn a_cancellation_that_comes_while_the_task_unwinds_is_not_lost() {
    struct Sleeps(Flag);
    impl Drop for Sleeps {
        fn drop(&mut self) {
            self.0.raise();
            task::sleep(Duration::from_millis(20)); // consumes the wake that comes with the cancellation
        }
    }
    let (runtime, unwinding) = (runtime(), Flag::default());
    let guard = Sleeps(unwinding.clone());
    let handle = runtime.spawn(prio(50), move || {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _guard = guard;
            std::panic::resume_unwind(Box::new(1));
        }));
        task::park();
    });
    wait_until("the destructor to sleep", || unwinding.is_raised());
    handle.cancel();
    assert_cancelled(handle.join());
}

#[test]
fn a_cancellation_answered_where_a_task_must_not_unwind_is_seen_at_the_next_checkpoint() {
    let runtime = runtime();
    let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
    for _ in 0..200 {
        let (seen, inner) = (Flag::default(), only.clone());
        let see = seen.clone();
        // A wake that preempts is a safe point, not a point of cancellation. The peer is above and cancels.
        let low = runtime
            .build_task()
            .priority(prio(10))
            .affinity(only.clone())
            .spawn(move || {
                let own = task::current().unwrap();
                let peer = task::build()
                    .priority(prio(20))
                    .affinity(inner)
                    .spawn(move || {
                        task::park();
                        own.cancel();
                    });
                peer.task().unpark();
                see.raise();
                loop {
                    task::checkpoint();
                    std::thread::sleep(Duration::from_micros(10));
                }
            });
        assert_cancelled(low.join());
        assert!(seen.is_raised(), "a wake unwound its caller");
    }
}
