//! A thread that is stopped while it changes a task delays nobody else's change of the same task.

mod common;

use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::Duration;

use common::{prio, wait_until};
use corelane::{Cpus, task};

static STOPPED: AtomicBool = AtomicBool::new(false);
static GO_ON: AtomicBool = AtomicBool::new(false);

/// Keeps its thread wherever the signal found it.
extern "C" fn stop_here(_signal: i32) {
    STOPPED.store(true, SeqCst);
    while !GO_ON.load(SeqCst) {
        // SAFETY: async-signal-safe; takes a plain value.
        unsafe { libc::usleep(200) };
    }
    STOPPED.store(false, SeqCst);
}

#[test]
fn a_raise_takes_effect_while_another_changer_is_stopped() {
    // SAFETY: the handler touches atomics and sleeps, nothing else.
    unsafe { libc::signal(libc::SIGUSR2, stop_here as *const () as libc::sighandler_t) };
    let runtime = common::builder()
        .map(|builder| builder.cpus(Cpus::Count(1)))
        .build()
        .unwrap();
    let (over, runs) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );

    let end = over.clone();
    let runner = runtime.spawn(prio(50), move || {
        while !end.load(SeqCst) {
            task::checkpoint();
            std::thread::sleep(Duration::from_micros(20));
        }
    });
    let (end, count) = (over.clone(), runs.clone());
    let victim = runtime.spawn(prio(10), move || {
        while !end.load(SeqCst) {
            count.fetch_add(1, SeqCst);
            task::current().unwrap().set_priority(prio(10)).unwrap();
        }
    });
    let (end, target) = (over.clone(), victim.task());
    let changer = std::thread::spawn(move || {
        while !end.load(SeqCst) {
            target.set_priority(prio(11)).unwrap();
        }
    });

    for _ in 0..200 {
        GO_ON.store(false, SeqCst);
        // SAFETY: the thread lives until it is joined below.
        unsafe { libc::pthread_kill(changer.as_pthread_t(), libc::SIGUSR2) };
        wait_until("the changer to stop", || STOPPED.load(SeqCst));
        let before = runs.load(SeqCst);
        victim.task().set_priority(prio(90)).unwrap();
        wait_until("the raised task to run", || runs.load(SeqCst) != before);
        GO_ON.store(true, SeqCst);
        wait_until("the changer to go on", || !STOPPED.load(SeqCst));
    }
    over.store(true, SeqCst);
    changer.join().unwrap();
    runner.join().unwrap();
    victim.join().unwrap();
}
