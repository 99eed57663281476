//! A stack overflow ends the process by a signal and names the task, wherever the task ran and whoever
//! handles SIGSEGV.

mod common;

use common::{End, run};

const NAMED: &str = "'digger' has overflowed its stack";
const STDS_WORD: &str = "has overflowed its stack\nfatal runtime error";
const EMBEDDERS_WORD: &str = "the embedder's handler saw the fault";

/// Runs the attack on carried fibers and in the fallback.
fn overflow(arguments: &[&str]) -> [End; 2] {
    [&[][..], &["native"]]
        .map(|fallback| run("overflow", &[arguments, fallback].concat()).by_signal(libc::SIGABRT))
}

#[test]
fn an_overflow_on_a_carried_fiber_names_the_task_and_aborts() {
    for end in overflow(&["carried"]) {
        end.says(&[NAMED, STDS_WORD, "'corelane-f"]);
    }
}

#[test]
fn an_overflow_after_moves_between_cpus_names_the_task() {
    for end in overflow(&["moved"]) {
        end.says(&["moved from 0 to", NAMED, STDS_WORD]);
    }
}

#[test]
fn an_overflow_in_a_native_part_names_the_task() {
    for end in overflow(&["native-part"]) {
        end.says(&[NAMED, STDS_WORD]);
    }
}

#[test]
fn an_overflow_of_a_background_task_gives_its_number() {
    for end in overflow(&["background"]) {
        end.says(&[
            "corelane: task 2 (unnamed) has overflowed its stack",
            STDS_WORD,
        ]);
    }
}

#[test]
fn an_embedders_handler_from_before_the_build_still_sees_the_fault() {
    for place in ["carried", "native-part"] {
        for end in overflow(&[place, "handler-before"]) {
            end.says(&[NAMED, EMBEDDERS_WORD, STDS_WORD]);
        }
    }
}

#[test]
fn an_embedders_handler_off_the_alternate_stack_is_left_alone_and_the_kernel_ends_the_process() {
    for place in ["carried", "native-part"] {
        let end = run("overflow", &[place, "handler-off-stack"]).by_signal(libc::SIGSEGV);
        assert!(!end.err.contains("digger"), "{end:#?}");
    }
}

#[test]
fn an_embedders_handler_from_after_the_build_that_chains_keeps_the_name() {
    for end in overflow(&["carried", "handler-after"]) {
        end.says(&[EMBEDDERS_WORD, NAMED, STDS_WORD]);
    }
}

#[test]
fn an_embedders_handler_from_after_the_build_that_does_not_chain_runs_alone() {
    for end in overflow(&["carried", "handler-alone"]) {
        assert!(!end.err.contains("digger"), "{end:#?}");
        end.says(&[EMBEDDERS_WORD]);
    }
}
