//! Signals at any instruction of a switch: handled on fiber stacks, counted, and nothing is corrupt.

mod common;

use std::time::Duration;

use common::{Running, command, survives, victim};

#[test]
fn ten_thousand_signals_a_second_are_handled_on_fiber_stacks_and_none_is_lost() {
    survives("signalled", &["ms=3000"]);
}

#[test]
fn a_signal_for_a_fibers_own_thread_waits_until_its_task_is_native() {
    survives("signalled", &["to-a-fiber"]);
}

#[test]
fn a_sampling_profiler_walks_from_the_busy_function_to_the_task() {
    survives("profiled", &["ms=1000"]);
}

#[test]
fn a_process_that_is_stopped_and_continued_in_the_middle_of_switches_goes_on() {
    for fallback in [&["ms=1500"][..], &["ms=1500", "native"]] {
        let mut victim = Running::start(&mut command(victim("churn"), fallback));
        victim.wait_for("begun");
        for round in 0..100 {
            victim.signal(libc::SIGSTOP);
            std::thread::sleep(Duration::from_micros(100 * (round % 7)));
            victim.signal(libc::SIGCONT);
            std::thread::sleep(Duration::from_millis(3));
        }
        victim.finish().succeeded().says(&["intact"]);
    }
}
