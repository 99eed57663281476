//! The oracles of a recorded run on a record as dense as a real one: how much is a guess, how much is caught.

use corelane_sim::churn;
use corelane_sim::stream::{Seen, What};

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
