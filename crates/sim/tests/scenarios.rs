//! Scenarios whose outcome is known beforehand, each in a hundred random orders of micro-steps.
//!
//! `run_on` puts a task on a CPU before the scene begins; the scene itself starts when nobody moves.

use corelane_sim::{Happened, Machine, TaskId};

const SEEDS: u64 = 100;

/// Plays a scene in many orders; no invariant may break in any.
fn play(cpus: usize, scene: impl Fn(&mut Machine)) {
    for seed in 0..SEEDS {
        let mut machine = Machine::new(cpus, seed);
        scene(&mut machine);
        machine.settle();
        assert_eq!(machine.first_violation(), None, "seed {seed}");
    }
}

/// A task of `prio`, woken on `cpu`.
fn run_on(machine: &mut Machine, prio: u8, cpu: usize) -> TaskId {
    let task = machine.task(prio, cpu);
    assert_eq!(machine.wake_on(task, cpu), Happened::Yes);
    machine.settle();
    task
}

/// A task of `prio` that may run on `cpus` only, woken on `cpu`.
fn run_bound(machine: &mut Machine, prio: u8, cpus: &[usize], cpu: usize) -> TaskId {
    let task = machine.task(prio, cpu);
    assert_eq!(machine.set_affinity(task, cpus), Happened::Yes);
    assert_eq!(machine.wake_on(task, cpu), Happened::Yes);
    machine.settle();
    task
}

/// The running `task` takes a guard.
fn hold(machine: &mut Machine, task: TaskId) {
    assert_eq!(machine.hold(task), Happened::Yes);
}

/// The running `task` drops a guard, and everybody settles.
fn release(machine: &mut Machine, task: TaskId) {
    assert_eq!(machine.release(task), Happened::Yes);
    machine.settle();
}

/// The running `task` blocks, and everybody settles.
fn block(machine: &mut Machine, task: TaskId) {
    assert_eq!(machine.block(task), Happened::Yes);
    machine.settle();
}

#[test]
fn s03_a_wake_below_the_current_task_goes_to_a_lower_cpu() {
    play(2, |m| {
        let (t60, t20) = (run_on(m, 60, 0), run_on(m, 20, 1));
        let woken = m.task(40, 0);
        let _ = m.wake(woken);
        m.settle();
        assert_eq!(m.running(), [Some(t60), Some(woken)]);
        assert_eq!(m.queued(1), [t20]);
    });
}

#[test]
fn s04_a_wake_above_the_current_task_stays_and_the_lower_task_moves() {
    play(2, |m| {
        let (t60, t20) = (run_on(m, 60, 0), run_on(m, 20, 1));
        let woken = m.task(80, 0);
        let _ = m.wake(woken);
        m.settle();
        assert_eq!(m.running(), [Some(woken), Some(t60)]);
        assert_eq!((m.queued(1), m.tally().migrations), (vec![t20], 1));
    });
}

#[test]
fn s05_a_wake_among_equals_waits_at_the_tail_and_nobody_moves() {
    play(3, |m| {
        let running: Vec<TaskId> = (0..3).map(|cpu| run_on(m, 50, cpu)).collect();
        let woken = m.task(50, 1);
        let _ = m.wake(woken);
        m.settle();
        assert_eq!(
            m.running(),
            running.iter().copied().map(Some).collect::<Vec<_>>()
        );
        assert_eq!((m.queued(1), m.tally().migrations), (vec![woken], 0));
        block(m, running[2]);
        assert_eq!(m.running_on(woken), Some(2));
    });
}

#[test]
fn s06_a_bound_equal_makes_a_free_one_move_to_a_lower_cpu() {
    play(2, |m| {
        let (free, low) = (run_on(m, 50, 0), run_on(m, 10, 1));
        let bound = run_bound(m, 50, &[0], 0);
        assert_eq!(m.running(), [Some(bound), Some(free)]);
        assert_eq!(m.queued(1), [low]);
    });
}

#[test]
fn s06_a_bound_equal_waits_if_no_cpu_is_lower() {
    play(2, |m| {
        let (free, other) = (run_on(m, 50, 0), run_on(m, 50, 1));
        let bound = run_bound(m, 50, &[0], 0);
        assert_eq!(m.running(), [Some(free), Some(other)]);
        block(m, free);
        assert_eq!((m.running_on(bound), m.tally().migrations), (Some(0), 0));
    });
}

