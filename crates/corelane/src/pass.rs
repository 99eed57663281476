//! One pass of the scheduler on one CPU: from "a task suspended" to "this one runs next".
//!
//! The order matters. What ran is settled first, on the carrier's stack. Then letters and timers, because
//! they may be more urgent than what ran. Then what ran is reviewed against all that. If the CPU became
//! less urgent it publishes that and looks for work elsewhere *with its own lock released*, so that a
//! worker never holds two. Then it picks, publishes, and gives away what it cannot run.
//!
//! Every choice is `corelane_sched`'s. Cost: one acquisition of the own lock, two if it pulls, one more for
//! every [`TIMERS_MAX`] timers that are due; no system call while it is held.

use crate::primitives::atomic::Ordering::*;

use crate::primitives::MutexGuard;
use corelane_os::clock;
use corelane_sched::{
    Arrival, CarrierId, Change, CpuId, CpuMask, Leftover, Letter, Level, Next as Placed, Place,
    Verdict, Wake, Why, change, leftover, pull, push_away, review, select_cpu,
};

use crate::balance::{self, Kicks};
use crate::cpu::{Core, Cpu};
use crate::current::{Fiber, Intent};
use crate::event::EventKind;
use crate::native;
use crate::runtime::Shared;
use crate::task_body::{NOT_ARMED, Task};
use crate::worker::{self, Aftermath, Suspended, Worker};
use crate::{arrival, dispatch, shutdown, slice, wake};

/// What the worker does after a pass.
pub(crate) enum Next {
    Run(&'static Fiber),
    Idle,
}

/// How many timers are expired before the lock is released for a moment. All that are due are expired before
/// the choice: they come by deadline, and the last may be the most urgent.
const TIMERS_MAX: usize = 64;

/// Whether timers may be left that are due.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    None,
    More,
}

