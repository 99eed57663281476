//! One order for the records of several CPUs.
//!
//! Sorting by time is wrong by as much as the clocks differ, and a scheduler does much within a
//! microsecond. But the order need not come from clocks. Each CPU's record is in order (it is written
//! under one lock), and so are the events of each task: whoever hands a task on has recorded it before.
//! So the next event is the first unread one of some CPU, and one for which its task is ready; the time
//! only decides between several of those, which concern different tasks and can stand in any order.
//!
//! When must there be one? The rings are read one after the other, so an event may be here before what led
//! to it. But that had been written by then, so the *next* reading has it. An event is therefore owed an
//! explanation once one more batch has come.
//!
//! Unless the clocks show more: an event happens after what led to it was written. So if it is stamped
//! before a reading began, all that led to it is in that reading or an earlier one.
//!
//! One case remains: a task that waits is woken on CPU 0 and later on CPU 1, and both events lie here. Then
//! the earlier goes first. If they are closer together than the clocks agree, either could be, but only
//! if the task has left again in time the CPU that is taken to be first. That is rare, whereas pairs of which
//! only one can be first are not: a task that is woken on CPU 0 and belongs on CPU 1 is sent there by one and
//! queued by the other, within a microsecond. If both can be, the time decides all the same, and until
//! everything of that batch has found its place nothing is concluded from an order that does not work out;
//! where that task then is, unless it runs or is queued, counts as not known.

use std::collections::VecDeque;

use super::Seen;

pub(super) struct Merge {
    /// For each CPU its unread events, with the number of the batch that brought each.
    rings: Vec<VecDeque<(u64, Seen)>>,
    batch: u64,
    /// How many of the events belong to each of the last batches: to that before `batch`, and to `batch`.
    due: usize,
    fresh: usize,
    /// The last batch that an open choice may have disordered.
    doubt: Option<u64>,
    /// When the reading of the last batch began; 0 if nobody said.
    begun_ns: u64,
    skew_ns: u64,
}

/// Whether an event can be next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ready {
    /// Something that another CPU recorded must come first.
    NotYet,
    /// If it is not next, it never will be.
    Here,
    /// Its task is where any CPU may take it from.
    Anywhere,
}

/// The next event.
pub(super) struct Taken {
    pub(super) seen: Seen,
    /// Another of the same task may have come before it.
    pub(super) is_open: bool,
}

impl Merge {
    pub(super) fn new(cpus: usize, skew_ns: u64) -> Merge {
        Merge {
            rings: vec![VecDeque::new(); cpus],
            batch: 0,
            due: 0,
            fresh: 0,
            doubt: None,
            begun_ns: 0,
            skew_ns,
        }
    }

    /// A reading that began at `begun_ns`.
    pub(super) fn add(&mut self, begun_ns: u64, events: impl IntoIterator<Item = Seen>) {
        self.batch += 1;
        self.begun_ns = begun_ns;
        self.due += self.fresh;
        self.fresh = 0;
        for seen in events {
            self.rings[seen.cpu].push_back((self.batch, seen));
            self.fresh += 1;
        }
    }

    /// Forgets what is here; something is missing before what comes next.
    pub(super) fn clear(&mut self) {
        self.rings.iter_mut().for_each(VecDeque::clear);
        (self.due, self.fresh) = (0, 0);
        // What one of the next events led to may be among what is missing.
        self.doubt = Some(self.batch + 1);
    }

    /// Whether events are here for which everything that led to them is here, too.
    pub(super) fn must_go_on(&self) -> bool {
        self.due > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due + self.fresh == 0
    }

    /// Takes the earliest first event of a CPU that can be next. One whose place is certain comes before one
    /// whose place is open: that may be what settles it. Of the open ones, one that is due comes first: what
    /// led to a later one may not be here yet.
    pub(super) fn next(&mut self, readiness: impl Fn(&Seen) -> Ready) -> Option<Taken> {
        let heads = self.rings.iter().filter_map(VecDeque::front);
        let ready = heads.filter_map(|(batch, seen)| {
            let is_fresh = *batch == self.batch && !self.is_settled(seen);
            let (is_open, is_risky) = match readiness(seen) {
                Ready::NotYet => return None,
                Ready::Here => (false, self.is_in_doubt()),
                Ready::Anywhere if self.is_preceded(seen) => return None,
                Ready::Anywhere => (is_fresh || self.has_rival(seen), true),
            };
            Some((is_open, is_fresh && is_risky, seen.at_ns, seen.cpu))
        });
        let (is_open, _, _, cpu) = ready.min()?;
        let (batch, seen) = self.rings[cpu].pop_front()?;
        self.count_off(batch);
        // A guess may have let it come before something that is not here yet.
        self.doubt = self.doubt.map(|doubt| doubt.max(batch));
        if is_open {
            let until = self.batch + u64::from(batch == self.batch);
            self.doubt = self.doubt.max(Some(until));
        }
        Some(Taken { seen, is_open })
    }

    fn count_off(&mut self, batch: u64) {
        if batch == self.batch {
            self.fresh -= 1;
        } else {
            self.due -= 1;
        }
    }

    /// The unread events of the same task on other CPUs that happened before `until_ns` by their clocks.
    fn others(&self, seen: &Seen, until_ns: u64) -> impl Iterator<Item = &Seen> {
        let (cpu, task) = (seen.cpu, seen.task);
        let rings = self.rings.iter().enumerate();
        let others = rings.filter(move |(other, _)| *other != cpu);
        let near = others.flat_map(move |(_, ring)| {
            ring.iter()
                .map(|(_, other)| other)
                .take_while(move |other| other.at_ns <= until_ns)
        });
        near.filter(move |other| other.task == task)
    }

    /// Whether another event of the same task was certainly before.
    fn is_preceded(&self, seen: &Seen) -> bool {
        let mut others = self.others(seen, seen.at_ns);
        others.any(|other| other.at_ns + self.skew_ns < seen.at_ns)
    }

    /// Whether the same task may have left another CPU before, by an event that is still unread. An arrival
    /// there that nothing follows in time cannot have been first: the task would be there still.
    fn has_rival(&self, seen: &Seen) -> bool {
        let until_ns = seen.at_ns.saturating_add(self.skew_ns);
        let mut others = self.others(seen, until_ns);
        others.any(|other| other.what.leaves_cpu())
    }

    /// Whether all that led to `seen` is here: the last reading began certainly later, or what is due
    /// was recorded certainly later.
    fn is_settled(&self, seen: &Seen) -> bool {
        let after_ns = seen.at_ns + self.skew_ns;
        let is_later = |ring: &VecDeque<(u64, Seen)>| {
            let due = ring.partition_point(|(batch, _)| *batch < self.batch);
            let last = due.checked_sub(1).and_then(|last| ring.get(last));
            last.is_some_and(|(_, last)| after_ns < last.at_ns)
        };
        after_ns < self.begun_ns || self.rings.iter().any(is_later)
    }

    /// Ends the doubt if all that was here when it arose has found its place; says whether it did.
    pub(super) fn ends_doubt(&mut self) -> bool {
        let ends = self.due == 0 && self.doubt.is_some_and(|doubt| doubt < self.batch);
        if ends {
            self.doubt = None;
        }
        ends
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// The first unread event of each CPU.
    pub(super) fn heads(&self) -> Vec<Seen> {
        let heads = self.rings.iter().filter_map(VecDeque::front);
        heads.map(|(_, seen)| *seen).collect()
    }
}
