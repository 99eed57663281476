//! From one task to the next without the carrier.
//!
//! A pass ([`crate::pass`]) runs on the carrier's stack, so each switch between two tasks is two: to the
//! carrier, and on to the next task. Half of what that costs is the thread pointer, written twice. The
//! kernel's scheduler runs on the stack of the task that leaves, and the task that comes finishes the job
//! (`finish_task_switch`). The frequent switches are done like that here:
//!
//! ```text
//!   the task that leaves                              the task that comes
//!   take_turns  yield to an equal        ──────────►  finish(Turn): show, unlock
//!   preempt     it woke a more urgent one ─────────►  finish(Preempted): publish, push, unlock
//!   part        it waits                 ──────────►  finish(Parted): commit the wait, publish, push, unlock
//!   exit        it has ended             ──────────►  finish(Ended): take back its fiber, publish, push, unlock
//! ```
//!
//! *Leave before arrive* holds because the runqueue lock is held from before the leaving task can be found
//! until the coming one runs, on the same kernel thread; and because a wait is committed by the one that comes.
//! Everything that needs more than that goes the long way, through the carrier: letters, requests, timers
//! that are due, a more urgent task to pull, a task that must leave this CPU, no fiber, fibers that are
//! not carried. Each function here looks first and changes nothing if the answer is [`Direct::No`].
//!
//! Cost: one acquisition of the own lock, one write of the thread pointer, no system call.
//!
//! # Unsafe
//! What is raw: the lock is taken by one task and released by the next ([`finish`]). Shown by
//! `tests/order.rs`, `tests/races.rs` and `tests/promise.rs`, in which nearly every switch is of this kind.

use crate::primitives::atomic::Ordering::Relaxed;

use corelane_os::clock;
use corelane_sched::{Change, Node, Place, Verdict, Why, pull, review};

use crate::balance::Kicks;
use crate::cpu::{Core, Cpu};
use crate::current::Fiber;
use crate::event::EventKind;
use crate::primitives::MutexGuard;
use crate::runtime::Shared;
use crate::task_body::{Body, Class, Task};
use crate::{arrival, dispatch, pass, slice, wake, worker};

/// Whether a switch was made.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direct {
    /// Yes; the caller runs again.
    Done,
    /// Nothing was changed: go the long way.
    No,
}

/// What the task that comes does for the one that left.
pub(crate) enum Tail {
    /// The carrier has done it.
    Nothing,
    /// They are equals that took turns.
    Turn,
    /// It was preempted.
    Preempted,
    /// It waits, once it is committed.
    Parted(Task),
    /// It has ended.
    Ended(Task),
}

/// Lets an equal run.
pub(crate) fn take_turns(fiber: &Fiber) -> Direct {
    let Some((shared, cpu)) = place(fiber) else {
        return Direct::No;
    };
    fiber.file_guards();
    let mut core = cpu.lock_as_task();
    let can_start = |task: &Node<Body>| dispatch::can_start(&core, task);
    if has_news(cpu, &core) || !core.rq.turn().is_some_and(can_start) {
        return Direct::No;
    }
    let entity = fiber.task_node().entity();
    cpu.events.push(|| EventKind::Yield {
        task: fiber.task_node().body.id,
        priority: entity.prio().get(),
    });
    entity.state().requeue();
    let _ = core.rq.switch(Place::Tail);
    leave(fiber, shared, cpu, core, Tail::Turn);
    fiber.arrive();
    Direct::Done
}

/// Lets the more urgent task run that the caller has just queued, under the lock `core`.
///
/// # Errors
/// Gives the lock back if nothing was done.
pub(crate) fn preempt<'a>(
    fiber: &'a Fiber,
    mut core: MutexGuard<'a, Core>,
) -> Result<(), MutexGuard<'a, Core>> {
    let Some((shared, cpu)) = place(fiber) else {
        return Err(core);
    };
    let entity = fiber.task_node().entity();
    let is_plain = !has_news(cpu, &core)
        && core
            .rq
            .peek()
            .is_some_and(|next| dispatch::can_start(&core, next))
        && review(&core.rq, &shared.domain, Why::Asked) == Verdict::PutBack(Place::Preempted);
    if !is_plain {
        return Err(core);
    }
    if entity.held() == 0 {
        entity.attended();
    }
    cpu.stats.preemptions.add_own();
    cpu.events.push(|| EventKind::Preempt {
        task: fiber.task_node().body.id,
        priority: entity.prio().get(),
    });
    entity.state().requeue();
    let _ = core.rq.switch(Place::Preempted);
    leave(fiber, shared, cpu, core, Tail::Preempted);
    fiber.arrive();
    Ok(())
}

