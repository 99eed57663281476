//! The micro-steps of a pass that move tasks between CPUs: pulling and pushing.
//!
//! Between a plan and its commit, and between a commit and the arrival, any other CPU may step.

use corelane_sched::{Place, Why, pull, push};

use crate::Sabotage;
use crate::cpu::{Phase, Search, Task};
use crate::ledger::{Spot, TaskId};
use crate::machine::Machine;
use crate::stream::What;

impl Machine {
    pub(crate) fn plan_pull(&mut self, cpu: usize, search: Search) -> Phase {
        let me = self.cpus[cpu].id;
        let Some(plan) = pull::plan(&self.domain, me, search.level, &search.tried) else {
            return Phase::Picking;
        };
        let mut candidates = self.cpus[plan.from.index()].rq.pullable();
        let unchecked = candidates.next().map(|task| task.body);
        let taken = unchecked.filter(|_| self.sabotage == Sabotage::NoRevalidation);
        Phase::Pulling(search, plan, taken)
    }

    pub(crate) fn commit_pull(
        &mut self,
        cpu: usize,
        mut search: Search,
        plan: pull::Plan,
        unchecked: Option<TaskId>,
    ) -> Phase {
        let (me, from) = (self.cpus[cpu].id, plan.from.index());
        if let Some(task) = unchecked {
            // What follows is undefined in a real queue; the ledger stops the machine before that.
            self.hand_over(task, Spot::Queued(from), Spot::Queued(from));
            if self.violations() > 0 {
                return Phase::Picking;
            }
        }
        let outcome = pull::commit(&mut self.cpus[from].rq, me, search.level);
        if self.sabotage != Sabotage::NoPublishOfSource {
            let _ = self.cpus[from].rq.publish(&self.domain);
        }
        match outcome {
            pull::Outcome::Moved(task) => {
                self.hand_over(task.body, Spot::Queued(from), Spot::Hand);
                self.seen(from, task.body, What::Migrate { to: cpu });
                self.tally.pulls += 1;
                self.tally.migrations += 1;
                return Phase::Receiving(search, task);
            }
            pull::Outcome::AskToLeave => self.kick_later(cpu, from),
            pull::Outcome::Stale => {}
        }
        search.tried.insert(plan.from);
        Phase::Planning(search)
    }

    /// Queues what was pulled, then looks for more urgent work: the first answer is the best only if no
    /// affinity stood in the way. Each search is at the level that was published before it.
    pub(crate) fn receive(&mut self, cpu: usize, mut search: Search, task: Task) -> Phase {
        self.arrive(cpu, task, Place::Keep);
        if self.cpus[cpu].rq.current().is_some() && self.cpus[cpu].rq.must_switch() {
            self.review(cpu, Why::Asked);
        }
        let rq = &mut self.cpus[cpu].rq;
        let _ = rq.publish(&self.domain);
        search.level = rq.top();
        if self.sabotage == Sabotage::OnePull {
            return Phase::Picking;
        }
        Phase::Planning(search)
    }

    pub(crate) fn plan_push(&mut self, cpu: usize) -> Phase {
        if self.sabotage == Sabotage::NoPush {
            return Phase::Finishing;
        }
        match push::plan(&self.cpus[cpu].rq, &self.domain) {
            Some(plan) => Phase::Pushing(plan),
            None => Phase::Finishing,
        }
    }

    pub(crate) fn commit_push(&mut self, cpu: usize, plan: push::Plan<TaskId>) -> Phase {
        match push::commit(&mut self.cpus[cpu].rq, &self.domain, plan) {
            push::Outcome::Moved { task, to } => {
                self.hand_over(task.body, Spot::Queued(cpu), Spot::Hand);
                self.tally.pushes += 1;
                self.tally.migrations += 1;
                self.send(cpu, task, Place::Keep, to.index());
                let _ = self.cpus[cpu].rq.publish(&self.domain);
                Phase::PushPlanning
            }
            push::Outcome::Stale => {
                self.cpus[cpu].need_resched = true;
                Phase::Finishing
            }
        }
    }
}