#[test]
fn s07_a_cascade_of_wakes_on_one_cpu_spreads_to_all() {
    play(4, |m| {
        let _ = run_on(m, 60, 0);
        let low: Vec<TaskId> = (1..4).map(|cpu| run_on(m, cpu as u8 * 10, cpu)).collect();
        for prio in [90, 80, 70] {
            let task = m.task(prio, 0);
            let _ = m.wake_on(task, 0);
        }
        m.settle();
        assert_eq!(m.running_priorities(), [90, 80, 70, 60]);
        assert!(low.iter().all(|task| m.queued_on(*task).is_some()));
    });
}

#[test]
fn s12_the_task_above_a_stuck_one_makes_room_when_a_cpu_falls() {
    play(2, |m| {
        let t70 = run_on(m, 70, 1);
        let stuck = run_on(m, 50, 0);
        hold(m, stuck);
        let high = run_on(m, 80, 0);
        assert_eq!((m.running_on(high), m.queued_on(stuck)), (Some(0), Some(0)));
        block(m, t70);
        assert_eq!(m.running(), [Some(stuck), Some(high)]);
        assert_eq!(m.tally().pushed_away, 1);
    });
}

#[test]
fn s13_a_held_task_above_a_stuck_one_makes_room_when_it_drops_its_guard() {
    play(2, |m| {
        let t70 = run_on(m, 70, 1);
        let stuck = run_on(m, 50, 0);
        hold(m, stuck);
        let high = run_on(m, 80, 0);
        hold(m, high);
        hold(m, high);
        block(m, t70);
        assert_eq!(m.running(), [Some(high), None]);
        release(m, high);
        assert_eq!(m.running(), [Some(high), None]);
        release(m, high);
        assert_eq!(m.running(), [Some(stuck), Some(high)]);
    });
}

#[test]
fn s14_a_pile_of_held_tasks_is_drained_one_by_one() {
    play(4, |m| {
        let busy: Vec<TaskId> = (1..4).map(|cpu| run_on(m, 99, cpu)).collect();
        let pile: Vec<TaskId> = (1..=5)
            .map(|i| {
                let task = run_on(m, i * 10, 0);
                hold(m, task);
                task
            })
            .collect();
        busy.iter().for_each(|task| block(m, *task));
        assert_eq!(m.running_priorities(), [50]);
        release(m, pile[4]);
        assert_eq!(m.running_priorities(), [50, 40]);
        release(m, pile[3]);
        assert_eq!(m.running_priorities(), [50, 40, 30]);
        release(m, pile[2]);
        assert_eq!(m.running_priorities(), [50, 40, 30, 20]);
        release(m, pile[1]);
        assert_eq!((m.queued(0), m.tally().migrations), (vec![pile[0]], 3));
    });
}

#[test]
fn s15_nobody_moves_for_a_stuck_task_if_every_cpu_runs_more_than_it() {
    play(2, |m| {
        let x50 = run_on(m, 50, 1);
        let stuck = run_on(m, 20, 0);
        hold(m, stuck);
        let high = run_on(m, 90, 0);
        let _ = m.yield_now(high);
        m.settle();
        assert_eq!(m.running(), [Some(high), Some(x50)]);
        assert_eq!(m.tally().migrations, 0);
    });
}

#[test]
fn s16_a_held_task_does_not_hide_a_movable_one_behind_it() {
    play(2, |m| {
        let t70 = run_on(m, 70, 1);
        let stuck = run_on(m, 60, 0);
        hold(m, stuck);
        let high = run_on(m, 90, 0);
        hold(m, high);
        let movable = run_on(m, 40, 0);
        assert_eq!(m.queued(0), [stuck, movable]);
        block(m, t70);
        assert_eq!(m.running(), [Some(high), Some(movable)]);
        assert_eq!(m.queued(0), [stuck]);
    });
}

