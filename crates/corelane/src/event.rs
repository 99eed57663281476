//! The event ring: what a CPU's scheduler did, in order, for tests and for people who want to know.
//!
//! Logging from a scheduler changes what it measures. Each CPU writes fixed-size events into its own ring
//! of words, under its own runqueue lock, without allocation; a reader takes them out without stopping
//! anybody. The ring is lossless up to its size; after that it counts what it drops, and a reader knows
//! that the record has a hole.
//!
//! Cost of an event: four stores and a clock read; nothing at all when the ring has no room configured.

use crate::primitives::atomic::{AtomicU64, Ordering::*};

use crate::primitives::Mutex;
use corelane_os::clock;
use corelane_sched::CpuId;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// The task became runnable and was queued on this CPU.
    Wake {
        /// The task's number.
        task: u64,
        /// Its priority.
        priority: u8,
    },
    /// The CPU switched to a task.
    Switch {
        /// The task's number.
        task: u64,
        /// Its priority.
        priority: u8,
    },
    /// The CPU has nothing real-time to run.
    Idle,
    /// The task stopped running because a more urgent one is here; it keeps its place.
    Preempt {
        /// The task's number.
        task: u64,
        /// Its priority.
        priority: u8,
    },
    /// The task gave way to its equals, or its slice was over.
    Yield {
        /// The task's number.
        task: u64,
        /// Its priority.
        priority: u8,
    },
    /// The task waits.
    Block {
        /// The task's number.
        task: u64,
    },
    /// The task left this CPU for another.
    Migrate {
        /// The task's number.
        task: u64,
        /// The slot of the other CPU.
        to: u16,
    },
    /// The task ended.
    Exit {
        /// The task's number.
        task: u64,
    },
    /// The task's deadline passed.
    Timer {
        /// The task's number.
        task: u64,
    },
    /// The task left this CPU for an ordinary thread: a native part, or a closure done outside.
    Depart {
        /// The task's number.
        task: u64,
    },
    /// The task could not start because the pool had no fiber; it waits for one.
    NoFiber {
        /// The task's number.
        task: u64,
    },
}

/// An event of one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// When, in nanoseconds of CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// On which CPU slot.
    pub cpu: CpuId,
    /// What.
    pub kind: EventKind,
}

type Words = [u64; 3];

struct Cell([AtomicU64; 3]);

/// A ring with one writer (under the CPU's runqueue lock) and one reader at a time.
pub(crate) struct EventRing {
    cells: Box<[Cell]>,
    written: AtomicU64,
    read: AtomicU64,
    dropped: AtomicU64,
    reader: Mutex<()>,
}

impl EventRing {
    pub(crate) fn new(capacity: usize) -> EventRing {
        let cell = || Cell(core::array::from_fn(|_| AtomicU64::new(0)));
        EventRing {
            cells: (0..capacity).map(|_| cell()).collect(),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            reader: Mutex::new(()),
        }
    }

    /// Writes an event. The caller holds the CPU's runqueue lock.
    ///
    /// It is stamped after what it tells was read: whatever changed that value later began after the stamp, or is
    /// seen to overlap it.
    #[inline]
    pub(crate) fn push(&self, kind: impl FnOnce() -> EventKind) {
        if !self.cells.is_empty() {
            let kind = kind();
            self.write(clock::now_ns(), kind);
        }
    }

    fn write(&self, at_ns: u64, kind: EventKind) {
        let written = self.written.load(Relaxed); // Relaxed: only the writer changes it.
        // Acquire: pairs with the Release in `drain`, so that a cell is read before it is written again.
        if written - self.read.load(Acquire) >= self.cells.len() as u64 {
            self.dropped.store(self.dropped.load(Relaxed) + 1, Relaxed); // Relaxed: a count.
            return;
        }
        let cell = &self.cells[(written % self.cells.len() as u64) as usize];
        for (word, value) in cell.0.iter().zip(encode(at_ns, kind)) {
            word.store(value, Relaxed); // Relaxed: published by the next line.
        }
        self.written.store(written + 1, Release); // Release: pairs with the Acquire in `drain`.
    }

