//! The background class: tasks below every real-time task, on ordinary threads.
//!
//! Work that may take any time must not stand in a real-time queue, not even at the lowest priority: a
//! FIFO thread that computes starves the host. Each CPU has one carrier of the ordinary scheduling class,
//! its *lane*. The kernel preempts it for the worker, shares the CPU fairly between it and the rest of the
//! host, and lanes with nothing to do steal from the others.
//!
//! Stealing goes through `crossbeam-deque`'s stealers for what a lane has queued, and takes the whole
//! inbox of a lane that has not come to run, because its CPU is busy with real-time work. The deque's own
//! injector is not used: it spins on another thread's progress.
//!
//! A background task is a task in all other respects: it waits, sleeps, joins and holds guards.

use crate::primitives::atomic::{AtomicBool, Ordering::*, fence};
use std::collections::VecDeque;
use std::sync::OnceLock;

use crate::primitives::{Mutex, futex};
use corelane_os::clock;
use corelane_sched::{CpuId, IdleWord, Inbox, Kick, Letter, Level, Place, TimerQueue, Wake};
use crossbeam_deque::{Steal, Stealer, Worker as Deque};

use crate::current::{Fiber, Intent};
use crate::runtime::Shared;
use crate::task_body::{Body, NOT_ARMED, Task};
use crate::{native, shutdown, wake};

/// What the background carriers share.
pub(crate) struct Background {
    lanes: Box<[Lane]>,
    stopping: AtomicBool,
}

struct Lane {
    inbox: Inbox<Body>,
    idle: IdleWord,
    /// It has work, or is about to look: its CPU's worker should not spin.
    busy: AtomicBool,
    timers: Mutex<TimerQueue<Body>>,
    stealer: OnceLock<Stealer<Task>>,
}

impl Background {
    pub(crate) fn new(cpus: usize) -> Background {
        let lane = |_| Lane {
            inbox: Inbox::new(),
            idle: IdleWord::new(),
            busy: AtomicBool::new(false),
            timers: Mutex::new(TimerQueue::new()),
            stealer: OnceLock::new(),
        };
        Background {
            lanes: (0..cpus).map(lane).collect(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Whether the lane of `cpu` has work, so that its worker should sleep rather than spin.
    pub(crate) fn wants(&self, cpu: CpuId) -> bool {
        self.lanes[cpu.index()].busy.load(Relaxed) // Relaxed: advice.
    }

    pub(crate) fn disarm(&self, task: &Task, cpu: CpuId) {
        self.lanes[cpu.index()].timers.lock().disarm(task);
    }

    /// Makes the lanes return once they have nothing to run.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Release); // Release: pairs with the Acquire in `serve`.
        self.lanes.iter().for_each(Lane::kick);
    }

    /// Takes what the lanes have queued, for a runtime that ends.
    pub(crate) fn take_queued(&self) -> Vec<Task> {
        let arrival = |letter| match letter {
            Letter::Arrival(task, _) => Some(task),
            Letter::Change(_) => None,
        };
        let mut tasks = Vec::new();
        for lane in &self.lanes {
            tasks.extend(lane.inbox.take().filter_map(arrival));
            tasks.extend(core::iter::from_fn(|| {
                lane.stealer.get().and_then(steal_one)
            }));
        }
        tasks
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire) // Acquire: pairs with `stop`.
    }
}

impl Lane {
    fn kick(&self) {
        if self.idle.kick() == Kick::WakeSleeper {
            futex::wake(self.idle.word(), 1);
        }
    }

