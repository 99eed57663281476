//! Where each task is, event by event.
//!
//! ```text
//!                    Wake                 Switch
//!   new, Blocked, ──────────► Queued(c) ─────────► Running(c) ──► Blocked   (Block)
//!   Away, Starved,              │ ▲  ▲ Preempt, Yield │      ──► Away      (Depart)
//!   Flying(c)                   │ │  └────────────────┘      ──► Ended     (Exit)
//!       │ Migrate               │ │ Wake, on the CPU that Migrate named
//!       └──────────► Flying(to) ◄─┘      Queued ──► Starved (NoFiber)
//! ```
//!
//! What begins at `Queued(c)` or `Running(c)` is recorded by CPU `c` itself, so it follows what that CPU
//! recorded before, and anything else is an error at once. The other arrows begin at something that
//! another CPU may have recorded: such an event may have to wait for its turn.

use std::collections::{HashMap, HashSet};

use super::merge::Ready;
use super::{Seen, What};

/// Where a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Queued(usize),
    Running(usize),
    Blocked,
    /// On its way to that CPU.
    Flying(usize),
    /// On an ordinary thread.
    Away,
    /// Put aside until there is a stack.
    Starved,
    /// Neither queued nor running; the order of what happened to it was left open.
    Unsure,
}

/// How a queued task stands among its equals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rank {
    /// It came last when it was queued.
    Tail,
    /// It was preempted here, and goes before those that were not.
    Front,
    /// It came from elsewhere with a place of its own.
    Carried,
}

/// How a task was queued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filing {
    pub(super) prio: u8,
    /// A time before the priority was read: that of the event before, in the same ring. Its own event is
    /// stamped after the reading, and whole changes may fit in between if the host stops the CPU there.
    pub(super) from_ns: u64,
    /// Grows with each filing on the same CPU.
    pub(super) number: u64,
    pub(super) rank: Rank,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    place: Place,
    pub(super) filing: Option<Filing>,
    /// When it got there.
    since_ns: u64,
    /// The CPUs, modulo 64, where a timer may be armed: it waited there and its deadline has not passed.
    armed: u64,
}

impl Life {
    pub(super) fn place(&self) -> Place {
        self.place
    }
}

/// Whether an event can be next.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Fits,
    /// Not yet: something that another CPU recorded must come first.
    Waits,
    /// Never.
    Breaks(String),
}

/// What a CPU runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seat {
    Unknown,
    Free,
    Taken(u64),
}

pub(super) struct Lives {
    lives: HashMap<u64, Life>,
    seats: Vec<Seat>,
    /// The tasks queued on each CPU.
    queues: Vec<Vec<u64>>,
    ended: Ended,
    filings: u64,
    /// The time of the last event of each CPU.
    last_ns: Vec<u64>,
    /// Nothing was forgotten: a task that is not known does not exist yet.
    is_complete: bool,
    /// The tasks that were forgotten and have not been seen since.
    missing: HashSet<u64>,
    /// Events were lost, and with them perhaps the beginning or the end of a task.
    was_cut: bool,
    skew_ns: u64,
}

impl Lives {
    pub(super) fn new(cpus: usize, skew_ns: u64) -> Lives {
        Lives {
            lives: HashMap::new(),
            seats: vec![Seat::Free; cpus],
            queues: vec![Vec::new(); cpus],
            ended: Ended::default(),
            filings: 0,
            last_ns: vec![0; cpus],
            is_complete: true,
            missing: HashSet::new(),
            was_cut: false,
            skew_ns,
        }
    }

