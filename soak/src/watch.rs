//! Reads the record of the runtime and has it judged.
//!
//! The order matters: first the rings, then the notes. Whatever a ring shows was noted before. A ring that
//! was full has a hole somewhere among what comes next, so a batch is fed only if no event was dropped
//! from before the reading *before* it until after its own.

use std::time::{Duration, Instant};

use corelane::{Event, EventKind, Runtime};
use corelane_sim::stream::{Seen, Stream, What};

use crate::cast::Cast;
use corelane_os::clock;

/// By how much the clocks of CPUs may differ.
const SKEW_NS: u64 = 1_000;
/// How long a broken promise must last, with nothing happening, before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for a state that can be judged.
const SETTLE_MAX: Duration = Duration::from_millis(40);
/// How long nothing may happen before somebody who is on its way is waited for.
const STILL_MIN: Duration = Duration::from_millis(20);
const LAST_EVENTS: usize = 40;

pub(crate) struct Watch {
    pub(crate) stream: Stream,
    dropped_before_last: u64,
    dropped_before: u64,
    was_holed: bool,
    last: Vec<Event>,
}

/// What became of an attempt to judge a state at rest.
pub(crate) enum Rest {
    /// The promise was kept, with so many runnable tasks.
    Kept { runnable: usize },
    /// It did not come to rest, or something is not known.
    Unjudged,
    /// It was broken, and stayed so.
    Broken(String),
}

impl Watch {
    pub(crate) fn new(cpus: usize) -> Watch {
        Watch {
            stream: Stream::new(cpus, SKEW_NS),
            dropped_before_last: 0,
            dropped_before: 0,
            was_holed: false,
            last: Vec::new(),
        }
    }

    /// Takes and judges what has happened since the last call; says whether anything has.
    pub(crate) fn look(&mut self, runtime: &Runtime, cast: &Cast) -> bool {
        let before = runtime.stats().events_dropped;
        let begun_ns = clock::now_ns();
        let events = runtime.events();
        let after = runtime.stats().events_dropped;
        for note in cast.take_notes() {
            self.stream.note(note);
        }
        let is_whole = after == self.dropped_before_last;
        (self.dropped_before_last, self.dropped_before) = (self.dropped_before, before);
        let has_news = !events.is_empty();
        self.keep(&events);
        if is_whole {
            self.was_holed = false;
            self.stream.feed_read_at(begun_ns, events.iter().map(seen));
        } else if !core::mem::replace(&mut self.was_holed, true) {
            self.stream.hole();
        }
        has_news
    }

    fn keep(&mut self, events: &[Event]) {
        self.last.extend(events);
        let surplus = self.last.len().saturating_sub(LAST_EVENTS);
        self.last.drain(..surplus);
    }

