//! Tasks on their way to a CPU: leaving, kicking, arriving.
//!
//! Nobody takes another CPU's lock to give it a task. It goes into the idle slot if that CPU polls, else
//! into the inbox; then the flag is set and a sleeper woken. Each of these is a step of its own in an
//! errand, and the kicks are steps of their own in a pass.

use corelane_sched::{Kick, Level, Next, Offer, Place, arrive};

use crate::Sabotage;
use crate::cpu::{KickStage, Phase, Task};
use crate::ledger::Spot;
use crate::machine::Machine;
use crate::stream::What;

/// Whether the target must be told.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    InSlot,
    InInbox,
}

impl Machine {
    /// Leaves a task that is in somebody's hand for CPU `to`.
    pub(crate) fn leave(&mut self, task: Task, place: Place, to: usize) -> Left {
        let id = task.body;
        let left = match self.cpus[to].slot.offer(task, place) {
            Offer::Taken => {
                self.hand_over(id, Spot::Hand, Spot::Slot(to));
                Left::InSlot
            }
            Offer::Refused(task) => {
                self.hand_over(id, Spot::Hand, Spot::Inbox(to));
                self.cpus[to].inbox.leave_arrival(task, place);
                Left::InInbox
            }
        };
        self.refresh(to);
        left
    }

    /// Tells later wakers that `to` is about to be taken; an idle CPU keeps looking idle.
    pub(crate) fn raise(&mut self, to: usize, level: Level) {
        let cpu = self.cpus[to].id;
        if self.domain.cpupri.level(cpu) > Level::BACKGROUND {
            self.domain.cpupri.raise(cpu, level);
        }
    }

    /// Sends a task on from within a pass of `from`; the kick waits for the end of the pass.
    pub(crate) fn send(&mut self, from: usize, task: Task, place: Place, to: usize) {
        let level = task.entity().level();
        self.seen(from, task.body, What::Migrate { to });
        if self.leave(task, place, to) == Left::InInbox {
            self.raise(to, level);
            self.kick_later(from, to);
        }
    }

    pub(crate) fn kick_later(&mut self, from: usize, to: usize) {
        if !self.cpus[from].kicks.contains(&to) {
            self.cpus[from].kicks.push(to);
        }
    }

    /// Takes one step of kicking `to`; says which is next, if any.
    pub(crate) fn kick(
        &mut self,
        by: Option<usize>,
        to: usize,
        stage: KickStage,
    ) -> Option<KickStage> {
        if self.sabotage == Sabotage::NoKick {
            return None;
        }
        match stage {
            KickStage::Flag => {
                let was_down = !core::mem::replace(&mut self.cpus[to].need_resched, true);
                self.tally.requests += u64::from(was_down && by != Some(to));
                self.refresh(to);
                Some(KickStage::Wake)
            }
            KickStage::Wake => {
                let must_wake = self.cpus[to].idle.kick() == Kick::WakeSleeper;
                if must_wake && matches!(self.cpus[to].phase, Phase::Asleep) {
                    self.enter(to, Phase::Waking);
                }
                None
            }
        }
    }

    /// Queues a task that is in the hand of CPU `cpu`, or sends it on.
    pub(crate) fn arrive(&mut self, cpu: usize, task: Task, place: Place) {
        let id = task.body;
        match arrive(&mut self.cpus[cpu].rq, &self.domain, task, place) {
            Next::Done => {
                self.hand_over(id, Spot::Hand, Spot::Queued(cpu));
                let prio = self.ledger.get(id).prio;
                self.seen(cpu, id, What::Wake { prio });
            }
            Next::Send(task, place, to) => {
                self.tally.migrations += 1;
                self.send(cpu, task, place, to.index());
            }
            Next::Forward(..) => unreachable!("only a change is forwarded"),
        }
    }
}
