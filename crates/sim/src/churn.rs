//! Churn: random events on many CPUs, until something is wrong or enough has happened.
//!
//! Hand-written scenarios hold the races that somebody thought of. The churn draws everything from the
//! seed: first the mix (how many tasks, how many bounds, guards, equals, how impatient the events are), so
//! that runs differ in kind and not only in detail; then the events, injected while earlier ones are still
//! under way; and each micro-step in between. After every burst the machine runs to quiescence and all
//! invariants are recomputed.

use serde::Serialize;

use crate::ledger::TaskId;
use crate::machine::Machine;
use crate::stream::{Seen, Stream};
use crate::{Happened, Oracle, Sabotage};

/// The outcome of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ChurnReport {
    /// The number of CPUs.
    pub cpus: usize,
    /// The seed: the same seed gives the same report.
    pub seed: u64,
    /// How many events were injected; fewer than asked if the run ended at a violation.
    pub events: u64,
    /// How many invariants were broken where the run ended; 0 if it reached its end.
    pub violations: u64,
    /// Runnable tasks that left a CPU for another.
    pub migrations: u64,
    /// Of these: queued tasks given away by their CPU.
    pub pushes: u64,
    /// Requests to reschedule that reached another CPU whose flag was down.
    pub requests: u64,
    /// A hash over every micro-step, in hexadecimal.
    pub trace_hash: String,
    /// The first violation, in words.
    #[serde(skip)]
    pub first_violation: Option<String>,
}

/// Runs `events` random events on `cpus` CPUs.
///
/// # Panics
/// As [`Machine::new`].
pub fn run(cpus: usize, seed: u64, events: u64) -> ChurnReport {
    run_with(cpus, seed, events, Sabotage::None)
}

/// The same on a machine that commits a fault.
///
/// # Panics
/// As [`Machine::new`].
pub fn run_with(cpus: usize, seed: u64, events: u64, sabotage: Sabotage) -> ChurnReport {
    let mut choices = Oracle::new(seed);
    let mix = Mix::draw(&mut choices, cpus);
    let machine = Machine::with_sabotage(cpus, choices.next_word(), sabotage);
    let mut churn = Churn {
        machine,
        choices,
        mix,
    };
    let mut done = 0;
    while done < events && churn.machine.violations() == 0 {
        done += churn.burst(events - done);
    }
    churn.report(seed, done)
}

/// Runs events as [`run_with`] does while the machine records itself, and returns the oracles that have
/// read the record. The clocks of the CPUs differ by less than `skew_ns`; of the readings `holes_percent` in
/// a hundred are lost.
///
/// # Panics
/// As [`Machine::new`].
pub fn run_recorded(
    cpus: usize,
    seed: u64,
    events: u64,
    skew_ns: u64,
    holes_percent: usize,
) -> (ChurnReport, Stream) {
    run_tampered(cpus, seed, events, skew_ns, holes_percent, |_| ())
}

/// The same, but `tamper` has each reading before the oracles do.
///
/// # Panics
/// As [`Machine::new`].
pub fn run_tampered(
    cpus: usize,
    seed: u64,
    events: u64,
    skew_ns: u64,
    holes_percent: usize,
    mut tamper: impl FnMut(&mut Vec<Seen>),
) -> (ChurnReport, Stream) {
    let mut choices = Oracle::new(seed);
    let mix = Mix::draw(&mut choices, cpus);
    let mut machine = Machine::new(cpus, choices.next_word());
    let clocks = (0..cpus).map(|_| choices.next_word() % skew_ns.max(1));
    machine.record(clocks.collect());
    let mut churn = Churn {
        machine,
        choices,
        mix,
    };
    let mut stream = Stream::new(cpus, skew_ns);
    let mut done = 0;
    while done < events && churn.machine.violations() == 0 {
        done += churn.burst(events - done);
        let is_lost = churn.choices.chance(holes_percent);
        churn.read_into(&mut stream, 20, is_lost, &mut tamper);
    }
    churn.read_into(&mut stream, 0, false, &mut tamper);
    stream.finish();
    (churn.report(seed, done), stream)
}

/// What kind of run this is.
struct Mix {
    tasks_max: usize,
    /// Distinct priorities; few of them make many equals.
    priorities: usize,
    /// In percent: new and changed affinities that are not everything.
    bounded: usize,
    /// In percent of events: taking or dropping a guard.
    guards: usize,
    /// In percent of events: changes of priority or affinity.
    changes: usize,
    burst_max: usize,
    steps_max: usize,
}

impl Mix {
    fn draw(choices: &mut Oracle, cpus: usize) -> Mix {
        Mix {
            tasks_max: cpus * (2 + choices.below(3)) + 2,
            priorities: [3, 10, 99][choices.below(3)],
            bounded: [0, 10, 30][choices.below(3)],
            guards: [0, 10, 20][choices.below(3)],
            changes: [0, 8, 16][choices.below(3)],
            burst_max: [1, 4, 12][choices.below(3)],
            steps_max: [2, 20, 80][choices.below(3)],
        }
    }
}

