//! What happens to a machine from outside: tasks come, wait, change and go.
//!
//! Each event writes the truth into the ledger and then does what a task or a thread would do: it calls
//! the same transition, and sends an errand if there is something to deliver. Nothing here waits; the
//! consequences are micro-steps.

use corelane_sched::{CpuId, CpuMask, Node, Policy, Prio, TaskPhase, Wait, Why};

use crate::cpu::{Intent, Phase, Task};
use crate::errand::Errand;
use crate::ledger::{Record, Spot, TaskId};
use crate::machine::Machine;
use crate::stream::Change;

/// Whether an event could happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happened {
    /// It did.
    Yes,
    /// Its condition did not hold: the task does not run, has ended, or no delivery was free.
    No,
}

impl From<bool> for Happened {
    fn from(did: bool) -> Happened {
        if did { Happened::Yes } else { Happened::No }
    }
}

impl Machine {
    /// A new task of priority `prio` that waits, has no bounds, and was last on `home`.
    ///
    /// # Panics
    /// If `prio` is not in 1..=99 or `home` is no CPU of this machine.
    pub fn task(&mut self, prio: u8, home: usize) -> TaskId {
        assert!(home < self.cpus(), "a home is a CPU of the machine");
        let level = Prio::new(prio).expect("a priority is in 1..=99");
        let (id, allowed) = (self.ledger.next_id(), CpuMask::full(self.cpus()));
        let node = Node::new(level, Policy::Fifo, &allowed, CpuId::new(home), id);
        wait_at_birth(&node);
        let born = Change::Born {
            prio,
            allowed: allowed.clone(),
        };
        self.noted(id, born);
        self.ledger.add(Record {
            node,
            prio,
            allowed_count: allowed.count(),
            allowed,
            held: 0,
            held_on: None,
            ran_on: None,
            spot: Spot::Waiting,
            waits: true,
            leaves: false,
            woken: false,
        });
        id
    }

    /// Somebody wakes `task`.
    pub fn wake(&mut self, task: TaskId) -> Happened {
        self.wake_to(task, None)
    }

    /// Somebody wakes `task` and, on old advice, sends it to `cpu`.
    pub fn wake_on(&mut self, task: TaskId, cpu: usize) -> Happened {
        self.wake_to(task, Some(cpu))
    }

    fn wake_to(&mut self, task: TaskId, to: Option<usize>) -> Happened {
        let record = self.ledger.get(task);
        if record.spot == Spot::Gone {
            return Happened::No;
        }
        let node = record.node.clone();
        self.send_out(Errand::Wake(node, to)).into()
    }

    /// The running `task` waits, unless a wake is already there.
    pub fn block(&mut self, task: TaskId) -> Happened {
        let Some(cpu) = self.runs_on(task) else {
            return Happened::No;
        };
        let record = self.ledger.get_mut(task);
        let was_woken = core::mem::replace(&mut record.woken, false);
        let answer = record.node.entity().state().begin_wait();
        if was_woken != (answer == Wait::Woken) {
            self.object(format!(
                "wakes: {task:?} has a wake: {was_woken}, and is told {answer:?}"
            ));
        }
        if answer == Wait::Leave {
            let record = self.ledger.get_mut(task);
            (record.waits, record.leaves) = (true, true);
            self.enter(cpu, Phase::Entering(Intent::Wait));
        }
        Happened::Yes
    }

    /// The running `task` ends, with any guards it has.
    pub fn exit(&mut self, task: TaskId) -> Happened {
        let Some(cpu) = self.runs_on(task) else {
            return Happened::No;
        };
        let record = self.ledger.get_mut(task);
        let was_held = record.held > 0;
        (record.held, record.held_on) = (0, None);
        let _ = record.node.entity().release_all();
        if was_held {
            self.noted(task, Change::Released);
        }
        self.enter(cpu, Phase::Entering(Intent::Exit));
        Happened::Yes
    }

