//! The oracles of a recorded run: no false alarm on machines of every size, and each seeded fault caught.

use corelane_sched::CpuMask;
use corelane_sim::churn;
use corelane_sim::stream::{Change, Note, Seen, Stream, What};

#[test]
fn the_record_of_a_sound_machine_draws_no_objection_however_its_clocks_differ() {
    for cpus in [1, 2, 3, 4, 8, 70] {
        for seed in 1..=20 {
            for skew_ns in [0, 1_000, 20_000] {
                let (report, stream) = churn::run_recorded(cpus, seed, 1_000, skew_ns, 0);
                assert_eq!(report.violations, 0, "{report:?}");
                let tally = stream.tally();
                assert!(
                    stream.objections().is_empty(),
                    "{cpus} {seed} {skew_ns} {tally:?} {:?}",
                    stream.objections()
                );
                assert!(tally.events > 300, "{tally:?}");
            }
        }
    }
}

#[test]
fn readings_that_are_lost_cost_no_false_alarm() {
    for (cpus, seed) in (1..=60).map(|seed| ([2, 3, 8, 70][seed as usize % 4], seed)) {
        let (report, stream) = churn::run_recorded(cpus, seed, 1_000, 1_000, 5);
        assert_eq!(report.violations, 0, "{report:?}");
        let objections = stream.objections();
        assert!(objections.is_empty(), "{cpus} {seed} {objections:?}");
        assert!(!stream.is_complete(), "some reading was lost");
    }
}

const PRIO: u8 = 50;

/// The record of two CPUs over which task 1 wanders, and task 2 waits behind it, with its guard's notes.
fn record() -> Vec<Seen> {
    let seen = |at_us: u64, cpu, task, what| Seen {
        at_ns: at_us * 1_000_000,
        cpu,
        task,
        what,
    };
    let (wake, switch) = (What::Wake { prio: PRIO }, What::Switch { prio: PRIO });
    vec![
        seen(1, 0, 1, wake),
        seen(2, 0, 1, switch),
        seen(3, 0, 2, wake),
        seen(4, 0, 3, wake),
        seen(5, 0, 1, What::Yield { prio: PRIO }),
        seen(6, 0, 2, switch),
        seen(7, 0, 1, What::Migrate { to: 1 }),
        seen(8, 1, 1, wake),
        seen(9, 1, 1, switch),
        seen(10, 0, 2, What::Block),
        seen(11, 0, 3, switch),
        seen(12, 0, 2, What::Timer),
        seen(13, 0, 2, wake),
        seen(14, 1, 1, What::Depart),
        seen(15, 1, 0, What::Idle),
        seen(16, 1, 1, wake),
        seen(17, 1, 1, switch),
        seen(18, 0, 3, What::Preempt { prio: PRIO }),
        seen(19, 0, 3, switch),
        seen(20, 0, 3, What::Exit),
        seen(21, 0, 2, switch),
        seen(22, 1, 1, What::Exit),
        seen(23, 1, 0, What::Idle),
        seen(24, 0, 2, What::Block),
        seen(25, 0, 0, What::Idle),
    ]
}

fn notes() -> Vec<Note> {
    let note = |at_us: u64, task, change| Note {
        task,
        at_ns: at_us * 1_000_000,
        change,
    };
    let everywhere = CpuMask::full(2);
    vec![
        note(
            1,
            1,
            Change::Born {
                prio: PRIO,
                allowed: everywhere,
            },
        ),
        note(9, 1, Change::Held { cpu: 1 }),
        note(22, 1, Change::Released),
    ]
}

fn objections(notes: Vec<Note>, record: Vec<Seen>) -> Vec<String> {
    let mut stream = Stream::new(2, 1_000);
    notes.into_iter().for_each(|note| stream.note(note));
    stream.feed(record);
    stream.finish();
    stream.objections().to_vec()
}

#[test]
fn the_sound_record_draws_no_objection() {
    assert_eq!(objections(notes(), record()), [""; 0]);
}

