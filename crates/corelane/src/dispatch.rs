//! Dispatching: a task that was picked gets a fiber and becomes the one that runs.

use corelane_sched::Node;

use crate::cpu::{Core, Cpu};
use crate::current::Fiber;
use crate::event::EventKind;
use crate::runtime::Shared;
use crate::task_body::{Body, Task};

/// The fiber the task is on, or a fresh one at its first run; `None` if there is none to be had.
pub(crate) fn fiber_for(
    shared: &Shared,
    cpu: &Cpu,
    stock: &mut Vec<&'static Fiber>,
    task: &Task,
) -> Option<&'static Fiber> {
    if let Some(fiber) = task.body.fiber() {
        return Some(fiber);
    }
    let fiber = shared.fibers.take(stock)?;
    task.body.set_fiber(fiber);
    cpu.stats.started.add_own();
    fiber.bind(task.clone());
    Some(fiber)
}

/// Whether a queued task can run at once: it has a fiber, or one is in stock.
pub(crate) fn can_start(core: &Core, task: &Node<Body>) -> bool {
    task.body.fiber().is_some() || !core.fibers.is_empty()
}

/// The task, which is current now, is about to run on `fiber`.
pub(crate) fn begin(cpu: &Cpu, task: &Task, fiber: &Fiber) {
    task.entity().state().dispatch();
    fiber.set_cpu(cpu.id);
    cpu.events.push(|| EventKind::Switch {
        task: task.body.id,
        priority: task.entity().prio().get(),
    });
}
