//! A short measurement: the shape of its report, not its numbers.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::corelane;
use corelane_os::cpuset::KernelCpuSet;
use corelane_os::thread::{self, Tid};
use serde_json::Value;

const NAMES: [&str; 5] = [
    "wake-idle-spin",
    "wake-idle-park",
    "wake-busy",
    "wake-local",
    "periodic",
];

/// Two measurements at a time would measure each other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn allowed() -> KernelCpuSet {
    thread::affinity(Tid(0)).expect("the affinity mask is readable")
}

fn scenarios(report: &Value) -> &Vec<Value> {
    let scenarios = report["scenarios"].as_array().expect("a list");
    let names: Vec<&str> = scenarios
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, NAMES);
    scenarios
}

fn is_measured(scenario: &Value) -> bool {
    scenario.get("skipped").is_none()
}

fn check_measured(scenario: &Value) {
    for arm in ["executor", "kernel"] {
        let value = |key: &str| {
            scenario[arm][key]
                .as_u64()
                .unwrap_or_else(|| panic!("{scenario}"))
        };
        assert!(value("samples") > 0, "{scenario}");
        let quantiles = ["p50_ns", "p99_ns", "p999_ns", "max_ns"].map(value);
        assert!(quantiles.is_sorted(), "{scenario}");
        assert!(
            scenario[arm]["cpu_share"]
                .as_f64()
                .is_some_and(|share| share > 0.0),
            "{scenario}"
        );
    }
    for ratio in ["ratio_p50", "ratio_p99"] {
        assert!(
            scenario[ratio].as_f64().is_some_and(|ratio| ratio > 0.0),
            "{scenario}"
        );
    }
}

#[test]
fn both_arms_of_every_scenario_are_in_the_json() {
    let _alone = alone();
    let cpus = allowed().len();
    let run = corelane(&["latency", "--duration", "1s", "--json", "-"]);
    let report = run.json();
    assert_eq!(report["host"]["cpus"].as_array().map(Vec::len), Some(cpus));
    for scenario in scenarios(&report) {
        match is_measured(scenario) {
            true => check_measured(scenario),
            false => assert!(cpus < 2, "{scenario}"),
        }
    }
    assert!(
        run.stderr.contains("ratio"),
        "the page goes to standard error: {}",
        run.stderr
    );
}

#[test]
fn on_one_cpu_wakes_across_cpus_are_skipped_with_a_reason() {
    let _alone = alone();
    let first = allowed().first().expect("there is a CPU");
    thread::set_affinity(Tid(0), &KernelCpuSet::single(first)).expect("it is allowed");
    let run = corelane(&["latency", "--duration", "500ms", "--json", "-"]);
    let report = run.json();
    for scenario in scenarios(&report) {
        let stays_on_its_cpu = scenario["name"] == "wake-local" || scenario["name"] == "periodic";
        assert_eq!(is_measured(scenario), stays_on_its_cpu, "{scenario}");
        match is_measured(scenario) {
            true => check_measured(scenario),
            false => assert!(
                scenario["skipped"]
                    .as_str()
                    .expect("a reason")
                    .contains("two CPUs")
            ),
        }
    }
    assert!(
        run.stderr.contains("wake-busy is skipped"),
        "{}",
        run.stderr
    );
}

#[test]
fn without_a_command_it_measures_and_prints_a_table() {
    let _alone = alone();
    let path = std::env::temp_dir().join(format!("corelane-latency-{}.json", std::process::id()));
    let file = path.to_str().expect("a path of plain letters");
    let run = corelane(&["--duration", "200ms", "--json", file]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let written = std::fs::read_to_string(&path).expect("the JSON was written");
    std::fs::remove_file(&path).expect("it is ours");
    scenarios(&serde_json::from_str(&written).expect("the file is one JSON value"));
    for column in [
        "p50",
        "p99.9",
        "max",
        "samples",
        "executor",
        "kernel",
        "ratio",
        "stolen time",
    ] {
        assert!(
            run.stdout.contains(column),
            "{column} is missing:\n{}",
            run.stdout
        );
    }
}
