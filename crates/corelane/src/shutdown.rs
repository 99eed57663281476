//! Ending a runtime in bounded time, and saying what had to be left.
//!
//! Waiting for every task to finish may wait for ever; killing threads in mid-task frees memory that is in
//! use. So tasks are asked to end: those that have not started never will, those that wait or reach a safe
//! point unwind there. What has not ended within the limit is abandoned: its thread leaves the real-time
//! class and goes on, its memory stays, and the report names it.

use std::time::{Duration, Instant};

use corelane_os::thread::{self, Policy};
use corelane_sched::Letter;

use crate::carriers::{Carrier, Carriers};
use crate::change;
use crate::current::Fiber;
use crate::error::JoinError;
use crate::job::Ended;
use crate::runtime::{Runtime, Shared};

/// A task that did not end within the limit.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Abandoned {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: Option<String>,
}

/// How a runtime ended.
#[must_use]
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Tasks that ended in its life, in whatever way.
    pub finished: u64,
    /// Those of them that were cancelled, before or during the shutdown.
    pub cancelled: u64,
    /// Tasks that did not end; their threads and memory are left.
    pub abandoned: Vec<Abandoned>,
    /// How long it took.
    pub took: Duration,
}

/// How often to look whether tasks have ended.
const LOOK_AGAIN: Duration = Duration::from_micros(200);
/// How long threads get to return once they are told to, beyond the limit for tasks.
const GRACE: Duration = Duration::from_millis(200);

pub(crate) fn shutdown(runtime: &mut Runtime, limit: Duration) -> Report {
    let start = Instant::now();
    let shared = runtime.shared.clone();
    let inside = Fiber::current().is_some_and(|fiber| core::ptr::eq(fiber.shared(), &*shared));
    assert!(!inside, "a task cannot end its own runtime: it would wait for itself; drop it elsewhere");
    let carriers = runtime.carriers.take().expect("a runtime ends once");
    shared.drain();
    end_tasks(&shared, start + limit);
    let abandoned = abandoned(&shared);
    shared.stop();
    join(carriers, Instant::now() + GRACE);
    discard_queued(&shared);
    shared.fibers.finish();
    let stats = shared.stats();
    let (finished, cancelled) = (stats.finished, stats.cancelled);
    Report { finished, cancelled, abandoned, took: start.elapsed() }
}

/// Asks every task to end until all have, or the time is over.
fn end_tasks(shared: &Shared, until: Instant) {
    while shared.live_tasks() > 0 {
        shared.fibers.for_each_bound(change::cancel);
        for task in shared.fibers.take_starved() {
            if let Some(job) = task.body.take_job() {
                job.abandon(JoinError::Cancelled);
            }
            let _ = task.entity().state().finish();
            shared.ended_outside(Ended::Cancelled);
        }
        shared.cpus().iter().for_each(crate::cpu::Cpu::kick);
        if Instant::now() >= until {
            return;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn abandoned(shared: &Shared) -> Vec<Abandoned> {
    let mut abandoned = Vec::new();
    if shared.live_tasks() > 0 {
        shared.fibers.for_each_bound(|task| {
            abandoned.push(Abandoned { id: task.body.id, name: task.body.name.as_deref().map(str::to_owned) });
        });
    }
    abandoned
}

/// Joins the threads that return in time; the others leave the real-time class and go on.
fn join(carriers: Carriers, until: Instant) {
    let mut waiting = carriers.threads;
    while !waiting.is_empty() {
        let (exited, still): (Vec<Carrier>, Vec<Carrier>) =
            waiting.into_iter().partition(Carrier::has_exited);
        exited.into_iter().for_each(Carrier::join);
        waiting = still;
        if Instant::now() >= until {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    for stuck in waiting {
        // It may refuse only if the thread has just ended, which is as good.
        let _ = thread::set_policy(stuck.tid, Policy::Other);
    }
    drop(carriers.claims);
}

/// Gives up what is still queued: on the CPU of a worker that is stuck, or left after the last pass.
fn discard_queued(shared: &Shared) {
    for cpu in shared.cpus() {
        let mut tasks = Vec::new();
        for letter in cpu.inbox.take() {
            if let Letter::Arrival(task, _) = letter {
                tasks.push(task);
            }
        }
        // A worker that is stuck is stuck in a task, not under its lock.
        let mut core = cpu.core.lock();
        tasks.extend(core::iter::from_fn(|| core.rq.pop_queued()));
        drop(core);
        for task in tasks {
            // One that has started stays on its fiber; one that has not never will.
            if let Some(job) = task.body.take_job() {
                job.abandon(JoinError::Cancelled);
                let _ = task.entity().state().finish();
                shared.ended_outside(Ended::Cancelled);
            }
        }
    }
}
