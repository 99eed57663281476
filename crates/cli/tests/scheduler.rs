//! The example ends as it must, and a simulation is a function of its seed.

mod common;

use common::corelane;
use serde_json::{Value, json};

#[test]
fn the_journal_example_ends_with_the_four_highest_running() {
    let report = corelane(&["replay", "journal", "--json", "-"]).json();
    assert_eq!(report["ok"], json!(true));
    let running = report["final"]["running"].as_array().expect("a list");
    let mut priorities: Vec<u64> = running
        .iter()
        .filter_map(|task| task["priority"].as_u64())
        .collect();
    priorities.sort_unstable();
    assert_eq!(priorities, [88, 90, 94, 97]);
    let steps = report["steps"].as_array().expect("a list");
    for (index, step) in steps.iter().enumerate() {
        assert_eq!(step["step"], json!(index));
        assert_eq!(step["cpus"].as_array().map(Vec::len), Some(4));
        assert!(
            step["event"].is_string() && step["overloaded"].is_array(),
            "{step}"
        );
    }
    assert_eq!(steps[0]["pri_active"], json!([90, 92, 94, 96]));
}

#[test]
fn the_text_of_the_example_names_every_task_and_every_step() {
    let json = corelane(&["replay", "journal", "--json", "-"]).json();
    let run = corelane(&["replay", "journal"]);
    assert_eq!(run.code, Some(0));
    for step in json["steps"].as_array().expect("a list") {
        assert!(
            run.stdout.contains(step["event"].as_str().expect("words")),
            "{}",
            run.stdout
        );
    }
    for task in [
        "T1 85", "T2 90", "T3 97", "T4 88", "T5 94", "T6 70", "T7 92",
    ] {
        assert!(
            run.stdout.contains(task),
            "{task} is missing:\n{}",
            run.stdout
        );
    }
}

fn sim(seed: &str) -> Value {
    corelane(&[
        "sim", "--cpus", "8", "--seed", seed, "--events", "5000", "--json", "-",
    ])
    .json()
}

#[test]
fn a_seed_gives_one_run_and_another_seed_another() {
    let (first, again, other) = (sim("7"), sim("7"), sim("8"));
    assert_eq!(first, again);
    assert_ne!(first["trace_hash"], other["trace_hash"]);
    assert_eq!(first["violations"], json!(0));
    assert_eq!(first["seed"], json!(7));
}

#[test]
fn the_text_of_a_simulation_has_the_seed_to_repeat_it() {
    let run = corelane(&["sim", "--cpus", "4", "--seed", "11", "--events", "500"]);
    assert_eq!(run.code, Some(0));
    assert!(
        run.stdout
            .contains("corelane sim --cpus 4 --seed 11 --events 500"),
        "{}",
        run.stdout
    );
}
