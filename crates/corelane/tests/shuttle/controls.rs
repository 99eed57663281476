//! The controls: each way of breaking the kernel or the runtime is noticed by some model.
//!
//! Each runs the schedules under which the same model passes unbroken, in its own file.

use corelane_os_model::{Model, Sabotage};

use crate::{cancel, change, guard, join, order, shutdown, timer, wake};

/// A control for each sabotage: the host, and the model that notices.
macro_rules! controls {
    ($($name:ident: $how:ident, $host:expr, $model:path;)*) => {
        $(#[test]
        fn $name() {
            $host.catches(Sabotage::$how, $model);
        })*
    };
}

fn schedules(count: usize) -> Model {
    Model::new().schedules(count)
}

controls! {
    a_dropped_futex_wake_is_noticed: DropWakes, schedules(100), wake::from_a_thread_to_sleeping_cpus;
    a_futex_that_does_not_compare_is_noticed: WaitWithoutComparing, schedules(1_000), wake::across_cpus;
    a_forgotten_deadline_is_noticed: ForgetDeadlines, schedules(100), timer::on_sleeping_cpus;
    a_worker_that_sleeps_without_looking_is_noticed: SleepUnlooking, schedules(150), change::priorities;
    an_omitted_kick_is_noticed: OmitKick, schedules(100), wake::from_a_thread_to_sleeping_cpus;
    an_omitted_push_is_noticed: OmitPush, schedules(150), order::woken_at_once;
    an_omitted_pull_is_noticed: OmitPull, schedules(150), order::spawned_on_sleeping_cpus;
    a_switch_that_leaves_out_the_push_is_noticed: OmitConclusion, schedules(150), order::displaced_by_its_own_wake;
    a_task_woken_on_its_way_out_and_forgotten_is_noticed: ForgetWoken, schedules(300), join::trees_on_sleeping_cpus;
    an_omitted_letter_about_a_change_is_noticed: OmitChangeLetter, schedules(150), change::priorities;
    a_cancellation_that_wakes_nobody_is_noticed: OmitCancelWake, schedules(300), cancel::of_waiting_tasks;
    a_task_that_is_not_counted_is_noticed: OmitAdmission, schedules(300), shutdown::against_waiting_tasks;
    tasks_that_nobody_discards_are_noticed: OmitDiscard, schedules(15).cpus(1), shutdown::around_a_stuck_task;
}

#[test]
fn a_fault_is_repeated_by_its_schedule() {
    let directory = std::env::temp_dir().join(format!("corelane-model-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory for schedules");
    let is_repeated =
        schedules(300).finds_and_repeats_fault(&directory, || guard::disturbed(false));
    std::fs::remove_dir_all(&directory).expect("it is ours");
    assert!(is_repeated);
}