    /// Takes all events written so far.
    pub(crate) fn drain(&self, cpu: CpuId, into: &mut Vec<Event>) {
        let _one_reader = self.reader.lock();
        let written = self.written.load(Acquire); // Acquire: pairs with the Release in `write`.
        let mut read = self.read.load(Relaxed); // Relaxed: only readers change it, and we are the one.
        while read < written {
            let cell = &self.cells[(read % self.cells.len() as u64) as usize];
            let words = core::array::from_fn(|word| cell.0[word].load(Relaxed)); // Relaxed: see above.
            into.push(decode(cpu, words));
            read += 1;
        }
        self.read.store(read, Release); // Release: pairs with the Acquire in `write`.
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed) // Relaxed: a count.
    }
}

fn encode(at_ns: u64, kind: EventKind) -> Words {
    let (code, task, extra) = match kind {
        EventKind::Wake { task, priority } => (0, task, u64::from(priority)),
        EventKind::Switch { task, priority } => (1, task, u64::from(priority)),
        EventKind::Idle => (2, 0, 0),
        EventKind::Preempt { task, priority } => (3, task, u64::from(priority)),
        EventKind::Yield { task, priority } => (4, task, u64::from(priority)),
        EventKind::Block { task } => (5, task, 0),
        EventKind::Migrate { task, to } => (6, task, u64::from(to)),
        EventKind::Exit { task } => (7, task, 0),
        EventKind::Timer { task } => (8, task, 0),
        EventKind::NoFiber { task } => (9, task, 0),
        EventKind::Depart { task } => (10, task, 0),
    };
    [at_ns, task, code << 32 | extra]
}

fn decode(cpu: CpuId, [at_ns, task, code]: Words) -> Event {
    let extra = code as u32;
    let priority = extra as u8;
    let kind = match code >> 32 {
        0 => EventKind::Wake { task, priority },
        1 => EventKind::Switch { task, priority },
        2 => EventKind::Idle,
        3 => EventKind::Preempt { task, priority },
        4 => EventKind::Yield { task, priority },
        5 => EventKind::Block { task },
        6 => EventKind::Migrate {
            task,
            to: extra as u16,
        },
        7 => EventKind::Exit { task },
        8 => EventKind::Timer { task },
        9 => EventKind::NoFiber { task },
        _ => EventKind::Depart { task },
    };
    Event { at_ns, cpu, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_stamped_after_what_it_tells_was_read() {
        let ring = EventRing::new(1);
        ring.push(|| {
            let task = clock::now_ns();
            std::thread::sleep(std::time::Duration::from_millis(1));
            EventKind::Block { task }
        });
        let mut events = Vec::new();
        ring.drain(CpuId::new(0), &mut events);
        let EventKind::Block { task } = events[0].kind else {
            panic!("{events:?}")
        };
        assert!(task + 1_000_000 <= events[0].at_ns);
    }

    #[test]
    fn a_ring_is_lossless_up_to_its_size_and_counts_what_it_drops() {
        let ring = EventRing::new(3);
        let mut events = Vec::new();
        for round in 0..2 {
            for task in 0..5 {
                ring.push(|| EventKind::Migrate { task, to: 7 });
            }
            ring.drain(CpuId::new(1), &mut events);
            assert_eq!(ring.dropped(), 2 * (round + 1));
        }
        let tasks: Vec<_> = events.iter().map(|event| event.kind).collect();
        let kept = |task| EventKind::Migrate { task, to: 7 };
        assert_eq!(
            tasks,
            [kept(0), kept(1), kept(2), kept(0), kept(1), kept(2)]
        );
    }

    #[test]
    fn every_kind_survives_the_ring() {
        let (task, priority) = (1 << 60, 99);
        let kinds = [
            EventKind::Wake { task, priority },
            EventKind::Switch { task, priority },
            EventKind::Idle,
            EventKind::Preempt { task, priority },
            EventKind::Yield { task, priority },
            EventKind::Block { task },
            EventKind::Migrate { task, to: u16::MAX },
            EventKind::Exit { task },
            EventKind::Timer { task },
            EventKind::NoFiber { task },
            EventKind::Depart { task },
        ];
        for kind in kinds {
            assert_eq!(decode(CpuId::new(0), encode(5, kind)).kind, kind);
        }
    }
}
