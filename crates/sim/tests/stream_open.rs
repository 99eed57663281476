//! Where the clocks leave the order of two events open: what the oracles of a recorded run conclude then.

use corelane_sim::stream::{Seen, Stream, What};

/// What happens on two CPUs, a millisecond apart.
fn script(steps: &[(usize, u64, What)]) -> Vec<Seen> {
    let seen = |(index, (cpu, task, what)): (usize, &(usize, u64, What))| Seen {
        at_ns: 1_000_000 * (index as u64 + 1),
        cpu: *cpu,
        task: *task,
        what: *what,
    };
    steps.iter().enumerate().map(seen).collect()
}

fn wake(prio: u8) -> What {
    What::Wake { prio }
}

fn switch(prio: u8) -> What {
    What::Switch { prio }
}

#[test]
fn what_is_followed_under_an_open_guess_is_counted_apart() {
    // Two CPUs say within a microsecond that they woke task 1, and that it waits again: either may have been
    // first.
    let mut record = script(&[
        (0, 1, wake(50)),
        (0, 1, switch(50)),
        (0, 1, What::Block),
        (0, 1, wake(50)),
        (0, 1, switch(50)),
        (0, 1, What::Block),
        (1, 1, wake(50)),
        (1, 1, switch(50)),
        (1, 1, What::Block),
    ]);
    for (index, seen) in record.iter_mut().enumerate().skip(3) {
        seen.at_ns = 4_000_000 + index as u64;
    }
    let mut stream = Stream::new(2, 1_000);
    stream.feed(record);
    stream.finish();
    let tally = stream.tally();
    assert_eq!((tally.events, tally.violations), (9, 0), "{tally:?}");
    assert!(tally.doubts > 0 && tally.guessed >= 5, "{tally:?}");
}

#[test]
fn a_rest_is_judged_again_once_every_forgotten_task_was_seen() {
    // Either of the two arrivals of task 1 may have been first, and neither explains the `Yield`.
    let mut record = script(&[
        (0, 2, wake(50)),
        (0, 2, switch(50)),
        (0, 2, What::Block),
        (0, 1, wake(50)),
        (0, 1, switch(50)),
        (0, 1, What::Block),
        (1, 1, wake(50)),
        (1, 1, switch(50)),
        (1, 1, What::Block),
        (1, 1, What::Yield { prio: 50 }),
    ]);
    for (index, seen) in record.iter_mut().enumerate().skip(3) {
        seen.at_ns = 4_000_000 + index as u64;
    }
    let mut stream = Stream::new(2, 1_000);
    stream.feed(record);
    stream.finish();
    assert_eq!(stream.tally().restarts, 1, "{:?}", stream.tally());
    let again = |at_ns, task| {
        let seen = move |(index, what): (u64, What)| Seen {
            at_ns: at_ns + index,
            cpu: 0,
            task,
            what,
        };
        let record = [(0, wake(50)), (1, switch(50)), (2, What::Block)];
        record.map(seen)
    };
    stream.feed_read_at(u64::MAX, again(20_000_000, 1));
    stream.finish();
    assert!(stream.at_rest().is_none(), "task 2 could be anywhere");
    stream.feed_read_at(u64::MAX, again(30_000_000, 2));
    stream.finish();
    let rest = stream.at_rest().expect("both have been seen");
    assert_eq!(rest.objections, [""; 0]);
    stream.hole();
    stream.finish();
    assert!(
        stream.at_rest().is_none(),
        "a task may have begun in the hole"
    );
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
        let only = |missed: bool| {
            let some = round
                .iter()
                .filter(move |(_, is_missed)| *is_missed == missed);
            some.map(|(seen, _)| *seen)
        };
        let begun_ns = 1_000_000 + index as u64 * 20_000;
        let batch: Vec<Seen> = late.drain(..).chain(only(false)).collect();
        stream.feed_read_at(begun_ns, batch);
        late = only(true).collect();
    }
    stream.feed_read_at(u64::MAX, late);
    stream.finish();
    let tally = stream.tally();
    assert_eq!(stream.objections(), [""; 0]);
    assert_eq!((tally.events, tally.restarts), (1_400, 0), "{tally:?}");
    assert_eq!((tally.doubts, tally.guessed), (0, 0), "{tally:?}");
}
