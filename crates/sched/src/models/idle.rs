//! Idle: no wake is lost on the way to a CPU that goes to sleep, and no task in its slot.

use alloc::sync::Arc;
use alloc::vec::Vec;

use loom::thread;

use super::{assert_only_ours, task};
use crate::primitives::control::{Protocol, Unnoticed, check, every_ordering_matters, must_fail};
use crate::primitives::futex::{Futex, Wait};
use crate::{IdleSlot, IdleWord, Inbox, Kick, Letter, Offer, Place, TaskRef};

/// What a CPU has for those who want something of it.
struct Cpu {
    slot: IdleSlot<u32>,
    inbox: Inbox<u32>,
    idle: IdleWord,
    futex: Futex,
}

impl Cpu {
    fn new() -> Arc<Cpu> {
        Arc::new(Cpu {
            slot: IdleSlot::new(),
            inbox: Inbox::new(),
            idle: IdleWord::new(),
            futex: Futex::new(),
        })
    }

    /// The way of a task to this CPU.
    fn send(&self, task: TaskRef<u32>) {
        let place = place_of(task.body);
        if let Offer::Refused(task) = self.slot.offer(task, place) {
            self.inbox.leave_arrival(task, place);
            self.kick();
        }
    }

    fn kick(&self) {
        if self.idle.kick() == Kick::WakeSleeper {
            self.futex.wake_one();
        }
    }

    /// One round of an idle worker: polls once, sleeps if there is nothing, and takes what came.
    fn idle_once(&self, taken: &mut Vec<u32>) {
        self.slot.open();
        let came = self.slot.has_arrived() || !self.inbox.is_empty();
        let arrived = self.slot.close();
        if !came && arrived.is_none() {
            self.park();
        }
        if let Some((task, place)) = arrived {
            take(task, place, taken);
        }
        self.collect(taken);
    }

    fn park(&self) {
        self.idle.announce();
        if self.inbox.is_empty() {
            self.sleep();
        }
        self.idle.awake();
    }

    fn sleep(&self) {
        assert_ne!(
            self.futex.wait(self.idle.word(), IdleWord::PARKED, false),
            Wait::TimedOut
        );
    }

    fn collect(&self, taken: &mut Vec<u32>) {
        for letter in self.inbox.take() {
            let Letter::Arrival(task, place) = letter else {
                unreachable!("only arrivals are sent")
            };
            take(task, place, taken);
        }
    }
}

fn place_of(name: u32) -> Place {
    if name % 2 == 0 {
        Place::Head
    } else {
        Place::Keep
    }
}

fn take(task: TaskRef<u32>, place: Place, taken: &mut Vec<u32>) {
    assert_eq!(
        place,
        place_of(task.body),
        "the place travels with the task"
    );
    assert!(!taken.contains(&task.body), "a task comes twice");
    taken.push(task.body);
}

/// Spawns a waker that sends one task by the way of the inbox, skipping the slot.
fn leave_and_kick(cpu: &Arc<Cpu>, task: &TaskRef<u32>) -> thread::JoinHandle<()> {
    let (cpu, task) = (cpu.clone(), task.clone());
    thread::spawn(move || {
        let place = place_of(task.body);
        cpu.inbox.leave_arrival(task, place);
        cpu.kick();
    })
}

#[test]
fn a_cpu_that_goes_to_sleep_gets_every_letter() {
    check(|| {
        let (cpu, tasks) = (Cpu::new(), [task(1), task(2)]);
        let (theirs, letters) = (cpu.clone(), tasks.clone());
        let waker = thread::spawn(move || {
            for letter in letters {
                let place = place_of(letter.body);
                theirs.inbox.leave_arrival(letter, place);
                theirs.kick();
            }
        });
        let mut taken = Vec::new();
        while taken.len() < 2 {
            cpu.park();
            cpu.collect(&mut taken);
        }
        waker.join().unwrap();
        tasks.iter().for_each(assert_only_ours);
    });
}

#[test]
fn a_waker_that_is_stopped_before_its_system_call_delays_its_own_wake_only() {
    check(|| {
        let (cpu, tasks) = (Cpu::new(), [task(1), task(2)]);
        let (theirs, stopped) = (cpu.clone(), tasks[0].clone());
        let stopped = thread::spawn(move || {
            theirs.inbox.leave_arrival(stopped, place_of(1));
            let _ = theirs.idle.kick(); // and never wakes the sleeper
        });
        let other = leave_and_kick(&cpu, &tasks[1]);
        let mut taken = Vec::new();
        while !taken.contains(&2) {
            cpu.park();
            cpu.collect(&mut taken);
        }
        stopped.join().unwrap();
        other.join().unwrap();
        cpu.collect(&mut taken);
        assert_eq!(taken.len(), 2);
        tasks.iter().for_each(assert_only_ours);
    });
}

