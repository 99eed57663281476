//! The controls: each way of breaking the kernel or the runtime is noticed by some model.

use corelane_os_model::{Model, Sabotage};

use crate::{cancel, change, order, shutdown, timer, wake};

/// A control for each sabotage: how often it is tried, and the model that notices.
macro_rules! controls {
    ($($name:ident: $how:ident, $schedules:literal, $model:path;)*) => {
        $(#[test]
        fn $name() {
            Model::new().schedules($schedules).catches(Sabotage::$how, $model);
        })*
    };
}

controls! {
    a_dropped_futex_wake_is_noticed: DropWakes, 100, wake::from_a_thread_to_sleeping_cpus;
    a_futex_that_does_not_compare_is_noticed: WaitWithoutComparing, 1_000, wake::across_cpus;
    a_forgotten_deadline_is_noticed: ForgetDeadlines, 100, timer::on_sleeping_cpus;
    a_worker_that_sleeps_without_looking_is_noticed: SleepUnlooking, 1_000, wake::across_cpus;
    an_omitted_kick_is_noticed: OmitKick, 100, wake::from_a_thread_to_sleeping_cpus;
    an_omitted_push_is_noticed: OmitPush, 150, order::woken_at_once;
    an_omitted_pull_is_noticed: OmitPull, 150, order::spawned_on_sleeping_cpus;
    an_omitted_letter_about_a_change_is_noticed: OmitChangeLetter, 150, change::priorities;
    a_cancellation_that_wakes_nobody_is_noticed: OmitCancelWake, 300, cancel::of_waiting_tasks;
    a_task_that_is_not_counted_is_noticed: OmitAdmission, 500, shutdown::against_waiting_tasks;
    tasks_that_nobody_discards_are_noticed: OmitDiscard, 500, shutdown::against_spawns;
}
