//! What a task does: one random step after the other, with bounded work in between.
//!
//! A step may be anything that a task can do, also while it holds a guard. In a hush a task keeps its CPU
//! and passes safe points, so that the state comes to rest and stays there.

use std::any::Any;
use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

use corelane::{ChangeError, CpuSet, JoinError, MigrateGuard, task};
use corelane_sim::Oracle;
use corelane_sim::stream::Change;

use crate::cast::{Cast, Entry, lock, priority};
use crate::count::{Token, add, take_back};
use crate::fate::{End, Fate};

/// With what a task panics on purpose.
pub(crate) struct Planned;

/// A task on its stage: ends the entry however it ends.
struct Actor<'a> {
    cast: &'a Arc<Cast>,
    entry: &'a Entry,
    number: u64,
    id: u64,
    fate: &'a Fate,
    choices: Oracle,
    waits: Cell<bool>,
    is_planned: Cell<bool>,
    guards: usize,
}

const STEPS_MAX: usize = 400;

/// The body of a task; returns its number.
pub(crate) fn live(
    cast: &Arc<Cast>,
    index: usize,
    number: u64,
    bounds: &CpuSet,
    fate: &Fate,
) -> u64 {
    let Some(own) = task::current() else {
        cast.counts.object("task: it does not know itself".into());
        return number;
    };
    if !bounds.contains(own.cpu()) {
        cast.counts
            .object(format!("bounds: {own:?} starts on {:?}", own.cpu()));
    }
    cast.counts.bodies.fetch_add(1, Relaxed); // Relaxed: a count.
    let mut actor = Actor {
        cast,
        entry: &cast.entries[index],
        number,
        id: own.id(),
        fate,
        choices: cast.choices(number),
        waits: Cell::new(false),
        is_planned: Cell::new(false),
        guards: 0,
    };
    actor.entry.enter(number, own);
    let steps = actor.choices.below(STEPS_MAX);
    for _ in 0..steps {
        if cast.is_over() {
            break;
        }
        actor.step();
    }
    number
}

impl Drop for Actor<'_> {
    fn drop(&mut self) {
        let counts = &self.cast.counts;
        // Before the entry becomes another's.
        let was_cancelled = self.entry.was_cancelled(self.number) || self.cast.closing.load(SeqCst);
        let had_permit = self.entry.leave(self.number);
        if self.waits.get() && had_permit {
            add(&counts.permits_forfeited);
        }
        match (std::thread::panicking(), self.is_planned.get()) {
            (false, _) => {
                add(&counts.returned);
                self.fate.seal(End::Returned);
            }
            (true, true) => {
                add(&counts.panicked);
                self.fate.seal(End::Panicked);
            }
            (true, false) => {
                add(&counts.cancelled);
                self.fate.seal(End::Unwound);
                if !was_cancelled {
                    counts.object(format!("task {} unwinds, and nobody cancelled it", self.id));
                }
            }
        }
        counts.bodies.fetch_sub(1, Relaxed); // Relaxed: a count.
    }
}

/// Keeps the CPU of the runtime, but not of the kernel, for a moment. No safe point.
fn breathe(us: u32) {
    std::thread::sleep(Duration::from_micros(u64::from(us)));
}