/// Waits, and lets the next task run. The caller has begun its wait.
pub(crate) fn part(fiber: &Fiber, deadline_ns: Option<u64>) -> Direct {
    let Some((shared, cpu)) = place(fiber) else {
        return Direct::No;
    };
    fiber.file_guards();
    if deadline_ns.is_some_and(|deadline_ns| clock::now_ns() >= deadline_ns) {
        return Direct::No; // a pass expires it before it picks
    }
    let mut core = cpu.lock_as_task();
    let Some(task) = take_current(shared, cpu, &mut core) else {
        return Direct::No;
    };
    if let Some(deadline_ns) = deadline_ns {
        worker::arm(&mut core, cpu, &task, deadline_ns);
    }
    cpu.events.push(|| EventKind::Block { task: task.body.id });
    let _ = core.rq.pick_next();
    leave(fiber, shared, cpu, core, Tail::Parted(task));
    fiber.arrive();
    Direct::Done
}

/// Lets the next task run after the caller's has ended. When this returns [`Direct::Done`] the fiber has
/// another task, or is to leave.
pub(crate) fn exit(fiber: &Fiber) -> Direct {
    let Some((shared, cpu)) = place(fiber) else {
        return Direct::No;
    };
    let mut core = cpu.lock_as_task();
    let Some(task) = take_current(shared, cpu, &mut core) else {
        return Direct::No;
    };
    cpu.events.push(|| EventKind::Exit { task: task.body.id });
    let _ = core.rq.pick_next();
    leave(fiber, shared, cpu, core, Tail::Ended(task));
    Direct::Done
}

/// Takes the caller's task off the runqueue if the next one can follow at once: it is there, and nothing
/// more urgent waits elsewhere.
fn take_current(shared: &Shared, cpu: &Cpu, core: &mut Core) -> Option<Task> {
    let next = core.rq.peek();
    if has_news(cpu, core) || !next.is_some_and(|next| dispatch::can_start(core, next)) {
        return None;
    }
    let task = core.rq.take_current().expect("the caller is current");
    if core.rq.publish(&shared.domain) == Change::Lowered && has_more_urgent(shared, cpu, core) {
        core.rq.restore_current(task);
        let _ = core.rq.publish(&shared.domain);
        return None;
    }
    Some(task)
}

/// Where the caller runs, if tasks there may switch to one another.
fn place(fiber: &Fiber) -> Option<(&Shared, &Cpu)> {
    let shared = fiber.shared();
    let may = shared.is_carried && fiber.task_node().body.class == Class::RealTime;
    may.then(|| (shared, fiber.cpu()))
}

/// Whether the CPU has anything to do that only a pass does.
fn has_news(cpu: &Cpu, core: &Core) -> bool {
    // Relaxed: what is missed here comes with a request, which is seen at the next safe point.
    let is_asked = cpu.need_resched.load(Relaxed) || cpu.refile.load(Relaxed);
    let deadline_ns = cpu.next_deadline_ns.load(Relaxed); // Relaxed: under the runqueue lock.
    let timer_is_due = || deadline_ns != u64::MAX && clock::now_ns() >= deadline_ns;
    is_asked || !cpu.inbox.is_empty() || core.rq.owes_pull() || timer_is_due()
}

/// Whether a task waits elsewhere that is more urgent than what this CPU has, now that it was lowered.
fn has_more_urgent(shared: &Shared, cpu: &Cpu, core: &mut Core) -> bool {
    core.rq.pull_begins();
    let my_level = shared.domain.cpupri.level(cpu.id);
    pull::plan(&shared.domain, cpu.id, my_level, &core.tried).is_some()
}