#[test]
fn the_events_of_different_cpus_may_come_in_any_order() {
    let mut by_cpu = record();
    by_cpu.sort_by_key(|seen| core::cmp::Reverse(seen.cpu));
    assert_eq!(objections(notes(), by_cpu), [""; 0]);
}

#[test]
fn a_missing_event_is_caught() {
    for (index, seen) in record().into_iter().enumerate() {
        let mut broken = record();
        broken.remove(index);
        let is_caught = !objections(notes(), broken).is_empty();
        // Nobody can tell that a CPU was idle in between, or that a deadline passed.
        let is_silent = matches!(seen.what, What::Idle | What::Timer);
        assert_eq!(is_caught, !is_silent, "{seen:?}");
    }
}

#[test]
fn a_doubled_event_is_caught() {
    for (index, seen) in record().into_iter().enumerate() {
        let mut broken = record();
        broken.insert(index, seen);
        let is_caught = !objections(notes(), broken).is_empty();
        assert_eq!(is_caught, seen.what != What::Idle, "{seen:?}");
    }
}

#[test]
fn an_event_on_another_cpu_is_caught() {
    for (index, seen) in record().into_iter().enumerate() {
        let mut broken = record();
        broken[index].cpu = 1 - seen.cpu;
        let is_caught = !objections(notes(), broken).is_empty();
        // The last of all: the other CPU is idle, too.
        assert_eq!(is_caught, index != 24, "{seen:?}");
    }
}

#[test]
fn two_neighbouring_events_of_one_cpu_the_other_way_round_are_caught() {
    let ring: Vec<Seen> = record().into_iter().filter(|seen| seen.cpu == 0).collect();
    let other: Vec<Seen> = record().into_iter().filter(|seen| seen.cpu == 1).collect();
    let mut caught = 0;
    for index in 1..ring.len() {
        let mut broken = ring.clone();
        let (a, b) = (broken[index - 1], broken[index]);
        (broken[index - 1].what, broken[index - 1].task) = (b.what, b.task);
        (broken[index].what, broken[index].task) = (a.what, a.task);
        broken.extend(&other);
        let is_caught = !objections(notes(), broken).is_empty();
        // Two tasks may be queued in either order, also while a third is switched to; so may one leave. A
        // deadline may pass before its task is woken, or after.
        let passes = |seen: &Seen| {
            matches!(
                seen.what,
                What::Wake { .. } | What::Timer | What::Migrate { .. }
            )
        };
        let is_timer = a.what == What::Timer || b.what == What::Timer;
        let is_harmless = is_timer || a.task != b.task && (passes(&a) || passes(&b));
        assert!(is_caught || is_harmless, "{a:?} {b:?}");
        caught += usize::from(is_caught);
    }
    assert!(caught > ring.len() / 2, "{caught} of {}", ring.len());
}

#[test]
fn a_task_that_leaves_the_cpu_of_its_guard_is_caught() {
    let mut notes = notes();
    notes[1].change = Change::Held { cpu: 0 };
    let objections = objections(notes, record());
    assert!(objections[0].starts_with("guard: "), "{objections:?}");
}

#[test]
fn a_task_that_runs_where_it_may_no_longer_is_caught() {
    let bounds = |at_us: u64, change| Note {
        task: 2,
        at_ns: at_us * 1_000_000,
        change,
    };
    let allowed = CpuMask::single(2, corelane_sched::CpuId::new(1));
    let begin = bounds(14, Change::BoundsBegin { key: 7, allowed });
    let with = |more: Vec<Note>| objections([notes(), more].concat(), record());
    // Nothing is known of its bounds before, so only what follows the change can be compared.
    let born = Note {
        at_ns: 1,
        task: 2,
        change: Change::Born {
            prio: PRIO,
            allowed: CpuMask::full(2),
        },
    };
    let first = vec![begin.clone()];
    assert_eq!(with(first), [""; 0], "nor before any is known");
    let under_way = vec![born.clone(), begin.clone()];
    assert_eq!(with(under_way), [""; 0], "while the change is under way");
    let returned = vec![born, begin, bounds(15, Change::BoundsEnd { key: 7 })];
    let objections = with(returned);
    assert!(objections[0].starts_with("bounds: "), "{objections:?}");
}

