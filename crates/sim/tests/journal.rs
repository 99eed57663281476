//! The replay of the article's example, and the shape of its report.

use corelane_sim::journal;
use serde_json::{Value, json};

#[test]
fn the_article_ends_with_the_four_highest_running() {
    let report = serde_json::to_value(journal::replay()).unwrap();
    assert_eq!(report["ok"], json!(true));
    let running = json!([
        { "cpu": 0, "task": "T3", "priority": 97 },
        { "cpu": 1, "task": "T2", "priority": 90 },
        { "cpu": 2, "task": "T5", "priority": 94 },
        { "cpu": 3, "task": "T4", "priority": 88 },
    ]);
    assert_eq!(report["final"], json!({ "running": running }));
}

#[test]
fn pri_active_and_the_overloaded_cpus_follow_the_figures() {
    let figures = [
        (vec![90, 92, 94, 96], vec![0, 3]),
        (vec![90, 94, 96, 99], vec![0, 3]),
        (vec![92, 94, 96, 99], vec![0, 1, 3]),
        (vec![92, 94, 96, 99], vec![0, 1, 3]),
        (vec![72, 92, 96, 99], vec![0, 1]),
        (vec![90, 92, 96, 99], vec![0, 3]),
        (vec![90, 92, 96, 99], vec![0, 3]),
    ];
    let steps = journal::replay().steps;
    assert_eq!(steps.len(), figures.len());
    for (number, (step, (pri_active, overloaded))) in steps.iter().zip(figures).enumerate() {
        assert_eq!(
            (step.step, &step.pri_active, &step.overloaded),
            (number, &pri_active, &overloaded)
        );
    }
}

#[test]
fn an_idle_cpu_runs_null_and_a_queue_is_most_urgent_first() {
    let report = serde_json::to_value(journal::replay()).unwrap();
    let t = |name: &str, priority: u8| json!({ "task": name, "priority": priority });
    let preempted = json!({ "running": t("T3", 97), "queued": [t("T2", 90), t("T1", 85)] });
    assert_eq!(report["steps"][1]["cpus"][0], preempted);
    let between = json!({ "running": Value::Null, "queued": [t("T6", 70)] });
    assert_eq!(report["steps"][4]["cpus"][3], between);
}

#[test]
fn the_report_has_the_keys_that_its_readers_expect() {
    let report = serde_json::to_value(journal::replay()).unwrap();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&report), ["final", "ok", "steps"]);
    assert_eq!(
        keys(&report["steps"][0]),
        ["cpus", "event", "overloaded", "pri_active", "step"]
    );
    assert_eq!(keys(&report["steps"][0]["cpus"][0]), ["queued", "running"]);
}