impl Actor<'_> {
    fn step(&mut self) {
        self.hush();
        let pause_us = self.cast.pause_us.load(Relaxed); // Relaxed: advice.
        if pause_us > 0 && self.choices.chance(40) {
            breathe(pause_us);
        }
        match self.choices.below(100) {
            0..1 if self.guards == 0 => {
                self.is_planned.set(true);
                resume_unwind(Box::new(Planned));
            }
            0..16 => self.park(),
            16..22 => self.park_for_a_while(),
            22..34 => task::yield_now(),
            34..42 => self.sleep(),
            42..60 => self.stir(),
            60..67 => self.reprioritise(),
            67..71 => self.bound(),
            71..82 => self.hold(),
            82..85 => self.go_native(),
            85..87 => self.go_outside(),
            87..92 => self.have_a_child(),
            92..94 => self.cancel(),
            _ => task::checkpoint(),
        }
    }

    fn hush(&self) {
        while self.cast.is_hushed() && !self.cast.is_over() {
            task::checkpoint();
            breathe(20);
        }
    }

    fn park(&self) {
        self.entry.expect_permit(self.number);
        self.waits.set(true);
        task::park();
        self.waits.set(false);
        self.take_permit();
    }

    fn take_permit(&self) {
        if self.entry.has_permit(self.number) {
            add(&self.cast.counts.permits_taken);
        } else {
            let id = self.id;
            self.cast
                .counts
                .object(format!("permits: task {id} got one that nobody gave"));
            let _ = self.entry.give_up(self.number);
        }
    }

    fn park_for_a_while(&mut self) {
        let timeout = Duration::from_micros(self.choices.below(300) as u64);
        self.entry.expect_permit(self.number);
        self.waits.set(true);
        let start = Instant::now();
        if !task::park_timeout(timeout) {
            self.expect(start.elapsed() >= timeout, "a timeout is not early");
            if self.entry.give_up(self.number) {
                return self.waits.set(false);
            }
            task::park(); // a waker has won: its permit is on its way
        }
        self.waits.set(false);
        self.take_permit();
    }

    fn sleep(&mut self) {
        let asked = Duration::from_micros(self.choices.below(400) as u64);
        let start = Instant::now();
        task::sleep(asked);
        self.expect(start.elapsed() >= asked, "a sleep is not short");
    }

    fn stir(&mut self) {
        self.cast.stir(&mut self.choices, &task::build());
    }

    fn reprioritise(&mut self) {
        change_priority(self.cast, &mut self.choices);
    }

    fn bound(&mut self) {
        // Whoever waits for another's guard while it holds one itself may wait for ever.
        if self.guards == 0 {
            change_bounds(self.cast, &mut self.choices);
        }
    }

    fn hold(&mut self) {
        if self.guards > 1 {
            return;
        }
        let guard = Held::take(self);
        self.guards += 1;
        for _ in 0..1 + self.choices.below(3) {
            self.step();
            guard.check(self);
        }
        self.guards -= 1;
        drop(guard);
    }

    fn go_native(&mut self) {
        let value = self.choices.next_word();
        let us = self.choices.below(60) as u32;
        let back = task::native(|| {
            breathe(us);
            value
        });
        self.expect(back == value, "a native part returns its value");
    }

    fn go_outside(&mut self) {
        let value = self.choices.next_word();
        let back = task::outside(|| value);
        self.expect(back == value, "a closure outside returns its value");
    }

    fn have_a_child(&mut self) {
        let (cast, number) = (self.cast.clone(), self.cast.next_number());
        let (token, us) = (Token::new(&cast.counts), self.choices.below(100) as u64);
        let (prio, allowed) = (priority(&mut self.choices), CpuSet::full(cast.cpus));
        let body = move || {
            let _token = token;
            task::sleep(Duration::from_micros(us));
            number
        };
        let builder = task::build().priority(prio).affinity(allowed.clone());
        add(&cast.counts.spawned);
        let Ok(child) = builder.try_spawn(body) else {
            take_back(&cast.counts.spawned);
            return;
        };
        let prio = prio.get();
        cast.note(child.task().id(), Change::Born { prio, allowed });
        if self.choices.chance(10) {
            return; // detached
        }
        let tally = Joining::begin(&cast);
        let result = child.join();
        tally.answered();
        let is_right = match result {
            Ok(value) => value == number,
            Err(JoinError::Cancelled) => cast.closing.load(SeqCst),
            Err(_) => false,
        };
        self.expect(is_right, "a child's result reaches whoever joins it");
    }

    fn cancel(&mut self) {
        if self.choices.chance(50)
            && let Some((entry, number, task)) = self.cast.someone(&mut self.choices)
            && number != self.number
        {
            entry.mark_cancelled(number);
            task.cancel();
        }
    }

    fn expect(&self, is_so: bool, what: &str) {
        if !is_so {
            self.cast
                .counts
                .object(format!("task {}: not so: {what}", self.id));
        }
    }
}