    fn is_asleep(&self) -> bool {
        self.idle.word().load(Relaxed) == IdleWord::PARKED // Relaxed: advice.
    }
}

/// Puts a runnable background task into a lane. Touches no thread-local.
pub(crate) fn enqueue(task: Task) {
    let shared = task.body.shared.clone();
    let lane = &shared.background.lanes[choose(&shared, &task)];
    let held = task.entity().held();
    lane.inbox.leave_arrival(task, Place::Tail);
    lane.busy.store(true, Relaxed); // Relaxed: advice; the kick orders the letter.
    lane.kick();
    // A lane that went to sleep after it was passed over has looked for work after saying so: either it
    // saw the letter, or it is seen here. The kick has fenced.
    if !lane.is_asleep() && held == 0 {
        wake_a_thief(&shared);
    }
}

/// Wakes a lane that could run what another cannot run at once.
fn wake_a_thief(shared: &Shared) {
    if let Some(lane) = shared.background.lanes.iter().find(|lane| lane.is_asleep()) {
        lane.kick();
    }
}

/// Its last lane if that sleeps on a CPU without real-time work (or the task must stay), else such a
/// lane, else its last.
fn choose(shared: &Shared, task: &Task) -> usize {
    let last = task.entity().last_cpu().index();
    if task.entity().held() > 0 {
        return last;
    }
    let lanes = &shared.background.lanes;
    let is_free = |lane: &usize| {
        lanes[*lane].is_asleep()
            && shared.domain.cpupri.level(CpuId::new(*lane)) <= Level::BACKGROUND
    };
    (0..lanes.len())
        .map(|step| (last + step) % lanes.len())
        .find(is_free)
        .unwrap_or(last)
}

/// The carrier of one lane.
pub(crate) struct LaneCarrier<'a> {
    shared: &'a Shared,
    cpu: CpuId,
    lane: &'a Lane,
    deque: Deque<Task>,
    /// Tasks that hold a guard: nobody may steal them.
    held: VecDeque<Task>,
    /// Whose turn it was.
    held_first: bool,
}

/// How often a steal is tried again while others interfere.
const STEALS_MAX: usize = 4;