struct Churn {
    machine: Machine,
    choices: Oracle,
    mix: Mix,
}

impl Churn {
    /// Injects some events, lets the machine run a little after each, then to quiescence.
    fn burst(&mut self, events_left: u64) -> u64 {
        let length = 1 + self.choices.below(self.mix.burst_max) as u64;
        let length = length.min(events_left);
        for _ in 0..length {
            self.event();
            for _ in 0..self.choices.below(self.mix.steps_max) {
                self.machine.step();
            }
        }
        self.machine.settle();
        length
    }

    /// Reads ring after ring, and lets the machine go on in between.
    fn read_into(
        &mut self,
        stream: &mut Stream,
        percent: usize,
        is_lost: bool,
        tamper: &mut impl FnMut(&mut Vec<Seen>),
    ) {
        let mut events = Vec::new();
        for cpu in 0..self.machine.cpus() {
            events.append(&mut self.machine.take_recorded(cpu));
            if self.choices.chance(percent) {
                self.event();
                for _ in 0..self.choices.below(9) {
                    self.machine.step();
                }
            }
        }
        self.machine
            .take_notes()
            .into_iter()
            .for_each(|note| stream.note(note));
        if is_lost {
            return stream.hole();
        }
        tamper(&mut events);
        stream.feed(events);
    }

    fn event(&mut self) {
        let (guards, changes) = (self.mix.guards, self.mix.changes);
        let draw = self.choices.below(100);
        let happened = match draw {
            _ if draw < guards => self.guard(),
            _ if draw < guards + changes => self.change(),
            _ => match self.choices.below(20) {
                0..=1 => self.spawn(),
                2..=10 => self.wake(),
                11..=16 => self.on_running(Machine::block),
                17 => self.on_running(Machine::exit),
                _ => self.on_running(Machine::yield_now),
            },
        };
        if happened == Happened::No {
            // Its condition did not hold; a wake can always be tried.
            let _ = self.wake();
        }
    }

    fn spawn(&mut self) -> Happened {
        if self.machine.ledger.live().len() >= self.mix.tasks_max {
            return Happened::No;
        }
        let (prio, home) = (self.priority(), self.choices.below(self.machine.cpus()));
        let task = self.machine.task(prio, home);
        if self.choices.chance(self.mix.bounded) {
            let cpus = self.some_cpus();
            let _ = self.machine.set_affinity(task, &cpus);
        }
        self.machine.wake(task)
    }

    fn wake(&mut self) -> Happened {
        match self.live() {
            Some(task) => self.machine.wake(task),
            None => self.spawn(),
        }
    }

    fn on_running(&mut self, event: fn(&mut Machine, TaskId) -> Happened) -> Happened {
        match self.running() {
            Some(task) => event(&mut self.machine, task),
            None => Happened::No,
        }
    }

    /// Guards are dropped more often than taken, or all CPUs would soon be held.
    fn guard(&mut self) -> Happened {
        let Some(task) = self.running() else {
            return Happened::No;
        };
        let is_held = self.machine.ledger.get(task).held > 0;
        if is_held && self.choices.chance(65) {
            self.machine.release(task)
        } else {
            self.machine.hold(task)
        }
    }

    fn change(&mut self) -> Happened {
        let Some(task) = self.live() else {
            return Happened::No;
        };
        if self.mix.bounded == 0 || self.choices.chance(60) {
            let prio = self.priority();
            return self.machine.set_priority(task, prio);
        }
        let cpus = if self.choices.chance(self.mix.bounded) {
            self.some_cpus()
        } else {
            (0..self.machine.cpus()).collect()
        };
        self.machine.set_affinity(task, &cpus)
    }

    fn priority(&mut self) -> u8 {
        let priorities = self.mix.priorities;
        let step = 99 / priorities;
        (1 + self.choices.below(priorities) * step) as u8
    }

    fn some_cpus(&mut self) -> Vec<usize> {
        let cpus = self.machine.cpus();
        let count = if self.choices.chance(30) {
            1
        } else {
            1 + self.choices.below(cpus)
        };
        let first = self.choices.below(cpus);
        let stride = 1 + self.choices.below(3);
        (0..count).map(|i| (first + i * stride) % cpus).collect()
    }

    fn live(&mut self) -> Option<TaskId> {
        let live = self.machine.ledger.live();
        match live.len() {
            0 => None,
            len => Some(live[self.choices.below(len)]),
        }
    }

    fn running(&mut self) -> Option<TaskId> {
        let cpu = self.machine.executing.choose(&mut self.choices)?;
        Some(self.machine.executed_by(cpu)?.body)
    }

    fn report(self, seed: u64, events: u64) -> ChurnReport {
        let tally = self.machine.tally();
        ChurnReport {
            cpus: self.machine.cpus(),
            seed,
            events,
            violations: self.machine.violations(),
            migrations: tally.migrations,
            pushes: tally.pushes,
            requests: tally.requests,
            trace_hash: self.machine.trace_hash(),
            first_violation: self.machine.first_violation().map(str::to_owned),
        }
    }
}
