//! What each probe may do on its hit path.

/// One line of the table.
pub(super) struct Rule {
    pub(super) probe: &'static str,
    /// The places with a locked instruction on the hit path, at most.
    pub(super) locked_max: usize,
    /// Functions that are part of the operation although they were not inlined: followed into.
    pub(super) parts: &'static [&'static str],
    /// Functions that are the slow path: reached behind a conditional jump only, and not followed.
    pub(super) slow: &'static [&'static str],
}

const fn rule(
    probe: &'static str,
    locked_max: usize,
    parts: &'static [&'static str],
    slow: &'static [&'static str],
) -> Rule {
    Rule {
        probe,
        locked_max,
        parts,
        slow,
    }
}

/// A caller that is no task, and a task that was asked to leave while it held the last guard.
const NO_TASK: &str = "corelane::guard::not_a_task";
const LEAVE: &str = "corelane::guard::leave";
/// More guards than are counted, and a guard that is not the last one that was entered.
const TOO_DEEP: &str = "corelane::held::too_deep";
const LEAVE_ODDLY: &str = "corelane::held::Held::leave_oddly";
const REVIEW: &str = "corelane::current::Fiber::review";
const CPU: &str = "corelane::current::Fiber::cpu";
const UNWIND: &str = "corelane::current::Fiber::unwind_if_cancelled";
/// Read when a timer or a slice is armed on the CPU.
const CLOCK: &str = "clock_gettime";
/// The task was cancelled: it ends here, unless it is unwinding already.
const CANCEL: &str = "std::panic::resume_unwind";
const UNWINDING: &str = "std::panicking::panic_count::is_zero_slow_path";
/// What only maps of more than 64 CPUs do.
const FOLLOW_MINIMA: &str = "corelane_sched::level_map::LevelMap::follow_minima";
const LOWEST_FROM: &str = "corelane_sched::level_map::LevelMap::lowest_from";
const LOWEST_OF_ALL: &str = "corelane_sched::level_map::LevelMap::lowest_of_all";
const RISE: &str = "corelane_sched::minimum::Minimum::rise";
const LOWEST_OF_MOST: &str = "corelane_sched::sse2::lowest_of_most";
/// Broken invariants.
const ASSERT: &str = "core::panicking::assert_failed";
const BOUNDS: &str = "core::panicking::panic_bounds_check";
const SLICE: &str = "core::slice::index::slice_index_fail";
const EXPECT: &str = "core::option::expect_failed";
const PANIC_FMT: &str = "core::panicking::panic_fmt";

/// The table: probe, locked instructions, parts, slow paths.
pub(super) const RULES: &[Rule] = &[
    rule(
        "probe_guard",
        0,
        &[],
        &[LEAVE, NO_TASK, TOO_DEEP, LEAVE_ODDLY],
    ),
    rule(
        "probe_checkpoint",
        0,
        &[CPU, UNWIND],
        &[REVIEW, CLOCK, CANCEL, UNWINDING, BOUNDS, EXPECT, PANIC_FMT],
    ),
    rule(
        "probe_cpupri_find",
        0,
        &[LOWEST_FROM, LOWEST_OF_ALL, LOWEST_OF_MOST],
        &[PANIC_FMT, BOUNDS, SLICE],
    ),
    rule(
        "probe_cpupri_set",
        8,
        &[FOLLOW_MINIMA, RISE, LOWEST_OF_MOST],
        &[BOUNDS, SLICE],
    ),
    rule(
        "probe_level_map",
        8,
        &[FOLLOW_MINIMA, RISE, LOWEST_OF_MOST],
        &[BOUNDS, SLICE],
    ),
    rule("probe_state_cycle", 4, &[], &[ASSERT, PANIC_FMT]),
];

/// Probes that break a rule, and what must be said about each; an empty text for the one that does not.
pub(super) const CONTROLS: &[(Rule, &str)] = &[
    (
        rule("probe_control_locked", 0, &[], &[]),
        "1 locked instructions, 0 allowed",
    ),
    (
        rule("probe_control_exchange", 0, &[], &[]),
        "1 locked instructions, 0 allowed",
    ),
    (
        rule(
            "probe_control_part",
            0,
            &["corelane_probes::controls::locked_aside"],
            &[],
        ),
        "1 locked instructions, 0 allowed",
    ),
    (
        rule("probe_control_call", 0, &[], &[]),
        "calls corelane_probes::controls::aside",
    ),
    (
        rule("probe_control_pointer", 0, &[], &[]),
        "known at run time only",
    ),
    (
        rule("probe_control_panic", 0, &[], &[]),
        "panics by core::panicking::panic_bounds_check",
    ),
    (
        rule(
            "probe_control_always_slow",
            0,
            &[],
            &["corelane_probes::controls::aside"],
        ),
        "no hit path",
    ),
    (
        rule(
            "probe_control_clean",
            0,
            &[],
            &["corelane_probes::controls::aside"],
        ),
        "",
    ),
];

#[cfg(test)]
mod tests {
    use super::CONTROLS;

    /// Every complaint begins with the name of the probe, and so would satisfy a control that expects a
    /// piece of it; one about a missing function ends with the name as well.
    #[test]
    fn what_a_control_expects_is_no_part_of_its_name() {
        for (rule, expected) in CONTROLS {
            let says_more = expected.is_empty() || !rule.probe.contains(expected);
            assert!(says_more, "{}: {expected}", rule.probe);
        }
    }
}
