//! A machine's record of itself, in the form in which a real runtime writes one.
//!
//! Each virtual CPU has its own list and its own clock, which differs from the others by a fixed amount.
//! Whoever collects the lists gets them as a reader of real rings does: one after the other, with steps in
//! between. Nothing is recorded until somebody asks.

use crate::ledger::TaskId;
use crate::machine::Machine;
use crate::stream::{Change, Note, Seen, What};

/// Nanoseconds of a micro-step.
const STEP_NS: u64 = 100;
/// What a clock starts from, above any difference.
const START_NS: u64 = 1_000_000;

#[derive(Default)]
pub(crate) struct Recording {
    rings: Vec<Vec<Seen>>,
    notes: Vec<Note>,
    clocks_ns: Vec<u64>,
}

impl Machine {
    /// Starts to record, with the given difference of each CPU's clock.
    ///
    /// # Panics
    /// If there is not one clock for each CPU.
    pub fn record(&mut self, clocks_ns: Vec<u64>) {
        assert_eq!(clocks_ns.len(), self.cpus(), "each CPU has its clock");
        self.recording = Some(Recording {
            rings: vec![Vec::new(); clocks_ns.len()],
            notes: Vec::new(),
            clocks_ns,
        });
    }

    /// Takes what CPU `cpu` has recorded.
    pub fn take_recorded(&mut self, cpu: usize) -> Vec<Seen> {
        let ring = self.recording.as_mut().map(|record| &mut record.rings[cpu]);
        ring.map(core::mem::take).unwrap_or_default()
    }

    /// Takes what was noted about tasks.
    pub fn take_notes(&mut self) -> Vec<Note> {
        let notes = self.recording.as_mut().map(|record| &mut record.notes);
        notes.map(core::mem::take).unwrap_or_default()
    }

    /// CPU `cpu` did something with `task`.
    pub(crate) fn seen(&mut self, cpu: usize, task: TaskId, what: What) {
        let steps = self.tally().steps;
        let number = match what {
            What::Idle => 0,
            _ => u64::from(task.0) + 1,
        };
        if let Some(record) = &mut self.recording {
            record.rings[cpu].push(Seen {
                at_ns: START_NS + steps * STEP_NS + record.clocks_ns[cpu],
                cpu,
                task: number,
                what,
            });
        }
    }

    /// CPU `cpu` found nothing to run.
    pub(crate) fn seen_idle(&mut self, cpu: usize) {
        self.seen(cpu, TaskId(0), What::Idle);
    }

    /// Somebody changed something about `task`, on whatever CPU.
    pub(crate) fn noted(&mut self, task: TaskId, change: Change) {
        let at_ns = START_NS + self.tally().steps * STEP_NS;
        if let Some(record) = &mut self.recording {
            let task = u64::from(task.0) + 1;
            record.notes.push(Note {
                task,
                at_ns,
                change,
            });
        }
    }
}