    pub(super) fn cpus(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether every task is known that has begun and not ended. So it is again some time after a guess that
    /// did not work out, but not after a hole.
    pub(super) fn knows_all(&self) -> bool {
        self.missing.is_empty() && !self.was_cut
    }

    /// The record has a hole.
    pub(super) fn cut(&mut self) {
        self.was_cut = true;
    }

    /// An event of `task` was not followed.
    pub(super) fn miss(&mut self, task: u64) {
        if task != 0 && !self.ended.has(task) {
            self.missing.insert(task);
        }
    }

    pub(super) fn live(&self) -> usize {
        self.lives.len()
    }

    pub(super) fn has_ended(&self, task: u64) -> bool {
        self.ended.has(task)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Life)> {
        self.lives.iter().map(|(task, life)| (*task, life))
    }

    pub(super) fn get(&self, task: u64) -> Option<&Life> {
        self.lives.get(&task)
    }

    pub(super) fn queued_on(&self, cpu: usize) -> &[u64] {
        &self.queues[cpu]
    }

    pub(super) fn running(&self) -> Vec<Option<u64>> {
        let running = |seat: &Seat| match seat {
            Seat::Taken(task) => Some(*task),
            _ => None,
        };
        self.seats.iter().map(running).collect()
    }

    pub(super) fn place(&self, task: u64) -> String {
        match (self.lives.get(&task), self.ended.has(task)) {
            (Some(life), _) => format!("{:?}", life.place),
            (None, true) => "ended".into(),
            (None, false) => "unknown".into(),
        }
    }

    /// Forgets all but who has ended.
    pub(super) fn forget(&mut self) {
        self.missing
            .extend(self.lives.drain().map(|(task, _)| task));
        self.seats.fill(Seat::Unknown);
        self.queues.iter_mut().for_each(Vec::clear);
        self.is_complete = false;
    }

    /// The record was cut, at different moments on different CPUs, and what followed on another CPU from an
    /// event that is here may be missing. What a CPU's own record shows it to run or to have queued is sure.
    pub(super) fn keep_what_is_sure(&mut self) {
        let is_sure = |life: &Life| matches!(life.place, Place::Queued(_) | Place::Running(_));
        self.lives.retain(|_, life| is_sure(life));
        let filings = self.lives.values_mut().flat_map(|life| &mut life.filing);
        filings.for_each(|filing| filing.rank = Rank::Carried);
    }

    /// The order of what happened to `task` was a guess. That it is queued or runs is sure all the same: no
    /// other CPU's record could end that.
    pub(super) fn doubt(&mut self, task: u64) {
        let Some(life) = self.lives.get_mut(&task) else {
            return;
        };
        if let Some(filing) = &mut life.filing {
            filing.rank = Rank::Carried;
        }
        if !matches!(life.place, Place::Queued(_) | Place::Running(_)) {
            life.place = Place::Unsure;
        }
    }

    /// Whether `seen` can be next.
    pub(super) fn readiness(&self, seen: &Seen) -> Ready {
        if self.verdict(seen) == Verdict::Waits {
            return Ready::NotYet;
        }
        let arrives = matches!(seen.what, What::Wake { .. } | What::Migrate { .. });
        match self.lives.get(&seen.task).map(|life| life.place) {
            Some(Place::Queued(_) | Place::Running(_) | Place::Flying(_)) => Ready::Here,
            Some(_) if arrives => Ready::Anywhere,
            None if seen.task != 0 && (arrives || !self.is_complete) => Ready::Anywhere,
            _ => Ready::Here,
        }
    }

    pub(super) fn verdict(&self, seen: &Seen) -> Verdict {
        match seen.what {
            What::Idle => self.idle(seen),
            What::Timer => self.timer(seen),
            _ if self.ended.has(seen.task) => Verdict::Breaks("the task has ended".into()),
            _ if self.is_too_early(seen) => Verdict::Breaks("it was before what led to it".into()),
            What::Wake { .. } | What::Migrate { .. } => self.arrival(seen),
            What::Switch { .. } => self.switch(seen),
            What::NoFiber => self.expect(seen, Place::Queued(seen.cpu)),
            What::Preempt { .. } | What::Yield { .. } | What::Block | What::Exit | What::Depart => {
                self.expect(seen, Place::Running(seen.cpu))
            }
        }
    }

    /// Each event of a task happens after the one before, by any clocks.
    fn is_too_early(&self, seen: &Seen) -> bool {
        let life = self.lives.get(&seen.task);
        life.is_some_and(|life| seen.at_ns + self.skew_ns < life.since_ns)
    }

    fn idle(&self, seen: &Seen) -> Verdict {
        let (seat, queue) = (self.seats[seen.cpu], &self.queues[seen.cpu]);
        match (seat, queue.first()) {
            (Seat::Taken(task), _) => Verdict::Breaks(format!("it runs task {task}")),
            (_, Some(task)) => Verdict::Breaks(format!("task {task} is queued there")),
            _ => Verdict::Fits,
        }
    }

    /// A deadline passes at most once for each time that the task waited on that CPU. It may be read after
    /// the end of the task, on another CPU.
    fn timer(&self, seen: &Seen) -> Verdict {
        match self.lives.get(&seen.task) {
            Some(life) if self.is_complete && life.armed & bit(seen.cpu) == 0 => {
                Verdict::Breaks("no deadline of that task is pending there".into())
            }
            None if self.is_complete && !self.ended.has(seen.task) => {
                Verdict::Breaks("there is no such task".into())
            }
            _ => Verdict::Fits,
        }
    }

    fn arrival(&self, seen: &Seen) -> Verdict {
        let Some(life) = self.lives.get(&seen.task) else {
            return Verdict::Fits;
        };
        let leaves = matches!(seen.what, What::Migrate { .. });
        match life.place {
            Place::Flying(to) if to == seen.cpu => Verdict::Fits,
            Place::Queued(cpu) | Place::Running(cpu) if leaves && cpu == seen.cpu => Verdict::Fits,
            Place::Queued(cpu) | Place::Running(cpu) if cpu == seen.cpu => {
                Verdict::Breaks(format!("the task is {:?}", life.place))
            }
            Place::Queued(_) | Place::Running(_) | Place::Flying(_) => Verdict::Waits,
            Place::Blocked | Place::Away | Place::Starved | Place::Unsure => Verdict::Fits,
        }
    }

    fn switch(&self, seen: &Seen) -> Verdict {
        if let Seat::Taken(task) = self.seats[seen.cpu] {
            return Verdict::Breaks(format!("the CPU runs task {task}"));
        }
        self.expect(seen, Place::Queued(seen.cpu))
    }

    fn expect(&self, seen: &Seen, place: Place) -> Verdict {
        match self.lives.get(&seen.task) {
            Some(life) if life.place == place => Verdict::Fits,
            Some(life) => Verdict::Breaks(format!("the task is {:?}", life.place)),
            None if self.is_complete => Verdict::Breaks("there is no such task".into()),
            None => Verdict::Fits,
        }
    }

    /// Follows an event that fits.
    pub(super) fn apply(&mut self, seen: &Seen) {
        self.take(seen);
        self.last_ns[seen.cpu] = seen.at_ns;
    }

    fn take(&mut self, seen: &Seen) {
        let (task, cpu) = (seen.task, seen.cpu);
        if seen.what != What::Timer {
            self.missing.remove(&task);
        }
        match seen.what {
            What::Idle => self.seats[cpu] = Seat::Free,
            What::Timer => self.expire(task, cpu),
            What::Wake { prio } => self.file(seen, prio, self.rank_of_arrival(task)),
            What::Preempt { prio } => {
                self.seats[cpu] = Seat::Free;
                self.file(seen, prio, Rank::Front);
            }
            What::Yield { prio } => {
                self.seats[cpu] = Seat::Free;
                self.file(seen, prio, Rank::Tail);
            }
            What::Switch { .. } => {
                self.move_to(seen, Place::Running(cpu));
                self.seats[cpu] = Seat::Taken(task);
            }
            What::Block => {
                self.move_to(seen, Place::Blocked);
                self.seats[cpu] = Seat::Free;
                if let Some(life) = self.lives.get_mut(&task) {
                    life.armed |= bit(cpu);
                }
            }
            What::Migrate { to } => self.move_to(seen, Place::Flying(to)),
            What::Depart => {
                self.move_to(seen, Place::Away);
                self.seats[cpu] = Seat::Free;
            }
            What::NoFiber => self.move_to(seen, Place::Starved),
            What::Exit => {
                self.leave(task, cpu);
                self.seats[cpu] = Seat::Free;
                self.lives.remove(&task);
                self.ended.insert(task);
            }
        }
    }

    fn expire(&mut self, task: u64, cpu: usize) {
        // Beyond 64 CPUs a bit stands for several, and is not evidence.
        if self.seats.len() <= 64
            && let Some(life) = self.lives.get_mut(&task)
        {
            life.armed &= !bit(cpu);
        }
    }

    /// A task that comes from waiting goes behind its equals; one that comes from another runqueue brings
    /// its place along.
    fn rank_of_arrival(&self, task: u64) -> Rank {
        match self.lives.get(&task).map(|life| life.place) {
            Some(Place::Blocked | Place::Away | Place::Starved) => Rank::Tail,
            None if self.is_complete => Rank::Tail,
            _ => Rank::Carried,
        }
    }

    fn file(&mut self, seen: &Seen, prio: u8, rank: Rank) {
        self.move_to(seen, Place::Queued(seen.cpu));
        self.queues[seen.cpu].push(seen.task);
        self.filings += 1;
        let filing = Filing {
            prio,
            from_ns: self.last_ns[seen.cpu],
            number: self.filings,
            rank,
        };
        if let Some(life) = self.lives.get_mut(&seen.task) {
            life.filing = Some(filing);
        }
    }

    fn move_to(&mut self, seen: &Seen, place: Place) {
        self.leave(seen.task, seen.cpu);
        let unknown = Life {
            place,
            filing: None,
            since_ns: 0,
            armed: 0,
        };
        let life = self.lives.entry(seen.task).or_insert(unknown);
        (life.place, life.filing, life.since_ns) = (place, None, seen.at_ns);
    }

    /// The task is no longer what CPU `cpu` runs or has queued.
    fn leave(&mut self, task: u64, cpu: usize) {
        if self.seats[cpu] == Seat::Taken(task) {
            self.seats[cpu] = Seat::Free;
        }
        self.queues[cpu].retain(|queued| *queued != task);
    }
}

fn bit(cpu: usize) -> u64 {
    1 << (cpu % 64)
}

/// The numbers of the tasks that have ended, in a few bits each.
#[derive(Default)]
struct Ended(HashMap<u64, u64>);

impl Ended {
    fn insert(&mut self, task: u64) {
        *self.0.entry(task / 64).or_default() |= 1 << (task % 64);
    }

    fn has(&self, task: u64) -> bool {
        let word = self.0.get(&(task / 64)).copied().unwrap_or(0);
        word >> (task % 64) & 1 == 1
    }
}