    /// The last events, in words.
    pub(crate) fn last_words(&self) -> String {
        let lines = self.last.iter().map(|event| format!("  {event:?}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// In a hush: waits for rest and judges it.
    pub(crate) fn judge_rest(
        &mut self,
        runtime: &Runtime,
        cast: &Cast,
        mut tell: impl FnMut(&str),
    ) -> Rest {
        let (start, mut still) = (Instant::now(), Instant::now());
        loop {
            std::thread::sleep(Duration::from_micros(200));
            if self.look(runtime, cast) {
                still = Instant::now();
            }
            let is_late = start.elapsed() > SETTLE_MAX;
            match self.verdict(runtime) {
                Some(Ok(runnable)) => return Rest::Kept { runnable },
                Some(Err(why)) if still.elapsed() > PATIENCE => return Rest::Broken(why),
                Some(Err(why)) if is_late => tell(&why),
                None if is_late => match self.lost(still.elapsed()) {
                    Some(why) if still.elapsed() > PATIENCE => return Rest::Broken(why),
                    Some(why) => tell(&why),
                    None => return Rest::Unjudged,
                },
                _ => {}
            }
        }
    }

    /// Somebody who is on its way although nothing happens any more: a task that never arrives would keep
    /// the state from ever being judged.
    fn lost(&self, still: Duration) -> Option<String> {
        self.stream.on_its_way().filter(|_| still > STILL_MIN)
    }

    /// What the oracles and the snapshot say of the present state.
    fn verdict(&self, runtime: &Runtime) -> Option<Result<usize, String>> {
        let rest = self.stream.at_rest()?;
        if let Some(objection) = rest.objections.first() {
            return Some(Err(objection.clone()));
        }
        let (snapshot, truth) = (runtime.snapshot(), &rest.truth);
        for (cpu, shown) in snapshot.cpus.iter().enumerate() {
            let wanted = rest.levels[cpu];
            // Background work shows as level 1 on a CPU that is idle otherwise.
            let level_fits = shown.level == wanted.top || wanted.top == 0 && shown.level == 1;
            let (running, queued) = (truth.running(cpu), truth.queued(cpu));
            let is_right = shown.running == running
                && shown.queued == queued
                && level_fits
                && shown.overloaded == wanted.candidate.is_some();
            if !is_right {
                return Some(Err(format!(
                    "snapshot: CPU {cpu} shows {shown:?}; it runs {running:?}, has {queued} queued and \
                     should publish {wanted:?}"
                )));
            }
        }
        Some(Ok(rest.truth.runnable()))
    }
}

fn seen(event: &Event) -> Seen {
    let (task, what) = match event.kind {
        EventKind::Wake { task, priority } => (task, What::Wake { prio: priority }),
        EventKind::Switch { task, priority } => (task, What::Switch { prio: priority }),
        EventKind::Preempt { task, priority } => (task, What::Preempt { prio: priority }),
        EventKind::Yield { task, priority } => (task, What::Yield { prio: priority }),
        EventKind::Block { task } => (task, What::Block),
        EventKind::Migrate { task, to } => (
            task,
            What::Migrate {
                to: usize::from(to),
            },
        ),
        EventKind::Exit { task } => (task, What::Exit),
        EventKind::Depart { task } => (task, What::Depart),
        EventKind::Timer { task } => (task, What::Timer),
        EventKind::NoFiber { task } => (task, What::NoFiber),
        EventKind::Idle => (0, What::Idle),
        other => panic!("an event that the oracles do not know: {other:?}"),
    };
    Seen {
        at_ns: event.at_ns,
        cpu: event.cpu.index(),
        task,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::lock;
    use corelane::{CpuSet, Cpus};
    use corelane_sim::stream::{Change, Note};
    use std::sync::{Mutex, MutexGuard};

    /// One runtime at a time: each claims its CPUs.
    static TURN: Mutex<()> = Mutex::new(());

    /// An idle runtime, and a watch that was told what is not so.
    fn told(record: &[What]) -> (Runtime, Watch, MutexGuard<'static, ()>) {
        let turn = lock(&TURN);
        let runtime = Runtime::builder().cpus(Cpus::Count(1)).events(64).build();
        let runtime = runtime.expect("a runtime of one CPU");
        let mut watch = Watch::new(runtime.cpus());
        let (prio, allowed) = (50, CpuSet::full(1));
        watch.stream.note(Note {
            task: 1,
            at_ns: 1,
            change: Change::Born { prio, allowed },
        });
        let seen = |(index, what): (usize, &What)| Seen {
            at_ns: 1_000_000 * (index as u64 + 1),
            cpu: 0,
            task: 1,
            what: *what,
        };
        watch.stream.feed(record.iter().enumerate().map(seen));
        watch.stream.finish();
        assert_eq!(watch.stream.objections(), [""; 0]);
        (runtime, watch, turn)
    }

    const WAKE: What = What::Wake { prio: 50 };
    const SWITCH: What = What::Switch { prio: 50 };

    #[test]
    fn an_idle_runtime_shows_what_an_empty_record_says() {
        let (runtime, watch, _turn) = told(&[]);
        assert!(matches!(watch.verdict(&runtime), Some(Ok(0))));
    }

    #[test]
    fn a_snapshot_that_does_not_show_what_the_record_says_is_caught() {
        let (runtime, watch, _turn) = told(&[WAKE, SWITCH]);
        let verdict = watch.verdict(&runtime);
        assert!(
            matches!(&verdict, Some(Err(why)) if why.starts_with("snapshot: ")),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_task_that_never_arrives_is_waited_for_and_then_named() {
        let (runtime, watch, _turn) = told(&[WAKE, What::NoFiber]);
        assert!(watch.verdict(&runtime).is_none());
        assert!(watch.lost(Duration::ZERO).is_none());
        assert!(watch.lost(PATIENCE).is_some());
    }
    #[test]
    fn a_ring_that_overflowed_is_a_hole() {
        for (capacity, is_complete) in [(4, false), (1 << 10, true)] {
            let _turn = lock(&TURN);
            let builder = Runtime::builder().cpus(Cpus::Count(1)).events(capacity);
            let runtime = builder.build().expect("a runtime of one CPU");
            let (cast, mut watch) = (Cast::new(1, 1, 1), Watch::new(1));
            let joined = (0..8).map(|_| runtime.spawn(corelane::Priority::MIN, || ()).join());
            assert!(joined.into_iter().all(|result| result.is_ok()));
            watch.look(&runtime, &cast);
            watch.look(&runtime, &cast);
            assert_eq!(watch.stream.is_complete(), is_complete, "{capacity}");
            assert_eq!(watch.stream.tally().events > 0, is_complete, "{capacity}");
        }
    }
}
