//! The churn on machines of every size, and the faults that it must notice.

use corelane_sim::{Sabotage, churn};

#[test]
fn twenty_seeds_keep_every_invariant_at_small_sizes() {
    for cpus in [1, 2, 3, 4, 8] {
        for seed in 1..=20 {
            let report = churn::run(cpus, seed, 2_000);
            assert_eq!(report.violations, 0, "{report:?}");
            assert_eq!(report.events, 2_000);
        }
    }
}

#[test]
fn more_cpus_than_fit_one_word_keep_every_invariant() {
    for (cpus, seed) in [(65, 1), (130, 2), (256, 3)] {
        let report = churn::run(cpus, seed, 2_000);
        assert_eq!(report.violations, 0, "{report:?}");
    }
}

#[test]
fn a_seed_is_a_run() {
    for cpus in [4, 70] {
        assert_eq!(churn::run(cpus, 7, 3_000), churn::run(cpus, 7, 3_000));
        assert_ne!(
            churn::run(cpus, 7, 3_000).trace_hash,
            churn::run(cpus, 8, 3_000).trace_hash
        );
    }
}

#[test]
fn the_report_has_exactly_its_keys() {
    let report = serde_json::to_value(churn::run(2, 1, 100)).unwrap();
    let keys: Vec<&str> = report
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "cpus",
        "events",
        "migrations",
        "pushes",
        "requests",
        "seed",
        "trace_hash",
        "violations",
    ];
    assert_eq!(keys, expected);
}

/// The kinds of violation that a machine with this fault runs into over some seeds.
fn objections(sabotage: Sabotage) -> Vec<String> {
    let runs = (1..=40).map(|seed| churn::run_with(4, seed, 2_000, sabotage));
    let kind = |objection: String| objection.split(':').next().unwrap_or_default().to_owned();
    let mut kinds: Vec<String> = runs
        .filter_map(|run| run.first_violation)
        .map(kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

macro_rules! the_churn_notices {
    ($($test:ident: $sabotage:ident by $kind:literal;)*) => {$(
        #[test]
        fn $test() {
            let kinds = objections(Sabotage::$sabotage);
            assert!(kinds.iter().any(|kind| kind == $kind), "{kinds:?}");
        }
    )*};
}

the_churn_notices! {
    a_cpu_that_does_not_pull_after_lowering_is_noticed: NoPullAfterLowering by "blocking pair";
    a_puller_that_does_not_revalidate_is_noticed: NoRevalidation by "conservation";
    a_cpu_that_does_not_push_is_noticed: NoPush by "blocking pair";
    a_turn_of_unequals_is_noticed: TurnOfUnequals by "overload";
    a_task_that_does_not_make_room_is_noticed: NoPushAway by "held shift";
    a_letter_without_a_kick_is_noticed: NoKick by "conservation";
    a_worker_that_does_not_look_before_it_sleeps_is_noticed: NoLookBeforeSleep by "conservation";
    a_late_wake_that_is_ignored_is_noticed: NoLateWake by "conservation";
    a_source_that_is_not_published_is_noticed: NoPublishOfSource by "overload";
    a_puller_that_stops_at_the_first_task_is_noticed: OnePull by "blocking pair";
    a_pass_that_does_not_ask_what_is_left_is_noticed: NoLeftover by "held shift";
}

#[test]
fn a_machine_without_a_fault_draws_no_objection() {
    assert!(objections(Sabotage::None).is_empty());
}
