//! The worker: the role of executing a CPU's runqueue, and the carrier thread that holds it.
//!
//! ```text
//!            ┌────────────────────────────────────────────────────────┐
//!            ▼                                                        │
//!   pass: settle what ran ─► take letters ─► pull if lower ─► pick ─► resume the task's fiber
//!            ▲                                          │ nothing        (until it suspends)
//!            └────────────────── idle ◄─────────────────┘
//! ```
//!
//! A task tells by its [`crate::current::Intent`] why it suspended; the pass that follows runs on the carrier's own stack,
//! so the task's stack has been left before anybody can find it runnable (*leave before arrive*).
//!
//! The worker role is a field of the runqueue. One carrier per CPU exists so far and holds it for good; the
//! kernel-preemption protocol will pass it between carriers, which is why a pass asserts that it holds it.

use crate::primitives::atomic::Ordering::Relaxed;

use corelane_sched::{CarrierId, CpuId, Level};

use crate::cpu::Cpu;
use crate::current::Fiber;
use crate::native;
use crate::pass::{Next, Pass};
use crate::runtime::Shared;
use crate::slice;

/// A carrier thread that holds the worker role of a CPU.
pub(crate) struct Worker<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) cpu: &'a Cpu,
    pub(crate) carrier: CarrierId,
    pub(crate) idle: crate::idle::IdlePolicy,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(shared: &'a Shared, id: CpuId) -> Worker<'a> {
        let carrier = CarrierId(id.index() as u32);
        let cpu = shared.cpu(id);
        cpu.core.lock().rq.grant_role(carrier);
        Worker {
            shared,
            cpu,
            carrier,
            idle: crate::idle::IdlePolicy::new(shared.idle),
        }
    }

    /// Serves the CPU until the runtime stops.
    pub(crate) fn run(&mut self) {
        let (mut suspended, mut arrived) = (Suspended::Nobody, None);
        loop {
            match Pass::new(self).run(suspended, arrived.take()) {
                Next::Run(fiber) => {
                    self.cpu.stats.switches.add_own();
                    slice::begin(fiber);
                    fiber.resume(self.shared);
                    suspended = Suspended::Current;
                    continue;
                }
                Next::Idle if self.shared.is_stopping() => return self.leave(),
                Next::Idle => arrived = self.idle(),
            }
            suspended = Suspended::Nobody;
        }
    }

    /// Takes the CPU out of the domain: a task that was abandoned elsewhere, and goes on, stays there.
    fn leave(&self) {
        let mut core = self.cpu.core.lock();
        core.rq.set_rest(Level::INVALID);
        let _ = core.rq.publish(&self.shared.domain);
    }
}

/// Who came back to the carrier. It need not be whom the carrier resumed: tasks switch to one another
/// ([`crate::direct`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Suspended {
    /// Nobody ran.
    Nobody,
    /// The task that is current now.
    Current,
}

/// What a fiber that suspended leaves behind for its carrier once no lock is held.
pub(crate) enum Aftermath {
    Nothing,
    /// Send the fiber to its own kernel thread.
    Depart(&'static Fiber, crate::task_body::Task),
    /// Send the task to the housekeeping thread.
    Outside(crate::task_body::Task),
}

impl Aftermath {
    pub(crate) fn perform(self, shared: &Shared, cpu: &Cpu) {
        match self {
            Aftermath::Nothing => {}
            Aftermath::Depart(fiber, task) => native::depart(shared, cpu, fiber, task),
            Aftermath::Outside(task) => shared.housekeeping.leave(task),
        }
    }
}

/// Arms the timer of a waiting task, before it can be woken.
pub(crate) fn arm(
    core: &mut crate::cpu::Core,
    cpu: &Cpu,
    task: &crate::task_body::Task,
    deadline_ns: u64,
) {
    // Relaxed: published to the task with the state word.
    task.body.armed_on.store(cpu.id.index() as u32, Relaxed);
    core.timers.arm(task.clone(), deadline_ns);
}
