//! The micro-steps of one pass of the scheduler on one CPU.
//!
//! The order is the runtime's: settle what ran, collect letters, review, publish; pull with the own lock
//! released; pick and publish; push; kick. Pulling and pushing are in `balancing.rs`. Each function that
//! returns a phase is one micro-step, and the phase is the next.

use corelane_sched::{
    Arrival, Change, Commit, Leftover, Letter, Next, Place, Verdict, Why, change, leftover,
    push_away, review, select_cpu,
};

use crate::Sabotage;
use crate::cpu::{Intent, KickStage, Patience, Phase, Search, Task};
use crate::ledger::{Spot, TaskId};
use crate::machine::Machine;
use crate::stream::What;

impl Machine {
    /// Takes the next micro-step of `cpu`.
    pub(crate) fn advance(&mut self, cpu: usize) {
        let phase = core::mem::replace(&mut self.cpus[cpu].phase, Phase::Stepping);
        let (what, next) = match phase {
            Phase::Running => (0, Phase::Entering(Intent::Review(Why::Asked))),
            Phase::Entering(intent) => (1, self.clear_request(cpu, intent)),
            Phase::Settling(intent) => (2, self.settle_pass(cpu, intent)),
            Phase::Planning(search) => (3, self.plan_pull(cpu, search)),
            Phase::Pulling(search, plan, taken) => (4, self.commit_pull(cpu, search, plan, taken)),
            Phase::Receiving(search, task) => (5, self.receive(cpu, search, task)),
            Phase::Picking => (6, self.pick(cpu)),
            Phase::PushPlanning => (7, self.plan_push(cpu)),
            Phase::Pushing(plan) => (8, self.commit_push(cpu, plan)),
            Phase::Finishing => (9, self.finish_pass(cpu)),
            Phase::Polling(_) => (10, self.stop_polling(cpu)),
            Phase::Announcing => (11, self.announce(cpu)),
            Phase::Looking => (12, self.look_again(cpu)),
            Phase::Waking => (13, self.awake(cpu)),
            Phase::Asleep | Phase::Stepping => unreachable!("such a CPU cannot step"),
        };
        let current = self.cpus[cpu].rq.current();
        let detail = current.map_or(u64::MAX, |task| u64::from(task.body.0));
        self.note(cpu, what, detail);
        self.enter(cpu, next);
    }

    fn clear_request(&mut self, cpu: usize, intent: Intent) -> Phase {
        if matches!(intent, Intent::Review(Why::Yield)) && self.take_turns(cpu) {
            return Phase::Running;
        }
        self.cpus[cpu].need_resched = false;
        Phase::Settling(intent)
    }

    fn settle_pass(&mut self, cpu: usize, intent: Intent) -> Phase {
        let mut why = None;
        match intent {
            Intent::Review(asked) => why = Some(asked),
            Intent::Wait => self.settle_wait(cpu),
            Intent::Exit => self.settle_exit(cpu),
            Intent::Idle(Some((task, place))) => self.arrive(cpu, task, place),
            Intent::Idle(None) => {}
        }
        self.collect(cpu);
        if let Some(why) = why {
            self.review(cpu, why);
        }
        let core = &mut self.cpus[cpu];
        let change = core.rq.publish(&self.domain);
        let is_idle = core.rq.current().is_none() && core.rq.queued() == 0;
        if change != Change::Lowered && !is_idle {
            return Phase::Picking;
        }
        core.rq.pull_begins();
        if self.sabotage == Sabotage::NoPullAfterLowering {
            return Phase::Picking;
        }
        let level = core.rq.top();
        let tried = corelane_sched::CpuMask::empty(self.cpus.len());
        Phase::Planning(Search { level, tried })
    }

    /// An exchange of equals without a pass, as the runtime's tasks make it among themselves: nothing is
    /// published, pushed or pulled.
    fn take_turns(&mut self, cpu: usize) -> bool {
        let core = &mut self.cpus[cpu];
        let has_news = core.has_news() || core.rq.owes_pull();
        let has_turn = match self.sabotage {
            Sabotage::TurnOfUnequals => core.rq.has_peer(),
            _ => core.rq.turn().is_some(),
        };
        if has_news || !has_turn {
            return false;
        }
        let last = core.rq.current().expect("it gives way").clone();
        last.entity().state().requeue();
        let next = core.rq.switch(Place::Tail).clone();
        next.entity().state().dispatch();
        let prio = self.ledger.get(last.body).prio;
        self.seen(cpu, last.body, What::Yield { prio });
        self.hand_over(last.body, Spot::Current(cpu), Spot::Queued(cpu));
        self.dispatched(cpu, next.body);
        self.tally.turns += 1;
        true
    }

    fn settle_wait(&mut self, cpu: usize) {
        let task = self.take_current(cpu);
        self.ledger.get_mut(task.body).leaves = false;
        self.seen(cpu, task.body, What::Block);
        match task.entity().state().commit_wait() {
            Commit::Parked => self.hand_over(task.body, Spot::Hand, Spot::Waiting),
            Commit::Enqueue if self.sabotage == Sabotage::NoLateWake => {}
            Commit::Enqueue => self.arrive(cpu, task, Place::Tail),
        }
    }

    fn settle_exit(&mut self, cpu: usize) {
        let task = self.take_current(cpu);
        let _ = task.entity().state().finish();
        self.seen(cpu, task.body, What::Exit);
        self.hand_over(task.body, Spot::Hand, Spot::Gone);
    }

