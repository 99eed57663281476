//! The structures of the scheduler: pure, so they run without a runtime.

use std::hint::black_box;
use std::sync::Arc;

use corelane_sched::{
    Arrival, Commit, CpuId, CpuMask, Cpupri, Inbox, Letter, Level, Node, Overload, Place, Policy,
    Prio, Runqueue, StateWord, TaskRef, TimerQueue, Wait, Wake,
};

/// Publishes a level and the one before again: two changes.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_cpupri_set(map: &Cpupri, cpu: CpuId, one: Level, other: Level) {
    black_box(map.set(cpu, one));
    black_box(map.set(cpu, other));
}

/// The slot of a lowest CPU below `below`, or `usize::MAX`.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_cpupri_find(map: &Cpupri, below: Level) -> usize {
    map.find(below, |_| u64::MAX)
        .map_or(usize::MAX, CpuId::index)
}

/// The same map as the overload uses it: a candidate comes and goes.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_level_map(map: &Overload, cpu: CpuId, level: Level) {
    map.set(cpu, Some(level));
    black_box(map.level(cpu));
    map.set(cpu, None);
}

/// The current task goes to the tail of its level, and the next is picked.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_runqueue_cycle(rq: &mut Runqueue<()>) -> bool {
    matches!(rq.put_prev(Place::Tail), Arrival::Queued { .. }) && rq.pick_next().is_some()
}

/// A letter is left and taken.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_inbox_cycle(inbox: &Inbox<()>, task: &TaskRef<()>) -> usize {
    inbox.leave_arrival(task.clone(), Place::Tail);
    let letters = inbox.take().map(|letter| match letter {
        Letter::Arrival(task, _) | Letter::Change(task) => drop(task),
    });
    letters.count()
}

/// Dispatched, waits, is parked, is woken.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_state_cycle(word: &StateWord) -> bool {
    word.dispatch();
    word.begin_wait() == Wait::Leave
        && word.commit_wait() == Commit::Parked
        && word.wake() == Wake::Enqueue
}

/// A deadline is armed before all others, and expires.
#[inline(never)]
// SAFETY: no other symbol has the name.
#[unsafe(no_mangle)]
pub(crate) fn probe_timer_cycle(timers: &mut TimerQueue<()>, task: &TaskRef<()>) -> bool {
    timers.arm(task.clone(), 1);
    timers.expire(1).is_some()
}

/// A priority in the middle.
fn prio() -> Prio {
    Prio::new(50).expect("a priority between 1 and 99")
}

fn task() -> TaskRef<()> {
    Node::new(prio(), Policy::Fifo, &CpuMask::full(4), CpuId::new(0), ())
}

/// A map in which the last CPU is the only one that runs less than the rest.
fn busy(cpus: usize) -> Cpupri {
    let map = Cpupri::new(cpus);
    for cpu in 0..cpus {
        map.set(CpuId::new(cpu), Level::of(Prio::MAX));
    }
    map.set(CpuId::new(cpus - 1), Level::of(prio()));
    map
}

pub(crate) fn cpupri_set(cpus: usize, calls: usize) {
    let (map, cpu) = (busy(cpus), CpuId::new(cpus / 2));
    (0..calls).for_each(|_| probe_cpupri_set(&map, cpu, Level::IDLE, Level::of(Prio::MAX)));
}

pub(crate) fn cpupri_find(cpus: usize, calls: usize) {
    let map = busy(cpus);
    for _ in 0..calls {
        assert_eq!(
            probe_cpupri_find(&map, Level::of(Prio::MAX)),
            cpus - 1,
            "the only CPU below"
        );
    }
}

pub(crate) fn level_map(cpus: usize, calls: usize) {
    let (map, cpu) = (Overload::new(cpus), CpuId::new(cpus / 2));
    (0..calls).for_each(|_| probe_level_map(&map, cpu, Level::of(prio())));
}

pub(crate) fn runqueue_cycle(tasks: usize, calls: usize) {
    let mut rq = Runqueue::new(CpuId::new(0));
    for _ in 0..tasks {
        let arrival = rq.enqueue(task(), Place::Tail);
        assert!(matches!(arrival, Arrival::Queued { .. }), "it may run here");
    }
    assert!(rq.pick_next().is_some(), "a task is queued");
    (0..calls).for_each(|_| assert!(probe_runqueue_cycle(&mut rq), "one runs, always"));
}

pub(crate) fn inbox_cycle(_size: usize, calls: usize) {
    let (inbox, task) = (Inbox::new(), task());
    (0..calls).for_each(|_| assert_eq!(probe_inbox_cycle(&inbox, &task), 1, "one letter"));
}

pub(crate) fn state_cycle(_size: usize, calls: usize) {
    let word = StateWord::new();
    (0..calls).for_each(|_| assert!(probe_state_cycle(&word), "it ends where it began"));
}

pub(crate) fn timer_cycle(tasks: usize, calls: usize) {
    let mut timers = TimerQueue::new();
    let armed: Vec<TaskRef<()>> = (0..tasks).map(|_| task()).collect();
    for (index, task) in armed.iter().enumerate() {
        timers.arm(Arc::clone(task), 10 + index as u64);
    }
    let mine = task();
    (0..calls).for_each(|_| assert!(probe_timer_cycle(&mut timers, &mine), "it is due"));
}