impl<'a> LaneCarrier<'a> {
    pub(crate) fn new(shared: &'a Shared, cpu: CpuId) -> LaneCarrier<'a> {
        let lane = &shared.background.lanes[cpu.index()];
        let deque = Deque::new_fifo();
        assert!(
            lane.stealer.set(deque.stealer()).is_ok(),
            "a lane has one carrier"
        );
        LaneCarrier {
            shared,
            cpu,
            lane,
            deque,
            held: VecDeque::new(),
            held_first: false,
        }
    }

    /// Serves the lane until the runtime stops.
    pub(crate) fn serve(&mut self) {
        loop {
            self.collect();
            match self.next() {
                Some(task) => self.run(task),
                None if self.shared.background.is_stopping() => return,
                None => {
                    if let Some(task) = self.park() {
                        self.run(task);
                    }
                }
            }
        }
    }

    fn collect(&mut self) {
        for letter in self.lane.inbox.take() {
            if let Letter::Arrival(task, _) = letter {
                self.queue(task);
            }
        }
        let now_ns = clock::now_ns();
        while let Some(task) = self.expire(now_ns) {
            self.queue(task);
        }
        if self.deque.len() + self.held.len() > 1 && !self.deque.is_empty() {
            fence(SeqCst); // pairs with the fence in `announce`: a thief that missed the deque is seen asleep
            wake_a_thief(self.shared);
        }
    }

    /// A task whose deadline has passed and that was still asleep.
    fn expire(&self, now_ns: u64) -> Option<Task> {
        let mut timers = self.lane.timers.lock();
        loop {
            let task = timers.expire(now_ns)?;
            task.body.armed_on.store(NOT_ARMED, Relaxed); // Relaxed: under the lock of the queue.
            if task.entity().state().wake() == Wake::Enqueue {
                return Some(wake::unparked(&task));
            }
        }
    }

    fn queue(&mut self, task: Task) {
        if task.entity().held() > 0 {
            self.held.push_back(task)
        } else {
            self.deque.push(task)
        }
    }

    fn next(&mut self) -> Option<Task> {
        // In turns: a held task that yields must not keep the others from running.
        self.held_first = !self.held_first;
        let first = self.held_first.then(|| self.held.pop_front()).flatten();
        first
            .or_else(|| self.deque.pop())
            .or_else(|| self.held.pop_front())
            .or_else(|| self.steal())
    }

    fn steal(&mut self) -> Option<Task> {
        let lanes: &'a [Lane] = &self.shared.background.lanes;
        let own = self.cpu.index();
        for other in (1..lanes.len()).map(|step| &lanes[(own + step) % lanes.len()]) {
            if let Some(task) = other.stealer.get().and_then(steal_one) {
                return Some(task);
            }
            self.take_letters(other);
            if let Some(task) = self.deque.pop() {
                return Some(task);
            }
        }
        None
    }

    /// Takes over the letters of a lane that has not come to read them.
    fn take_letters(&mut self, other: &Lane) {
        if other.is_asleep() {
            return;
        }
        for letter in other.inbox.take() {
            let Letter::Arrival(task, place) = letter else {
                continue;
            };
            if task.entity().held() > 0 {
                other.inbox.leave_arrival(task, place);
                other.kick();
            } else {
                self.deque.push(task);
            }
        }
    }

    /// Sleeps until there may be something to do. Looks at the other lanes once more after saying so: a
    /// task may have been left with a busy lane because this one was still awake.
    fn park(&mut self) -> Option<Task> {
        self.lane.busy.store(false, Relaxed); // Relaxed: advice to the worker.
        self.lane.idle.announce();
        let deadline_ns = self.lane.timers.lock().next_deadline_ns();
        let mut stolen = None;
        if self.lane.inbox.is_empty() && !self.shared.background.is_stopping() {
            stolen = self.steal();
            if stolen.is_none() {
                let _ = futex::wait(self.lane.idle.word(), IdleWord::PARKED, deadline_ns);
            }
        }
        self.lane.idle.awake();
        self.lane.busy.store(true, Relaxed); // Relaxed: as above.
        stolen
    }

    fn run(&mut self, task: Task) {
        let fiber = match task.body.fiber() {
            Some(fiber) => fiber,
            None => match self.shared.fibers.take_shared() {
                Some(fiber) => {
                    task.body.set_fiber(fiber);
                    fiber.bind(task.clone());
                    fiber
                }
                None => {
                    self.shared.fibers.starve(task);
                    self.shared.fibers.request();
                    return shutdown::discard_late(self.shared);
                }
            },
        };
        task.entity().adopt(self.cpu);
        task.entity().state().dispatch();
        fiber.set_cpu(self.cpu);
        fiber.resume(self.shared);
        self.settle(fiber, task);
    }

    /// Does what the suspended fiber wanted.
    fn settle(&mut self, fiber: &'static Fiber, task: Task) {
        match fiber.intent() {
            Intent::Review(_) => {
                task.entity().state().requeue();
                self.queue(task);
            }
            Intent::Wait { deadline_ns } => self.settle_wait(task, deadline_ns),
            Intent::Native => native::depart(self.shared, self.shared.cpu(self.cpu), fiber, task),
            Intent::Outside => {
                task.entity().state().requeue();
                self.shared.housekeeping.leave(task);
            }
            Intent::Exit => {
                let _ = task.entity().state().finish();
                drop(fiber.unbind());
                let ended = fiber.ended();
                self.shared.fibers.give_back(fiber);
                drop(task);
                self.shared.ended_outside(ended);
            }
            Intent::BackFromNative => unreachable!("a lender comes back through `come_back`"),
        }
    }

    fn settle_wait(&mut self, task: Task, deadline_ns: Option<u64>) {
        if let Some(deadline_ns) = deadline_ns {
            // Relaxed: published to the task with the state word.
            task.body.armed_on.store(self.cpu.index() as u32, Relaxed);
            self.lane.timers.lock().arm(task.clone(), deadline_ns);
        }
        if let Some(task) = wake::commit_wait(task) {
            self.queue(task);
        }
    }
}

fn steal_one(stealer: &Stealer<Task>) -> Option<Task> {
    for _ in 0..STEALS_MAX {
        match stealer.steal() {
            Steal::Success(task) => return Some(task),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
    None
}