#[test]
fn a_change_whose_maker_is_gone_is_in_force_at_rest_and_ends_with_the_next() {
    let only = |cpu| CpuMask::single(2, corelane_sched::CpuId::new(cpu));
    let begin = |key, cpu| Change::BoundsBegin {
        key,
        allowed: only(cpu),
    };
    let after = |more: &[(u64, Change)]| {
        let mut stream = Stream::new(2, 1_000);
        let (prio, allowed) = (PRIO, CpuMask::full(2));
        let born = [(0, Change::Born { prio, allowed })];
        for (at_ms, change) in born.iter().chain(more).cloned() {
            let (task, at_ns) = (1, at_ms * 1_000_000);
            stream.note(Note {
                task,
                at_ns,
                change,
            });
        }
        let mut record = script(&[(0, 1, wake(PRIO)), (0, 1, switch(PRIO))]);
        record.iter_mut().for_each(|seen| seen.at_ns += 20_000_000);
        stream.feed(record);
        stream.finish();
        stream
    };
    let waits = after(&[(1, begin(1, 1))]);
    assert!(waits.at_rest().is_none(), "somebody is at it");
    let left = after(&[(1, begin(1, 1)), (2, Change::BoundsLeft { key: 1 })]);
    assert_eq!(left.objections(), [""; 0], "it may not be in force yet");
    let objections = left.at_rest().expect("nobody is at it").objections;
    assert!(objections[0].starts_with("bounds: "), "{objections:?}");
    let next = [
        (1, begin(1, 0)),
        (2, Change::BoundsLeft { key: 1 }),
        (3, begin(2, 1)),
        (4, Change::BoundsEnd { key: 2 }),
    ];
    let objections = after(&next).objections().to_vec();
    assert!(objections[0].starts_with("bounds: "), "{objections:?}");
}

#[test]
fn an_equal_that_overtakes_is_caught() {
    let mut broken = record();
    for seen in &mut broken {
        // Task 3 is switched to where task 2, which was queued before it, should be.
        seen.task = match seen.task {
            2 if seen.at_ns >= 6_000_000 => 3,
            3 if seen.at_ns >= 6_000_000 => 2,
            task => task,
        };
    }
    let objections = objections(notes(), broken);
    assert!(objections[0].starts_with("order: "), "{objections:?}");
}

/// Task 4 wakes on CPU 0 by priority 50, and is switched to by priority 60.
fn record_of_another_priority() -> Vec<Seen> {
    let seen = |at_ms: u64, what| Seen {
        at_ns: at_ms * 1_000_000,
        cpu: 0,
        task: 4,
        what,
    };
    let mut record = record();
    record.extend([
        seen(40, What::Wake { prio: PRIO }),
        seen(41, What::Switch { prio: 60 }),
        seen(42, What::Exit),
    ]);
    record
}

#[test]
fn a_change_between_the_reading_of_a_priority_and_its_record_is_no_fault() {
    let change = |at_ms: u64, change| Note {
        task: 4,
        at_ns: at_ms * 1_000_000,
        change,
    };
    let mut known = notes();
    known.extend([
        change(36, Change::PrioBegins { prio: 60 }),
        change(38, Change::PrioEnds),
    ]);
    assert_eq!(objections(known, record_of_another_priority()), [""; 0]);
}

#[test]
fn a_priority_that_nobody_has_changed_is_caught() {
    let objections = objections(notes(), record_of_another_priority());
    assert!(
        objections[0].contains("nobody has changed"),
        "{objections:?}"
    );
}

#[test]
fn a_task_that_ran_on_two_cpus_at_once_is_caught() {
    let mut broken = record();
    broken.insert(
        9,
        Seen {
            at_ns: 9_500_000,
            cpu: 0,
            task: 1,
            what: What::Switch { prio: PRIO },
        },
    );
    assert!(!objections(notes(), broken).is_empty());
}

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
fn a_more_urgent_task_that_is_passed_over_is_caught() {
    let record = script(&[(0, 1, wake(50)), (0, 2, wake(60)), (0, 1, switch(50))]);
    let objections = objections(Vec::new(), record);
    assert!(objections[0].contains("more urgent"), "{objections:?}");
}