    /// The running `task` gives way to its equals.
    pub fn yield_now(&mut self, task: TaskId) -> Happened {
        let Some(cpu) = self.runs_on(task) else {
            return Happened::No;
        };
        self.enter(cpu, Phase::Entering(Intent::Review(Why::Yield)));
        Happened::Yes
    }

    /// The running `task` takes a migrate-disable guard.
    pub fn hold(&mut self, task: TaskId) -> Happened {
        let Some(cpu) = self.runs_on(task) else {
            return Happened::No;
        };
        let record = self.ledger.get_mut(task);
        record.held += 1;
        record.held_on.get_or_insert(cpu);
        record.node.entity().hold();
        if record.held == 1 {
            self.noted(task, Change::Held { cpu });
        }
        Happened::Yes
    }

    /// The running `task` drops a migrate-disable guard.
    pub fn release(&mut self, task: TaskId) -> Happened {
        let Some(cpu) = self.runs_on(task) else {
            return Happened::No;
        };
        let record = self.ledger.get_mut(task);
        if record.held == 0 {
            return Happened::No;
        }
        record.held -= 1;
        let is_free = record.held == 0;
        if is_free {
            record.held_on = None;
        }
        let asked = record.node.entity().release();
        if is_free {
            self.noted(task, Change::Released);
        }
        if asked {
            self.enter(cpu, Phase::Entering(Intent::Review(Why::Asked)));
        }
        Happened::Yes
    }

    /// Somebody changes the priority of `task`.
    ///
    /// # Panics
    /// If `prio` is not in 1..=99.
    pub fn set_priority(&mut self, task: TaskId, prio: u8) -> Happened {
        let Some(node) = self.changeable(task) else {
            return Happened::No;
        };
        node.entity()
            .set_prio(Prio::new(prio).expect("a priority is in 1..=99"));
        self.ledger.get_mut(task).prio = prio;
        self.noted(task, Change::PrioBegins { prio });
        self.noted(task, Change::PrioEnds);
        self.send_out(Errand::Locate(node)).into()
    }

    /// Somebody changes where `task` may run.
    ///
    /// # Panics
    /// If `cpus` is empty or names a CPU that the machine does not have.
    pub fn set_affinity(&mut self, task: TaskId, cpus: &[usize]) -> Happened {
        assert!(!cpus.is_empty(), "a task may run somewhere");
        let Some(node) = self.changeable(task) else {
            return Happened::No;
        };
        let mut allowed = CpuMask::empty(self.cpus());
        cpus.iter().for_each(|cpu| allowed.insert(CpuId::new(*cpu)));
        node.entity().affinity().store(&allowed);
        let (key, begun) = (self.tally().steps, allowed.clone());
        self.noted(
            task,
            Change::BoundsBegin {
                key,
                allowed: begun,
            },
        );
        let record = self.ledger.get_mut(task);
        record.allowed_count = allowed.count();
        record.allowed = allowed;
        self.send_out(Errand::Locate(node)).into()
    }

    fn changeable(&self, task: TaskId) -> Option<Task> {
        let record = self.ledger.get(task);
        let is_possible = record.spot != Spot::Gone && !self.errands_free.is_empty();
        is_possible.then(|| record.node.clone())
    }

    /// The CPU that is in `task`, outside the scheduler.
    pub(crate) fn runs_on(&self, task: TaskId) -> Option<usize> {
        match self.ledger.get(task).spot {
            Spot::Current(cpu) if self.cpus[cpu].is_executing() => Some(cpu),
            _ => None,
        }
    }
}

/// Takes a new task through its first wait, so that it begins its life like any sleeper.
fn wait_at_birth(node: &Task) {
    let state = node.entity().state();
    state.dispatch();
    let _ = state.begin_wait();
    let _ = state.commit_wait();
    assert_eq!(state.phase(), TaskPhase::Parked, "a new task waits");
}