    fn take_current(&mut self, cpu: usize) -> Task {
        let task = self.cpus[cpu]
            .rq
            .take_current()
            .expect("the task that suspended is current");
        self.hand_over(task.body, Spot::Current(cpu), Spot::Hand);
        task
    }

    /// Handles every letter.
    fn collect(&mut self, cpu: usize) {
        let letters: Vec<Letter<TaskId>> = self.cpus[cpu].inbox.take().collect();
        for letter in letters {
            match letter {
                Letter::Arrival(task, place) => {
                    self.hand_over(task.body, Spot::Inbox(cpu), Spot::Hand);
                    self.arrive(cpu, task, place);
                }
                Letter::Change(task) => self.apply_change(cpu, task),
            }
        }
    }

    fn apply_change(&mut self, cpu: usize, task: Task) {
        match change(&mut self.cpus[cpu].rq, &self.domain, task) {
            Next::Done => {}
            Next::Send(task, place, to) => {
                self.hand_over(task.body, Spot::Queued(cpu), Spot::Hand);
                self.tally.migrations += 1;
                self.send(cpu, task, place, to.index());
            }
            Next::Forward(task, to) => {
                if self.cpus[to.index()].inbox.leave_change(&task) {
                    self.kick_later(cpu, to.index());
                    self.refresh(to.index());
                }
            }
        }
    }

    pub(crate) fn review(&mut self, cpu: usize, why: Why) {
        let rq = &self.cpus[cpu].rq;
        let task = rq.current().expect("there is a current task").clone();
        if task.entity().held() == 0 {
            task.entity().attended();
        }
        match review(rq, &self.domain, why) {
            Verdict::Continue => {}
            Verdict::MakeRoom(to) => self.make_room(cpu, to),
            Verdict::PutBack(place) => {
                task.entity().state().requeue();
                self.put_back(cpu, &task, place);
            }
            Verdict::Leave(to) => {
                task.entity().state().requeue();
                let task = self.take_current(cpu);
                self.tally.migrations += 1;
                self.send(cpu, task, Place::Preempted, to.index());
            }
        }
    }

    fn put_back(&mut self, cpu: usize, task: &Task, place: Place) {
        let prio = self.ledger.get(task.body).prio;
        let what = match place {
            Place::Preempted => What::Preempt { prio },
            _ => What::Yield { prio },
        };
        self.seen(cpu, task.body, what);
        match self.cpus[cpu].rq.put_prev(place) {
            Arrival::Queued { .. } => {
                self.hand_over(task.body, Spot::Current(cpu), Spot::Queued(cpu));
            }
            Arrival::Elsewhere(task) => {
                self.hand_over(task.body, Spot::Current(cpu), Spot::Hand);
                let to = select_cpu(&self.domain, task.entity()).index();
                self.tally.migrations += 1;
                self.send(cpu, task, place, to);
            }
        }
    }

    fn make_room(&mut self, cpu: usize, to: corelane_sched::CpuId) {
        if self.sabotage == Sabotage::NoPushAway {
            return;
        }
        let outcome = push_away::commit(&mut self.cpus[cpu].rq, &self.domain, to);
        if let push_away::Outcome::Moved(task, to) = outcome {
            task.entity().state().requeue();
            self.hand_over(task.body, Spot::Current(cpu), Spot::Hand);
            self.tally.migrations += 1;
            self.tally.pushed_away += 1;
            self.send(cpu, task, Place::Preempted, to.index());
        }
    }

    fn pick(&mut self, cpu: usize) -> Phase {
        if self.cpus[cpu].rq.current().is_none() {
            match self.cpus[cpu].rq.pick_next().cloned() {
                Some(task) => {
                    task.entity().state().dispatch();
                    self.dispatched(cpu, task.body);
                }
                None => self.seen_idle(cpu),
            }
        }
        let _ = self.cpus[cpu].rq.publish(&self.domain);
        Phase::PushPlanning
    }

    fn dispatched(&mut self, cpu: usize, task: TaskId) {
        self.hand_over(task, Spot::Queued(cpu), Spot::Current(cpu));
        let prio = self.ledger.get(task).prio;
        self.seen(cpu, task, What::Switch { prio });
        let record = self.ledger.get_mut(task);
        record.ran_on = Some(cpu);
        if let Some(home) = record.held_on.filter(|home| *home != cpu) {
            self.object(format!(
                "migrate-disable: {task:?} took its guard on CPU {home} and runs on CPU {cpu}"
            ));
        }
    }

    /// Gives the kicks of this pass, one step each; then the task runs, or the worker is idle.
    fn finish_pass(&mut self, cpu: usize) -> Phase {
        if let Some(to) = self.cpus[cpu].kicks.last().copied() {
            let stage = self.cpus[cpu].kick_stage;
            let next = self.kick(Some(cpu), to, stage);
            self.cpus[cpu].kick_stage = next.unwrap_or(KickStage::Flag);
            if next.is_none() {
                self.cpus[cpu].kicks.pop();
            }
            return Phase::Finishing;
        }
        let asks = !matches!(self.sabotage, Sabotage::NoLeftover | Sabotage::NoPushAway);
        if asks && leftover(&self.cpus[cpu].rq, &self.domain) == Leftover::LookAgain {
            self.cpus[cpu].need_resched = true;
        }
        if self.cpus[cpu].rq.current().is_some() {
            return Phase::Running;
        }
        self.cpus[cpu].slot.open();
        let patience = if self.oracle.chance(50) {
            Patience::Short
        } else {
            Patience::Endless
        };
        Phase::Polling(patience)
    }
}
