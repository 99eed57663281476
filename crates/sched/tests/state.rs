//! Every interleaving of a task that waits, its carrier and its wakers.
//!
//! A schedule is a list of who steps next. All schedules are tried, each from the beginning: the set of
//! actors that can still step after a prefix says how the prefix can go on.

use corelane_sched::{Commit, Finish, StateWord, TaskPhase, Wait, Wake};

/// What the one CPU does next for the task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CpuStep {
    /// Resume the task, once it is enqueued.
    Dispatch,
    /// The task looks at its conditions.
    Check,
    /// It announces that it waits.
    BeginWait,
    /// Its carrier has left the stack.
    CommitWait,
    /// It gives way between two looks.
    Yield,
    Finished,
}

/// A waker sets its own condition, then wakes, then enqueues if it won.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WakerStep {
    Set,
    Wake,
    Enqueue,
    Done,
}

struct World {
    word: StateWord,
    conditions: Vec<bool>,
    cpu: CpuStep,
    wakers: Vec<WakerStep>,
    /// How many times the task is in a queue; more than one is a broken task.
    enqueued: usize,
    yields_left: usize,
    is_on_stack: bool,
}

impl World {
    fn new(wakers: usize, yields: usize) -> World {
        World {
            word: StateWord::new(),
            conditions: vec![false; wakers],
            cpu: CpuStep::Dispatch,
            wakers: vec![WakerStep::Set; wakers],
            enqueued: 1,
            yields_left: yields,
            is_on_stack: false,
        }
    }

    /// Actor 0 is the CPU, the others are wakers.
    fn can_step(&self, actor: usize) -> bool {
        match actor.checked_sub(1) {
            Some(waker) => self.wakers[waker] != WakerStep::Done,
            None if self.cpu == CpuStep::Dispatch => self.enqueued > 0,
            None => self.cpu != CpuStep::Finished,
        }
    }

    fn step(&mut self, actor: usize) {
        match actor.checked_sub(1) {
            Some(waker) => self.step_waker(waker),
            None => self.cpu = self.step_cpu(),
        }
        assert!(self.enqueued <= 1, "a task is enqueued once");
    }

    fn step_waker(&mut self, waker: usize) {
        self.wakers[waker] = match self.wakers[waker] {
            WakerStep::Set => {
                self.conditions[waker] = true;
                WakerStep::Wake
            }
            WakerStep::Wake => match self.word.wake() {
                Wake::Enqueue => WakerStep::Enqueue,
                Wake::Recorded => WakerStep::Done,
                Wake::TooLate => {
                    assert_eq!(self.cpu, CpuStep::Finished);
                    WakerStep::Done
                }
            },
            WakerStep::Enqueue => {
                self.enqueued += 1;
                WakerStep::Done
            }
            WakerStep::Done => unreachable!("a waker that is done cannot step"),
        };
    }

    fn step_cpu(&mut self) -> CpuStep {
        match self.cpu {
            CpuStep::Dispatch => {
                assert!(
                    !self.is_on_stack,
                    "a stack is resumed by one carrier at a time"
                );
                self.enqueued -= 1;
                self.word.dispatch();
                self.is_on_stack = true;
                CpuStep::Check
            }
            CpuStep::Check if self.conditions.iter().all(|condition| *condition) => {
                assert_eq!(self.word.finish(), Finish::Finished);
                CpuStep::Finished
            }
            CpuStep::Check if self.yields_left > 0 => CpuStep::Yield,
            CpuStep::Check => CpuStep::BeginWait,
            CpuStep::Yield => {
                self.yields_left -= 1;
                self.is_on_stack = false;
                self.word.requeue();
                self.enqueued += 1;
                CpuStep::Dispatch
            }
            CpuStep::BeginWait => match self.word.begin_wait() {
                Wait::Woken => CpuStep::Check,
                Wait::Leave => CpuStep::CommitWait,
            },
            CpuStep::CommitWait => {
                self.is_on_stack = false;
                if self.word.commit_wait() == Commit::Enqueue {
                    self.enqueued += 1;
                }
                CpuStep::Dispatch
            }
            CpuStep::Finished => unreachable!("a task that is done cannot step"),
        }
    }
}

/// Runs every schedule and returns how many there were.
fn explore(wakers: usize, yields: usize) -> u64 {
    let mut complete = 0;
    let mut prefixes = vec![Vec::<usize>::new()];
    while let Some(prefix) = prefixes.pop() {
        let mut world = World::new(wakers, yields);
        prefix.iter().for_each(|actor| world.step(*actor));
        let next: Vec<usize> = (0..=wakers)
            .filter(|actor| world.can_step(*actor))
            .collect();
        if next.is_empty() {
            assert_eq!(
                world.cpu,
                CpuStep::Finished,
                "nobody can step, the task sleeps: {prefix:?}"
            );
            assert_eq!(world.word.phase(), TaskPhase::Done);
            complete += 1;
        }
        prefixes.extend(
            next.into_iter()
                .map(|actor| [&prefix[..], &[actor]].concat()),
        );
    }
    complete
}

// The counts are those of the model: a schedule more or less means that it changed.

#[test]
fn no_schedule_of_one_waker_loses_the_wake() {
    assert_eq!(explore(1, 0), 11);
}

#[test]
fn no_schedule_of_one_waker_and_a_yielding_task_loses_the_wake() {
    assert_eq!(explore(1, 2), 29);
}

#[test]
fn no_schedule_of_two_wakers_loses_a_wake_or_enqueues_twice() {
    assert_eq!(explore(2, 0), 808);
}

#[test]
fn no_schedule_of_two_wakers_and_a_yielding_task_loses_a_wake_or_enqueues_twice() {
    assert_eq!(explore(2, 2), 4_006);
}
