//! The oracles of a recorded run on a record as dense as a real one: how much is a guess, how much is caught.

use corelane_sim::churn;
use corelane_sim::stream::{Seen, Stream, What};

#[test]
fn a_small_part_of_a_machines_record_is_judged_under_a_guess() {
    let (mut events, mut guessed) = (0, 0);
    for seed in 1..=20 {
        let (_, stream) = churn::run_recorded(2, seed, 1_000, 1_000, 0);
        events += stream.tally().events;
        guessed += stream.tally().guessed;
    }
    assert!(guessed * 8 < events, "{guessed} of {events}");
}

/// A fault in the record of a churning machine, whose events are a tenth of a microsecond apart.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Removed,
    Doubled,
    Elsewhere,
}

/// Whether a fault at the `at`th event of the record draws an objection; `None` if there is no such event.
fn is_caught(cpus: usize, seed: u64, at: usize, fault: Fault) -> Option<bool> {
    let (mut first, mut done) = (0, false);
    let tamper = |events: &mut Vec<Seen>| {
        let end = first + events.len();
        let is_silent = |seen: &Seen| matches!(seen.what, What::Idle | What::Timer);
        if let Some(index) = at.checked_sub(first).filter(|_| at < end && !done)
            && !is_silent(&events[index])
        {
            done = true;
            match fault {
                Fault::Removed => drop(events.remove(index)),
                Fault::Doubled => events.insert(index, events[index]),
                Fault::Elsewhere => events[index].cpu = (events[index].cpu + 1) % cpus,
            }
        }
        first = end;
    };
    let (report, stream) = churn::run_tampered(cpus, seed, 400, 1_000, 0, tamper);
    assert_eq!(report.violations, 0, "the machine itself is sound");
    done.then(|| !stream.objections().is_empty())
}

#[test]
fn most_faults_in_a_dense_record_are_caught() {
    for fault in [Fault::Removed, Fault::Doubled, Fault::Elsewhere] {
        for cpus in [2, 8] {
            let tries =
                (1..=150).filter_map(|seed| is_caught(cpus, seed, 100 + 7 * seed as usize, fault));
            let tries: Vec<bool> = tries.collect();
            let caught = tries.iter().filter(|caught| **caught).count();
            // The rest leaves no trace, or hides where the order is open.
            let (least, of) = (if cpus == 2 { 3 } else { 2 }, tries.len());
            assert!(
                of > 30 && caught * 4 > of * least,
                "{fault:?} {cpus} {caught} of {of}"
            );
        }
    }
}

/// Task 1 is woken on CPU 0 again and again, sent to CPU 1 and queued there 300 ns later, with other events in
/// between; each reading gets ring 1 later than ring 0, so that now and then it has only what came second.
fn handed_on(rounds: u64) -> Vec<(Seen, bool)> {
    let round = |n: u64| {
        let seen = move |after_ns, cpu, task, what| Seen {
            at_ns: 1_000_000 + n * 20_000 + after_ns,
            cpu,
            task,
            what,
        };
        let (wake, switch) = (What::Wake { prio: 50 }, What::Switch { prio: 50 });
        let is_torn = n % 7 == 3;
        [
            (seen(0, 0, 1, What::Migrate { to: 1 }), is_torn),
            (seen(300, 1, 1, wake), false),
            (seen(600, 1, 1, switch), false),
            (seen(3_000, 1, 1, What::Block), false),
            (seen(3_200, 0, 2, wake), is_torn),
            (seen(3_700, 0, 2, switch), is_torn),
            (seen(6_000, 0, 2, What::Block), is_torn),
        ]
    };
    (0..rounds).flat_map(round).collect()
}

#[test]
fn a_task_that_is_handed_on_within_a_microsecond_is_no_guess() {
    let (mut stream, mut late) = (Stream::new(2, 1_000), Vec::new());
    for (index, round) in handed_on(200).chunks(7).enumerate() {
        let split = round.iter().copied().partition(|(_, is_missed)| *is_missed);
        let (missed, read): (Vec<(Seen, bool)>, Vec<(Seen, bool)>) = split;
        let begun_ns = 1_000_000 + index as u64 * 20_000;
        let batch = late.drain(..).chain(read.into_iter().map(|(seen, _)| seen));
        let batch: Vec<Seen> = batch.collect();
        stream.feed_read_at(begun_ns, batch);
        late = missed.into_iter().map(|(seen, _)| seen).collect();
    }
    stream.feed_read_at(u64::MAX, late);
    stream.finish();
    let tally = stream.tally();
    assert_eq!(stream.objections(), [""; 0]);
    assert_eq!((tally.events, tally.restarts), (1_400, 0), "{tally:?}");
    assert_eq!((tally.doubts, tally.guessed), (0, 0), "{tally:?}");
}
