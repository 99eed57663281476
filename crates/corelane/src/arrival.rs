//! Arrival: a runnable task has come to this CPU and is queued, or sent on.
//!
//! It was woken by a task here, came by letter, its deadline passed, or it was woken while it was leaving.
//! The decision is `corelane_sched::arrive`'s; here it is performed and recorded, for all of them alike.

use corelane_sched::{CpuId, Next, Place, arrive};

use crate::balance::{self, Kicks};
use crate::cpu::{Core, Cpu};
use crate::event::EventKind;
use crate::runtime::Shared;
use crate::task_body::{Body, Task};

/// Queues `task` here, or sends it on. The caller holds the own lock and performs the kicks after.
pub(crate) fn receive(
    shared: &Shared,
    cpu: &Cpu,
    core: &mut Core,
    task: Task,
    place: Place,
    kicks: &mut Kicks,
) {
    let (id, priority) = (task.body.id, task.entity().prio().get());
    let placed = arrive(&mut core.rq, &shared.domain, task, place);
    if matches!(placed, Next::Done) {
        cpu.events.push(|| EventKind::Wake { task: id, priority });
    }
    perform(shared, cpu, placed, kicks);
}

/// Does what was decided about a task or a letter.
pub(crate) fn perform(shared: &Shared, cpu: &Cpu, placed: Next<Body>, kicks: &mut Kicks) {
    match placed {
        Next::Done => {}
        Next::Send(task, place, to) => send(shared, cpu, task, place, to, kicks),
        Next::Forward(task, to) => {
            if shared.cpu(to).inbox.leave_change(&task) {
                kicks.add(to);
            }
        }
    }
}

/// Sends a task to another CPU.
pub(crate) fn send(
    shared: &Shared,
    cpu: &Cpu,
    task: Task,
    place: Place,
    to: CpuId,
    kicks: &mut Kicks,
) {
    let id = task.body.id;
    cpu.events.push(|| EventKind::Migrate {
        task: id,
        to: to.index() as u16,
    });
    balance::send_later(shared, task, place, to, kicks);
}