#[test]
fn s17_a_task_that_nobody_can_take_does_not_hide_the_next() {
    play(3, |m| {
        let (t90, t10, t85) = (run_on(m, 90, 0), run_on(m, 10, 1), run_on(m, 85, 2));
        let bounded = run_bound(m, 80, &[0, 2], 0);
        let free = run_on(m, 40, 0);
        assert_eq!(m.running(), [Some(t90), Some(free), Some(t85)]);
        assert_eq!((m.queued(0), m.queued(1)), (vec![bounded], vec![t10]));
    });
}

#[test]
fn s26_a_lowered_task_gives_way_to_the_most_urgent_anywhere() {
    play(2, |m| {
        let (lowered, t80) = (run_on(m, 70, 0), run_on(m, 80, 1));
        let (remote, local) = (run_on(m, 60, 1), run_on(m, 30, 0));
        let _ = m.set_priority(lowered, 20);
        m.settle();
        assert_eq!(m.running(), [Some(remote), Some(t80)]);
        assert_eq!(m.queued(0), [local, lowered]);
    });
}

#[test]
fn s26_a_queued_task_that_is_raised_preempts_the_lowest_cpu() {
    play(3, |m| {
        let (t80, t40, t60) = (run_on(m, 80, 0), run_on(m, 40, 1), run_on(m, 60, 2));
        let raised = run_on(m, 10, 0);
        let _ = m.set_priority(raised, 70);
        m.settle();
        assert_eq!(m.running(), [Some(t80), Some(raised), Some(t60)]);
        assert_eq!(m.queued_on(t40), Some(1));
    });
}

#[test]
fn s29_parallel_pushers_land_on_different_cpus() {
    play(4, |m| {
        let busy = [run_on(m, 60, 0), run_on(m, 60, 1)];
        let pushed = [m.task(50, 0), m.task(50, 1)];
        let _ = (m.wake_on(pushed[0], 0), m.wake_on(pushed[1], 1));
        m.settle();
        assert_eq!(m.running_priorities(), [60, 60, 50, 50]);
        assert_eq!(m.running()[..2], busy.map(Some));
        assert!(m.tally().migrations <= 4, "{:?}", m.tally());
    });
}

#[test]
fn s32_a_wake_goes_beside_a_held_task_and_makes_no_victim() {
    for other in [None, Some(10)] {
        play(2, |m| {
            if let Some(prio) = other {
                let _ = run_on(m, prio, 1);
            }
            let held = run_on(m, 50, 0);
            hold(m, held);
            let woken = m.task(80, 0);
            let _ = m.wake(woken);
            m.settle();
            assert_eq!(m.running(), [Some(held), Some(woken)]);
        });
    }
}

#[test]
fn s33_twice_as_many_equals_as_cpus_take_turns_where_they_are() {
    play(4, |m| {
        let tasks: Vec<TaskId> = (0..8).map(|i| run_on(m, 50, i % 4)).collect();
        let mut turns = [0; 8];
        for _ in 0..10 {
            for task in m.running().into_iter().flatten() {
                turns[tasks.iter().position(|t| *t == task).unwrap()] += 1;
                let _ = m.yield_now(task);
            }
            m.settle();
        }
        assert_eq!((turns, m.tally().migrations), ([5; 8], 0));
    });
}

#[test]
fn a_pull_whose_first_answer_an_affinity_narrowed_goes_on_to_the_best() {
    play(4, |m| {
        let busy: Vec<TaskId> = (0..4).map(|cpu| run_on(m, 99, cpu)).collect();
        let hidden_by = run_bound(m, 90, &[0, 2], 0);
        let (second, best) = (run_on(m, 70, 0), run_on(m, 85, 3));
        block(m, busy[1]);
        assert_eq!(m.running_on(best), Some(1));
        assert_eq!(m.queued_on(hidden_by), Some(0));
        assert!(m.queued_on(second).is_some());
    });
}

#[test]
fn a_task_raised_and_lowered_again_while_it_is_pulled_leaves_nobody_behind() {
    play(3, |m| {
        let busy: Vec<TaskId> = (0..3).map(|cpu| run_on(m, 90, cpu)).collect();
        let (pulled, other) = (run_on(m, 60, 0), run_on(m, 40, 2));
        let _ = m.block(busy[1]);
        let _ = m.set_priority(pulled, 20);
        m.settle();
        assert_eq!(m.running_on(other), Some(1));
    });
}