#[test]
fn an_equal_that_overtakes_one_that_was_preempted_is_caught() {
    let preempt = What::Preempt { prio: 50 };
    let record = script(&[
        (0, 1, wake(50)),
        (0, 1, switch(50)),
        (0, 2, wake(50)),
        (0, 1, preempt),
        (0, 2, switch(50)),
    ]);
    let objections = objections(Vec::new(), record);
    assert!(objections[0].contains("was preempted"), "{objections:?}");
}

#[test]
fn an_idle_cpu_with_a_queued_task_and_a_deadline_of_nobody_are_caught() {
    let idle = script(&[(0, 1, wake(50)), (0, 0, What::Idle)]);
    let caught = objections(Vec::new(), idle);
    assert!(caught[0].contains("is queued there"), "{caught:?}");
    let caught = objections(Vec::new(), script(&[(0, 9, What::Timer)]));
    assert!(caught[0].contains("no such task"), "{caught:?}");
}

/// The oracles after this record of tasks 1 and 2, with everything read.
fn at_the_end_of(steps: &[(usize, u64, What)]) -> Stream {
    let mut stream = Stream::new(2, 1_000);
    for (task, prio) in [(1, 50), (2, 60)] {
        let allowed = CpuMask::full(2);
        let change = Change::Born { prio, allowed };
        let at_ns = 1;
        stream.note(Note {
            task,
            at_ns,
            change,
        });
    }
    stream.feed(script(steps));
    stream.finish();
    assert_eq!(stream.objections(), [""; 0]);
    stream
}

#[test]
fn the_state_at_rest_is_judged_and_shown() {
    let (one, two) = ([(0, 1, wake(50)), (0, 1, switch(50))], (0, 2, wake(60)));
    let kept = at_the_end_of(&[one[0], one[1], (1, 2, wake(60)), (1, 2, switch(60))]);
    let rest = kept.at_rest().expect("it is at rest");
    assert_eq!(rest.objections, [""; 0]);
    let shown = |cpu| (rest.truth.running(cpu), rest.truth.queued(cpu));
    assert_eq!(
        [shown(0), shown(1)],
        [(Some((1, 50)), 0), (Some((2, 60)), 0)]
    );
    let broken = at_the_end_of(&[one[0], one[1], two]);
    let rest = broken.at_rest().expect("it is at rest");
    let names = ["local order", "blocking pair", "top N"];
    let is_named = |name: &&str| rest.objections.iter().any(|what| what.starts_with(*name));
    assert!(names.iter().all(is_named), "{:?}", rest.objections);
    assert_eq!(rest.truth.queued(0), 1);
}

#[test]
fn a_task_that_never_arrives_is_no_rest_and_is_named() {
    for what in [What::Migrate { to: 1 }, What::NoFiber] {
        let lost = at_the_end_of(&[(0, 1, wake(50)), (0, 1, what)]);
        assert!(lost.at_rest().is_none(), "{what:?}");
        assert!(lost.on_its_way().is_some(), "{what:?}");
    }
    let waits = at_the_end_of(&[(0, 1, wake(50)), (0, 1, switch(50)), (0, 1, What::Block)]);
    assert_eq!(waits.on_its_way(), None);
}

#[test]
fn a_hole_costs_no_false_alarm_and_a_fault_after_it_is_caught() {
    for hole in 0..record().len() {
        for is_broken in [false, true] {
            let mut stream = Stream::new(2, 1_000);
            stream.feed(record().into_iter().take(hole / 2));
            stream.hole();
            stream.feed(record().into_iter().skip(hole));
            stream.feed([]);
            stream.feed([]);
            if is_broken {
                let seen = |at_ns, what| Seen {
                    at_ns,
                    cpu: 0,
                    task: 9,
                    what,
                };
                stream.feed([
                    seen(30_000_000, What::Wake { prio: 1 }),
                    seen(31_000_000, What::Block),
                ]);
            }
            stream.finish();
            assert_eq!(stream.objections().is_empty(), !is_broken, "{hole}");
        }
    }
}
