//! The ordinary victim: tasks switch, move, sleep, go native, spawn and join for `ms=` milliseconds, and check
//! every value that they keep.

use std::time::Duration;

fn main() {
    let runtime = corelane_attacks::runtime();
    println!("begun"); // a tool that stops or watches the process waits for this line
    let time = Duration::from_millis(corelane_attacks::number("ms", 1000));
    let rounds = corelane_attacks::churn(&runtime, time);
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.abandoned.is_empty(), "{report:?}");
    println!("intact after {rounds} rounds");
}