#[test]
fn a_task_sent_to_an_idle_cpu_comes_once_by_slot_or_letter() {
    check(|| {
        let (cpu, one) = (Cpu::new(), task(1));
        let (theirs, sent) = (cpu.clone(), one.clone());
        let waker = thread::spawn(move || theirs.send(sent));
        let mut taken = Vec::new();
        while taken.is_empty() {
            cpu.idle_once(&mut taken);
        }
        waker.join().unwrap();
        assert_only_ours(&one);
    });
}

#[test]
fn of_two_tasks_offered_to_a_slot_one_is_refused_and_none_is_lost() {
    check(|| {
        let (slot, tasks) = (Arc::new(IdleSlot::new()), [task(1), task(2)]);
        slot.open();
        let offer = |name: usize| {
            let (slot, task) = (slot.clone(), tasks[name].clone());
            thread::spawn(move || match slot.offer(task, place_of(name as u32 + 1)) {
                Offer::Taken => 0,
                Offer::Refused(task) => task.body,
            })
        };
        let offers = [offer(0), offer(1)];
        let mut taken = Vec::new();
        let first = slot
            .close()
            .map(|(task, place)| take(task, place, &mut taken));
        let refused: u32 = offers.into_iter().map(|offer| offer.join().unwrap()).sum();
        assert!(slot.close().is_none(), "a closed slot takes nothing");
        assert_eq!(refused + taken.iter().sum::<u32>(), 3, "a task is lost");
        assert!(taken.len() == usize::from(first.is_some()));
        tasks.iter().for_each(assert_only_ours);
    });
}

/// A waker and a worker, each with its two steps in the order that the model gives them.
fn handshake(waker: fn(&Cpu, TaskRef<u32>), worker: fn(&Cpu)) {
    let (cpu, one) = (Cpu::new(), task(1));
    let (theirs, sent) = (cpu.clone(), one.clone());
    let waking = thread::spawn(move || waker(&theirs, sent));
    let mut taken = Vec::new();
    while taken.is_empty() {
        worker(&cpu);
        cpu.collect(&mut taken);
    }
    waking.join().unwrap();
}

#[test]
fn a_kick_before_the_letter_is_noticed() {
    let control = "a_kick_before_the_letter_is_noticed";
    must_fail(module_path!(), control, "deadlock", || {
        handshake(
            |cpu, task| {
                cpu.kick();
                cpu.inbox.leave_arrival(task, Place::Keep);
            },
            Cpu::park,
        );
    });
}

#[test]
fn a_look_before_the_announcement_is_noticed() {
    let control = "a_look_before_the_announcement_is_noticed";
    must_fail(module_path!(), control, "deadlock", || {
        handshake(Cpu::send, |cpu| {
            if cpu.inbox.is_empty() {
                cpu.idle.announce();
                cpu.sleep();
            }
            cpu.idle.awake();
        });
    });
}

#[test]
fn a_slot_that_stays_open_during_sleep_is_noticed() {
    let control = "a_slot_that_stays_open_during_sleep_is_noticed";
    must_fail(module_path!(), control, "deadlock", || {
        handshake(Cpu::send, |cpu| {
            cpu.slot.open();
            cpu.park();
            let _ = cpu.slot.close();
        });
    });
}

#[test]
fn every_ordering_of_going_idle_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "a_task_sent_to_an_idle_cpu_comes_once_by_slot_or_letter",
            "of_two_tasks_offered_to_a_slot_one_is_refused_and_none_is_lost",
            "a_cpu_that_goes_to_sleep_gets_every_letter",
            "a_waker_that_is_stopped_before_its_system_call_delays_its_own_wake_only",
        ],
        sites: &[("idle.rs", &[]), ("inbox.rs", &["is_empty"])],
        unnoticed: &[
            Unnoticed {
                weakening: "idle.rs close exchange loses Release",
                why: "a waker that finds the slot closed is refused and reads nothing of the worker's",
            },
            Unnoticed {
                weakening: "idle.rs offer exchange loses Acquire",
                why: "as for `close`: a waker takes nothing over from the worker",
            },
            Unnoticed {
                weakening: "idle.rs open store loses Release",
                why: "as for `close`",
            },
            Unnoticed {
                weakening: "inbox.rs is_empty load loses Acquire",
                why: "`take` acquires what it hands out; the fence in `announce` orders the look, and \
                    loom does not know the total order of accesses",
            },
        ],
    });
}
