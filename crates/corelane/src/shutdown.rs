//! Ending a runtime in bounded time, and saying what had to be left.
//!
//! Waiting for every task to finish may wait for ever; killing threads in mid-task frees memory that is in
//! use. So tasks are asked to end: those that have not started never will, those that wait or reach a safe
//! point unwind there. What has not ended within the limit is abandoned: its thread leaves the real-time
//! class and goes on, its memory stays, and the report names it.
//!
//! # Unsafe
//! What is raw: the claim that a task taken out of a queue is the caller's, with which its job is taken.
//! Shown by `tests/lifecycle.rs` and `tests/payloads.rs`.

use crate::primitives::atomic::{Ordering::SeqCst, fence};
use crate::primitives::time::Instant;
use std::time::Duration;

use corelane_os::thread::{self, Policy};
use corelane_sched::{Letter, Place, TaskPhase};

use crate::carriers::{Carrier, Carriers};
use crate::cpu::Cpu;
use crate::current::Fiber;
use crate::error::{JoinError, SHUTDOWN_LIMIT_DEFAULT};
use crate::job::Ended;
use crate::runtime::{Runtime, Shared};
use crate::task_body::Task;
use crate::{background, change};

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
/// How long tasks that are unwinding get beyond the limit, and how long threads get to return after that.
const GRACE: Duration = Duration::from_millis(200);

pub(crate) fn shutdown(runtime: &mut Runtime, limit: Duration) -> Report {
    assert!(!is_inside(&runtime.shared), "{INSIDE}");
    let carriers = runtime.carriers.take().expect("a runtime ends once");
    end(&runtime.shared, carriers, limit)
}

const INSIDE: &str =
    "a task cannot end its own runtime: it would wait for itself; drop it elsewhere";

/// Whether the caller is a task of that runtime, or does something for one.
fn is_inside(shared: &Shared) -> bool {
    let own = Fiber::current().is_some_and(|fiber| core::ptr::eq(fiber.shared(), shared));
    own || shared.housekeeping.is_caller()
}

/// The owner is gone without having ended the runtime.
///
/// # Panics
/// If it was one of the runtime's own tasks, and is not unwinding already. The runtime ends all the same:
/// an ordinary thread sees to it.
pub(crate) fn dropped(runtime: &mut Runtime) {
    let Some(carriers) = runtime.carriers.take() else {
        return;
    };
    let shared = runtime.shared.clone();
    let inside = is_inside(&shared);
    let end = move || drop(end(&shared, carriers, SHUTDOWN_LIMIT_DEFAULT));
    if !inside {
        return end();
    }
    // Without another thread the runtime goes on, ownerless, until the process ends.
    let _ = crate::primitives::thread::Builder::new()
        .name("corelane-end".into())
        .spawn(end);
    assert!(crate::primitives::thread::panicking(), "{INSIDE}");
}

fn end(shared: &Shared, carriers: Carriers, limit: Duration) -> Report {
    let start = Instant::now();
    shared.admission.drain();
    end_tasks(shared, start + limit);
    // What is unwinding by now gets to finish: a worker that left before would leave tasks behind.
    end_tasks(shared, Instant::now() + GRACE);
    shared.stop();
    join(carriers, Instant::now() + GRACE);
    discard_queued(shared);
    let abandoned = abandoned(shared);
    shared.fibers.demote_bound();
    shared.fibers.finish(shared);
    let stats = shared.stats();
    let (finished, cancelled) = (stats.finished, stats.cancelled);
    Report {
        finished,
        cancelled,
        abandoned,
        took: start.elapsed(),
    }
}

/// Asks every task to end until all have, or the time is over.
fn end_tasks(shared: &Shared, until: Instant) {
    while shared.live_tasks() > 0 {
        shared.fibers.for_each_bound(change::cancel);
        discard_starved(shared);
        shared.cpus().iter().for_each(Cpu::kick);
        if Instant::now() >= until {
            return;
        }
        crate::primitives::thread::sleep(LOOK_AGAIN);
    }
}

/// The tasks that are left, once what never started has been given up.
fn abandoned(shared: &Shared) -> Vec<Abandoned> {
    let mut abandoned = Vec::new();
    if shared.live_tasks() > 0 {
        shared.fibers.for_each_bound(|task| {
            if task.entity().state().phase() == TaskPhase::Done {
                return; // it was given up with a fiber, see `discard_queued`
            }
            abandoned.push(Abandoned {
                id: task.body.id,
                name: task.body.name.as_deref().map(str::to_owned),
            });
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
        crate::primitives::thread::sleep(LOOK_AGAIN);
    }
    for stuck in waiting {
        // It may refuse only if the thread has just ended, which is as good.
        let _ = thread::set_policy(stuck.tid, Policy::Other);
    }
    drop(carriers.claims);
}

/// Gives up what has not started and never will: on the CPU or lane of a thread that is stuck, left after
/// the last pass, or waiting for a fiber.
///
/// What has started, that is to say whose closure has been taken, stays there: a thread that gets unstuck
/// still runs it to its end.
///
/// A task may have a fiber and not have started: it came, found that the one before it had to go first
/// (`direct::Finished::TooEarly`), and was queued again. It is given up like the others, because its joiner
/// should not wait for a thread that may be stuck for ever. Its fiber, suspended in front of a closure that
/// is gone, is then lost, and with it the reference to the runtime's memory that its task holds.
pub(crate) fn discard_queued(shared: &Shared) {
    if crate::primitives::sabotaged!(OmitDiscard) {
        return;
    }
    fence(SeqCst); // a spawner that does not see us stopping has left its task by now; see `is_stopping`
    for task in shared.background.take_queued() {
        if let Err(started) = discard(shared, task) {
            background::enqueue(started);
        }
    }
    for cpu in shared.cpus() {
        for task in take_queued(cpu) {
            if let Err(started) = discard(shared, task) {
                cpu.inbox.leave_arrival(started, Place::Tail);
            }
        }
    }
    discard_starved(shared);
}

/// For a thread that has just put a task aside for want of a fiber: gives it up if there is nobody left to make
/// fibers. A thread that gets unstuck, or a spawner that was held up, may come to that after the shutdown has
/// looked for the last time.
#[cold]
pub(crate) fn discard_late(shared: &Shared) {
    if shared.is_stopping() {
        discard_starved(shared); // otherwise the shutdown looks later: see `is_stopping`
    }
}

fn take_queued(cpu: &Cpu) -> Vec<Task> {
    let arrival = |letter| match letter {
        Letter::Arrival(task, _) => Some(task),
        Letter::Change(_) => None,
    };
    let mut tasks: Vec<Task> = cpu.inbox.take().filter_map(arrival).collect();
    // A worker that is stuck is stuck in a task, not under its lock.
    let mut core = cpu.core.lock();
    tasks.extend(core::iter::from_fn(|| core.rq.pop_queued()));
    tasks
}

fn discard_starved(shared: &Shared) {
    for task in shared.fibers.take_starved() {
        let _never_started = discard(shared, task);
    }
}

/// Ends a task that has not started; gives back one that has.
fn discard(shared: &Shared, task: Task) -> Result<(), Task> {
    // SAFETY: the task is ours: it came out of a queue.
    let Some(job) = (unsafe { task.body.job.take() }) else {
        return Err(task);
    };
    job.abandon(JoinError::Cancelled).complete_and_discard();
    let _ = task.entity().state().finish();
    shared.ended_outside(Ended::Cancelled);
    Ok(())
}