/// Goes to the fiber of the task that is current now; comes back when the caller's fiber runs again.
fn leave(fiber: &Fiber, shared: &Shared, cpu: &Cpu, mut core: MutexGuard<'_, Core>, tail: Tail) {
    slice::end(fiber);
    let Core { rq, fibers, .. } = &mut *core;
    let task = rq.current().expect("a task was picked");
    let next = dispatch::fiber_for(shared, cpu, fibers, task).expect("it is startable");
    dispatch::begin(cpu, task, next);
    slice::begin(next);
    next.set_tail(tail);
    cpu.stats.switches.add_own();
    core::mem::forget(core); // `finish` releases the lock
    // SAFETY: `next` was dispatched above. Our own task is in this runqueue, under the lock that only
    // `finish` releases; or its wait is committed, or its fiber given back, there.
    unsafe { fiber.switch_to(next) };
}

/// Whether the task that comes may run its own code.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finished {
    /// Yes.
    GoOn,
    /// No: the one that left was woken on its way and is more urgent. It became runnable before any code of
    /// the one that comes has run, and that code might not pass a safe point for long.
    TooEarly,
}

/// The task that comes does what the one that left could not do on its own stack.
pub(crate) fn finish(fiber: &Fiber, tail: Tail) -> Finished {
    if matches!(tail, Tail::Nothing) {
        return Finished::GoOn;
    }
    let (shared, cpu) = (fiber.shared(), fiber.cpu());
    // SAFETY: a tail is only set by `leave`, which holds the lock of this CPU and forgot its guard.
    let mut core = unsafe { cpu.core.make_guard_unchecked() };
    if matches!(tail, Tail::Turn) {
        cpu.show_running(&core);
        return Finished::GoOn;
    }
    let mut kicks = Kicks::default();
    let mut was_woken = false;
    let ended = match tail {
        Tail::Parted(task) => {
            was_woken = commit(shared, cpu, &mut core, task, &mut kicks);
            None
        }
        Tail::Ended(task) => Some(dispatch::retire(shared, cpu, &mut core, task)),
        Tail::Nothing | Tail::Turn | Tail::Preempted => None,
    };
    if !crate::primitives::sabotaged!(OmitConclusion) {
        pass::conclude(shared, cpu, &mut core, &mut kicks);
    }
    let comes_too_early = was_woken && core.rq.must_switch();
    cpu.show(&core);
    drop(core);
    kicks.perform(shared);
    drop(ended); // with no lock held
    if comes_too_early {
        Finished::TooEarly
    } else {
        Finished::GoOn
    }
}