pub(crate) struct Pass<'a> {
    shared: &'a Shared,
    cpu: &'a Cpu,
    carrier: CarrierId,
    kicks: Kicks,
    aftermath: Aftermath,
    ended: Option<dispatch::Retired>,
    /// The fiber of the current task, if it runs on.
    running: Option<&'static Fiber>,
    /// The growth thread must be told, once no lock is held.
    asks_for_fibers: bool,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(worker: &Worker<'a>) -> Pass<'a> {
        let (shared, cpu, carrier) = (worker.shared, worker.cpu, worker.carrier);
        Pass {
            shared,
            cpu,
            carrier,
            kicks: Kicks::default(),
            aftermath: Aftermath::Nothing,
            ended: None,
            running: None,
            asks_for_fibers: false,
        }
    }

    /// `arrived` is the task that came into the idle slot.
    pub(crate) fn run(mut self, suspended: Suspended, arrived: Option<(Task, Place)>) -> Next {
        let mut core = self.cpu.core.lock();
        assert_eq!(
            core.rq.worker(),
            Some(self.carrier),
            "a pass is made by the holder of the role"
        );
        self.clear_request();
        let why = match suspended {
            Suspended::Nobody => None,
            Suspended::Current => self.settle(&mut core),
        };
        core.rq.set_rest(self.rest()); // after settling, which may have set out a native part
        if let Some((task, place)) = arrived {
            self.cpu.stats.wakes_slot.add_own();
            self.arrive(&mut core, task, place);
        }
        self.collect(&mut core);
        while self.expire(&mut core) == Due::More {
            drop(core); // whoever wants it, a puller for instance, waits for no more than one batch
            core = self.cpu.core.lock();
        }
        if let Some(why) = why {
            self.review(&mut core, why);
        }
        let change = core.rq.publish(&self.shared.domain);
        if change == Change::Lowered || core.rq.current().is_none() && core.rq.queued() == 0 {
            core = self.pull(core);
        }
        self.asks_for_fibers = self.shared.fibers.share_stock(&mut core.fibers);
        let next = self.pick(&mut core);
        conclude(self.shared, self.cpu, &mut core, &mut self.kicks);
        self.cpu.show(&core);
        drop(core);
        self.kicks.perform(self.shared);
        if self.asks_for_fibers {
            self.shared.fibers.request();
            shutdown::discard_late(self.shared);
        }
        self.aftermath.perform(self.shared, self.cpu);
        next
    }

    /// What the CPU publishes when nothing real-time is runnable.
    fn rest(&self) -> Level {
        let background = self.shared.background.wants(self.cpu.id);
        let own = if background {
            Level::BACKGROUND
        } else {
            Level::IDLE
        };
        own.max(native::level(self.cpu))
    }

    fn clear_request(&self) {
        // Relaxed: a request that is missed here stays for the next safe point.
        if self.cpu.need_resched.load(Relaxed) {
            // AcqRel: pairs with the Release in `kick`: its letter is visible to `collect`. A swap, so
            // that the letters are read after the flag is down and none can fall in between.
            self.cpu.need_resched.swap(false, AcqRel);
        }
    }

    /// Does what the suspended fiber wanted. Returns why its task is to be reviewed, if it is still
    /// current.
    fn settle(&mut self, core: &mut Core) -> Option<Why> {
        let current = core
            .rq
            .current()
            .expect("the task that suspended is current");
        let fiber = current.body.fiber().expect("it ran on a fiber");
        slice::end(fiber);
        match fiber.intent() {
            Intent::Review(why) => {
                self.running = Some(fiber);
                return Some(why);
            }
            Intent::Wait { deadline_ns } => self.settle_wait(core, deadline_ns),
            Intent::Exit => self.settle_exit(core),
            Intent::Native => {
                let task = self.depart(core);
                native::set_out(self.cpu, &task);
                self.aftermath = Aftermath::Depart(fiber, task);
            }
            Intent::Outside => {
                let task = self.depart(core);
                task.entity().state().requeue();
                self.aftermath = Aftermath::Outside(task);
            }
            Intent::BackFromNative => unreachable!("a lender comes back through `come_back`"),
        }
        None
    }

    /// Takes off the task that goes on on an ordinary thread.
    fn depart(&self, core: &mut Core) -> Task {
        let task = take_current(core);
        self.cpu
            .events
            .push(|| EventKind::Depart { task: task.body.id });
        task
    }

    fn settle_wait(&mut self, core: &mut Core, deadline_ns: Option<u64>) {
        let task = take_current(core);
        if let Some(deadline_ns) = deadline_ns {
            worker::arm(core, self.cpu, &task, deadline_ns);
        }
        self.cpu
            .events
            .push(|| EventKind::Block { task: task.body.id });
        if let Some(task) = wake::commit_wait(task) {
            self.arrive(core, task, Place::Tail);
        }
    }

    fn settle_exit(&mut self, core: &mut Core) {
        let task = take_current(core);
        self.cpu
            .events
            .push(|| EventKind::Exit { task: task.body.id });
        self.ended = Some(dispatch::retire(self.shared, self.cpu, core, task));
    }

    /// Handles every letter, and changes whose letter may be held up.
    fn collect(&mut self, core: &mut Core) {
        // Relaxed, then Acquire: a flag that is missed is followed by a kick; pairs with `change::announce`.
        if self.cpu.refile.load(Relaxed) && self.cpu.refile.swap(false, AcqRel) {
            while let Some(task) = core.rq.misfiled() {
                let placed = change(&mut core.rq, &self.shared.domain, task);
                self.place(placed);
            }
        }
        for letter in self.cpu.inbox.take() {
            match letter {
                Letter::Arrival(task, place) => {
                    self.cpu.stats.wakes_inbox.add_own();
                    self.arrive(core, task, place);
                }
                Letter::Change(task) => {
                    let placed = change(&mut core.rq, &self.shared.domain, task);
                    self.place(placed);
                }
            }
        }
    }

    fn arrive(&mut self, core: &mut Core, task: Task, place: Place) {
        arrival::receive(self.shared, self.cpu, core, task, place, &mut self.kicks);
    }

    fn place(&mut self, placed: Placed<crate::task_body::Body>) {
        arrival::perform(self.shared, self.cpu, placed, &mut self.kicks);
    }

    fn send(&mut self, task: Task, place: Place, to: CpuId) {
        arrival::send(self.shared, self.cpu, task, place, to, &mut self.kicks);
    }

    /// Wakes the tasks whose deadline has passed, up to a number.
    fn expire(&mut self, core: &mut Core) -> Due {
        let Some(now_ns) = core.timers.next_deadline_ns().map(|_| clock::now_ns()) else {
            return Due::None;
        };
        for _ in 0..TIMERS_MAX {
            let Some(task) = core.timers.expire(now_ns) else {
                return Due::None;
            };
            // Relaxed: under the lock that the task takes to disarm.
            task.body.armed_on.store(NOT_ARMED, Relaxed);
            self.cpu.stats.timers.add_own();
            self.cpu
                .events
                .push(|| EventKind::Timer { task: task.body.id });
            if task.entity().state().wake() == Wake::Enqueue {
                self.wake_expired(core, wake::unparked(&task));
            }
        }
        Due::More
    }

    fn wake_expired(&mut self, core: &mut Core, task: Task) {
        match select_cpu(&self.shared.domain, task.entity()) {
            to if to == self.cpu.id => self.arrive(core, task, Place::Tail),
            to => self.send(task, Place::Tail, to),
        }
    }

    /// Decides about the task that is still current.
    fn review(&mut self, core: &mut Core, why: Why) {
        let entity = core.rq.current().expect("there is a current task").entity();
        if entity.held() == 0 {
            entity.attended();
        }
        let verdict = review(&core.rq, &self.shared.domain, why);
        if verdict == Verdict::Continue {
            return;
        }
        if let Verdict::MakeRoom(to) = verdict {
            return self.make_room(core, to);
        }
        entity.state().requeue();
        self.running = None;
        match verdict {
            Verdict::PutBack(place) => self.put_back(core, place),
            Verdict::Leave(to) => {
                let task = take_current(core);
                self.send(task, Place::Preempted, to);
            }
            Verdict::Continue | Verdict::MakeRoom(_) => unreachable!("handled above"),
        }
    }

    fn put_back(&mut self, core: &mut Core, place: Place) {
        let (id, priority) = core
            .rq
            .current()
            .map_or((0, 0), |task| (task.body.id, task.entity().prio().get()));
        if place == Place::Preempted {
            self.cpu.stats.preemptions.add_own();
            self.cpu
                .events
                .push(|| EventKind::Preempt { task: id, priority });
        } else {
            self.cpu
                .events
                .push(|| EventKind::Yield { task: id, priority });
        }
        if let Arrival::Elsewhere(task) = core.rq.put_prev(place) {
            let to = select_cpu(&self.shared.domain, task.entity());
            self.send(task, place, to);
        }
    }

    fn make_room(&mut self, core: &mut Core, to: CpuId) {
        match push_away::commit(&mut core.rq, &self.shared.domain, to) {
            push_away::Outcome::Moved(task, to) => {
                task.entity().state().requeue();
                self.running = None;
                self.cpu.stats.pushed_away.add_own();
                self.send(task, Place::Preempted, to);
            }
            push_away::Outcome::Stale => self.cpu.stats.stale.add_own(),
        }
    }

    /// Looks for more urgent work elsewhere, with the own lock released; again after each find, because
    /// affinity may have kept the best from coming first. Each find is more urgent than the one before.
    fn pull(&mut self, mut core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
        let (shared, cpu) = (self.shared, self.cpu);
        core.rq.pull_begins();
        loop {
            // What was published, not what is true by now: only a published level is seen by pushers.
            let my_level = shared.domain.cpupri.level(cpu.id);
            let plan = pull::plan(&shared.domain, cpu.id, my_level, &core.tried);
            let Some(plan) = plan else { break };
            let mut tried = core::mem::replace(&mut core.tried, CpuMask::empty(0));
            drop(core);
            let pulled = balance::pull(shared, cpu, my_level, plan, &mut tried, &mut self.kicks);
            core = cpu.core.lock();
            core.tried = tried;
            let Some(task) = pulled else { break };
            self.arrive(&mut core, task, Place::Keep);
            if core.rq.current().is_some() && core.rq.must_switch() {
                self.review(&mut core, Why::Asked);
            }
            let _ = core.rq.publish(&shared.domain);
        }
        core.tried.clear();
        core
    }

    /// Chooses what runs next; a task without a fiber is put aside.
    fn pick(&mut self, core: &mut Core) -> Next {
        if let Some(fiber) = self.running.take() {
            return Next::Run(fiber);
        }
        loop {
            let Core { rq, fibers, .. } = core;
            let Some(task) = rq.pick_next() else {
                self.cpu.events.push(|| EventKind::Idle);
                return Next::Idle;
            };
            if let Some(fiber) = dispatch::fiber_for(self.shared, self.cpu, fibers, task) {
                dispatch::begin(self.cpu, task, fiber);
                return Next::Run(fiber);
            }
            let task = take_current(core);
            self.cpu.stats.no_fiber.add_own();
            self.cpu
                .events
                .push(|| EventKind::NoFiber { task: task.body.id });
            self.shared.fibers.starve(task);
            self.asks_for_fibers = true;
        }
    }
}

/// What comes after every choice of the next task, but one between equals: publishes, gives away what the
/// CPU cannot run, and asks whether anything is left to do. Under the own lock.
///
/// What is left waits for the current task's next safe point, here as well as after a switch without the
/// carrier ([`crate::direct`]): it comes from another CPU that became less urgent while this one was choosing,
/// and had it done so an instant later, the task would be running already and be asked in the same way. What
/// this CPU itself made runnable does not wait ([`crate::direct::Finished::TooEarly`]).
pub(crate) fn conclude(shared: &Shared, cpu: &Cpu, core: &mut Core, kicks: &mut Kicks) {
    let _ = core.rq.publish(&shared.domain);
    balance::push(shared, core, cpu, kicks);
    if leftover(&core.rq, &shared.domain) == Leftover::LookAgain {
        cpu.need_resched.store(true, Relaxed); // Relaxed: own CPU.
    }
}

fn take_current(core: &mut Core) -> Task {
    core.rq
        .take_current()
        .expect("the task that suspended is current")
}