/// A guard with its notes: it says so once it is held, and before it is dropped.
struct Held {
    guard: Option<MigrateGuard>,
    note: Option<(Arc<Cast>, u64)>,
}

impl Held {
    fn take(actor: &Actor<'_>) -> Held {
        let guard = corelane::migrate_disable();
        let cpu = guard.cpu().index();
        let note = (actor.guards == 0).then(|| (actor.cast.clone(), actor.id));
        if let Some((cast, id)) = &note {
            cast.note(*id, Change::Held { cpu });
        }
        Held {
            guard: Some(guard),
            note,
        }
    }

    fn check(&self, actor: &Actor<'_>) {
        let (here, home) = (
            task::current().map(|task| task.cpu()),
            self.guard.as_ref().map(MigrateGuard::cpu),
        );
        actor.expect(here == home, "a task stays on the CPU of its guard");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((cast, id)) = &self.note {
            cast.note(*id, Change::Released);
        }
        self.guard = None;
    }
}

/// Counts a join. One that is not answered is one from which a cancelled task unwinds.
pub(crate) struct Joining<'a>(&'a Cast);

impl Joining<'_> {
    pub(crate) fn begin(cast: &Cast) -> Joining<'_> {
        add(&cast.counts.joins_begun);
        Joining(cast)
    }

    pub(crate) fn answered(self) {
        add(&self.0.counts.joins_answered);
        core::mem::forget(self); // it refers to the cast, and owns nothing
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        add(&self.0.counts.joins_left);
    }
}

/// Whether a panic's payload is a planned one.
pub(crate) fn is_planned(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Planned>()
}

/// A right to change something, given back however the changer ends.
struct Claim<'a>(&'a AtomicBool);

impl<'a> Claim<'a> {
    fn win(flag: &'a AtomicBool) -> Option<Claim<'a>> {
        (!flag.swap(true, SeqCst)).then_some(Claim(flag))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

/// A change of bounds whose maker waits. Dropped only if it is cancelled meanwhile.
struct Changing<'a> {
    cast: &'a Cast,
    id: u64,
    key: u64,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let key = self.key;
        self.cast.note(self.id, Change::BoundsLeft { key });
    }
}

/// Gives some task another priority.
pub(crate) fn change_priority(cast: &Cast, choices: &mut Oracle) {
    let Some((entry, _, task)) = cast.someone(choices) else {
        return;
    };
    let Some(_claim) = Claim::win(&entry.prio_claim) else {
        return;
    };
    let priority = priority(choices);
    let prio = priority.get();
    cast.note(task.id(), Change::PrioBegins { prio });
    // It may have ended meanwhile, which is as good.
    let _ = task.set_priority(priority);
    cast.note(task.id(), Change::PrioEnds);
}

/// Bounds some task to other CPUs. A changer that is cancelled while it waits leaves word of that.
pub(crate) fn change_bounds(cast: &Cast, choices: &mut Oracle) {
    let Some((entry, ..)) = cast.someone(choices) else {
        return;
    };
    let Some(_claim) = Claim::win(&entry.bounds_claim) else {
        return;
    };
    // Who has the entry is asked again under the claim.
    let Some((_, task)) = lock_task(entry) else {
        return;
    };
    let (key, allowed, id) = (cast.next_number(), cast.some_cpus(choices), task.id());
    let begun = allowed.clone();
    cast.note(
        id,
        Change::BoundsBegin {
            key,
            allowed: begun,
        },
    );
    let change = Changing { cast, id, key };
    let result = task.set_affinity(&allowed);
    core::mem::forget(change); // it refers to the cast, and owns nothing
    let change = match result {
        Ok(()) => Change::BoundsEnd { key },
        Err(ChangeError::Done | ChangeError::Held) => Change::BoundsRefused { key },
        Err(error) => {
            cast.counts.object(format!("set_affinity: {error}"));
            Change::BoundsRefused { key }
        }
    };
    cast.note(id, change);
}

fn lock_task(entry: &Entry) -> Option<(u64, corelane::Task)> {
    lock(entry.task()).clone()
}