/// Commits the wait of a task that has left; queues it if it was woken on its way, and says whether.
#[must_use]
fn commit(shared: &Shared, cpu: &Cpu, core: &mut Core, task: Task, kicks: &mut Kicks) -> bool {
    let Some(task) = wake::commit_wait(task) else {
        return false;
    };
    if crate::primitives::sabotaged!(ForgetWoken) {
        return false;
    }
    arrival::receive(shared, cpu, core, task, Place::Tail, kicks);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::current::Intent;
    use crate::primitives::atomic::AtomicBool;
    use crate::{Cpus, Priority, Runtime, task};
    use corelane_sched::{Wait, Wake};
    use parking_lot::Mutex; // not through `primitives`: a checker has no locks in statics
    use std::sync::Arc;
    use std::time::Duration;

    /// Two runtimes cannot share a CPU.
    static TURN: Mutex<()> = Mutex::new(());

    const LOOK_AGAIN: Duration = Duration::from_millis(1);

    fn prio(value: u8) -> Priority {
        Priority::new(value).unwrap()
    }

    /// On one CPU: begins a wait that is over before the stack is left, above a less urgent task that is
    /// ready; says whether that one ran its own code before the wait came back.
    fn is_overtaken(wait: fn(&Fiber)) -> bool {
        let _turn = TURN.lock();
        let runtime = Runtime::builder().cpus(Cpus::Count(1)).build().unwrap();
        let waits = move || {
            let has_run = Arc::new(AtomicBool::new(false));
            let runs = has_run.clone();
            let less_urgent = task::spawn(prio(10), move || runs.store(true, Relaxed));
            wait(Fiber::carried().expect("a task"));
            (has_run.load(Relaxed), less_urgent)
        };
        let (overtaken, less_urgent) = runtime.spawn(prio(90), waits).join().unwrap();
        less_urgent.join().unwrap();
        overtaken
    }

    fn leave_waiting(fiber: &Fiber, deadline_ns: Option<u64>) {
        if part(fiber, deadline_ns) == Direct::No {
            fiber.suspend(Intent::Wait { deadline_ns });
        }
    }

    #[test]
    fn a_task_that_came_too_early_and_never_started_is_given_up_though_its_cpu_is_stuck() {
        let _turn = TURN.lock();
        let runtime = Runtime::builder().cpus(Cpus::Count(1)).build().unwrap();
        let release = Arc::new(AtomicBool::new(false));
        let (released, (tell, told)) = (release.clone(), std::sync::mpsc::channel());
        let has_fiber = |task: &crate::JoinHandle<()>| task.task().0.body.fiber().is_some();
        let stuck = runtime.spawn(prio(90), move || {
            let fiber = Fiber::carried().expect("a task");
            let state = fiber.task_node().entity().state();
            let mut early = Vec::new();
            // A request that is under way makes it go the long way, on which nobody comes too early.
            while !early.iter().any(has_fiber) {
                early.push(task::spawn(prio(10), || unreachable!("it is given up")));
                assert_eq!(state.begin_wait(), Wait::Leave);
                assert_eq!(state.wake(), Wake::Recorded);
                leave_waiting(fiber, None);
                if !fiber.shared().is_carried {
                    break; // always the long way
                }
            }
            tell.send(early).unwrap();
            while !released.load(Relaxed) {
                std::thread::sleep(LOOK_AGAIN);
            }
        });
        let early: Vec<crate::JoinHandle<()>> = told.recv().unwrap();
        let report = runtime.shutdown(LOOK_AGAIN);
        for early in early {
            assert_eq!(
                early.join().unwrap_err().to_string(),
                crate::JoinError::Cancelled.to_string()
            );
        }
        let abandoned: Vec<u64> = report.abandoned.iter().map(|task| task.id).collect();
        assert_eq!(abandoned, [stuck.task().id()], "only what has not ended");
        release.store(true, Relaxed);
        let _ = stuck.join();
    }

    /// Who of many sleepers runs first when all are due at once; `None` if they were due too early.
    fn first_of_many_due(in_time: Duration) -> Option<u8> {
        const MANY: usize = 200;
        let builder = Runtime::builder().cpus(Cpus::Count(1));
        let runtime = builder.fibers(MANY + 8).build().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let at = std::time::Instant::now() + in_time;
        let sleeper = |value, at| {
            let order = order.clone();
            runtime.spawn(prio(value), move || {
                task::sleep_until(at);
                order.lock().push(value);
            })
        };
        let mut sleepers: Vec<_> = (0..MANY).map(|_| sleeper(10, at)).collect();
        sleepers.push(sleeper(90, at + LOOK_AGAIN));
        // Runs when all of them sleep, and holds the CPU without a safe point until all are due.
        let holds = move || {
            let now = std::time::Instant::now();
            std::thread::sleep((at + 2 * LOOK_AGAIN).saturating_duration_since(now));
            now < at
        };
        let were_asleep = runtime.spawn(prio(5), holds).join().unwrap();
        sleepers.into_iter().for_each(|task| task.join().unwrap());
        were_asleep.then(|| order.lock()[0])
    }

    #[test]
    fn of_many_tasks_whose_time_has_come_the_most_urgent_runs_first() {
        let _turn = TURN.lock();
        let mut times = (5..).map(|step| Duration::from_millis(1 << step));
        assert_eq!(times.find_map(first_of_many_due), Some(90));
    }

    #[test]
    fn a_task_woken_while_it_leaves_is_not_overtaken_by_a_less_urgent_one() {
        assert!(!is_overtaken(|fiber| {
            let state = fiber.task_node().entity().state();
            assert_eq!(state.begin_wait(), Wait::Leave);
            assert_eq!(state.wake(), Wake::Recorded);
            leave_waiting(fiber, None);
        }));
    }

    #[test]
    fn a_task_whose_deadline_has_passed_is_not_overtaken_by_a_less_urgent_one() {
        assert!(!is_overtaken(|fiber| fiber.wait(Some(1))));
    }
}
