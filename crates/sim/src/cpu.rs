//! A virtual CPU: what a real one has, and how far its worker has got.
//!
//! The worker's program is cut at every point where another CPU could act in between:
//!
//! ```text
//!   RUNNING ─► ENTERING ─► SETTLING ─┬─► PLANNING ─► PULLING ─► RECEIVING ─┐
//!      ▲          ▲                  │      │ ▲                            │
//!      │          │                  ▼      ▼ └────────────────────────────┘
//!      │          │               PICKING ─► PUSH_PLANNING ⇄ PUSHING
//!      │          │                                │
//!      ├──────────┼───────────────────────── FINISHING
//!      │          │                                │ nothing to run
//!      │          ├── POLLING ◄────────────────────┘
//!      │          │      │ spun long enough
//!      │          │      ▼
//!      │          │   ANNOUNCING ─► LOOKING ─► ASLEEP
//!      │          └── WAKING ◄─────────┴──────────┘
//! ```
//!
//! Each name is a [`Phase`]; the steps are in `pass.rs`, `balancing.rs` and `idling.rs`.

use corelane_sched::{
    CpuId, CpuMask, IdleSlot, IdleWord, Inbox, Level, Place, Runqueue, TaskRef, Why, pull, push,
};

use crate::ledger::TaskId;

pub(crate) type Task = TaskRef<TaskId>;

/// Why the worker enters the scheduler.
pub(crate) enum Intent {
    /// The current task is to be reviewed.
    Review(Why),
    /// The current task waits.
    Wait,
    /// The current task ends.
    Exit,
    /// Nothing ran; perhaps a task came into the slot.
    Idle(Option<(Task, Place)>),
}

/// A search for work to pull.
pub(crate) struct Search {
    pub(crate) level: Level,
    pub(crate) tried: CpuMask,
}

/// What the worker does next.
pub(crate) enum Phase {
    /// The current task executes; the next step is its safe point.
    Running,
    Entering(Intent),
    Settling(Intent),
    Planning(Search),
    Pulling(Search, pull::Plan, Option<TaskId>),
    Receiving(Search, Task),
    Picking,
    PushPlanning,
    Pushing(push::Plan<TaskId>),
    Finishing,
    /// Idle, with the slot open; parks unless something comes if told so.
    Polling(Patience),
    Announcing,
    Looking,
    Asleep,
    Waking,
    /// In the middle of a step.
    Stepping,
}

/// How long an idle worker polls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    /// Until something comes.
    Endless,
    /// Until it is its turn again.
    Short,
}

/// How far the worker has got with the kick it is giving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KickStage {
    /// The target's flag is to be set.
    Flag,
    /// The target is to be woken if it sleeps.
    Wake,
}

pub(crate) struct Cpu {
    pub(crate) id: CpuId,
    pub(crate) rq: Runqueue<TaskId>,
    pub(crate) inbox: Inbox<TaskId>,
    pub(crate) slot: IdleSlot<TaskId>,
    pub(crate) idle: IdleWord,
    pub(crate) need_resched: bool,
    pub(crate) phase: Phase,
    /// CPUs to kick at the end of the pass.
    pub(crate) kicks: Vec<usize>,
    pub(crate) kick_stage: KickStage,
}

impl Cpu {
    pub(crate) fn new(index: usize) -> Cpu {
        let id = CpuId::new(index);
        Cpu {
            id,
            rq: Runqueue::new(id),
            inbox: Inbox::new(),
            slot: IdleSlot::new(),
            idle: IdleWord::new(),
            need_resched: false,
            phase: Phase::Finishing,
            kicks: Vec::new(),
            kick_stage: KickStage::Flag,
        }
    }

    /// Whether an idle worker would find a reason to enter the scheduler.
    pub(crate) fn has_news(&self) -> bool {
        self.need_resched || !self.inbox.is_empty()
    }

    /// Whether the worker would do something if it were its turn.
    ///
    /// A running task enters the scheduler for its flag alone: a letter without a kick is a lost letter.
    pub(crate) fn can_step(&self) -> bool {
        match self.phase {
            Phase::Running => self.need_resched,
            Phase::Polling(Patience::Endless) => self.slot.has_arrived() || self.has_news(),
            Phase::Asleep => false,
            _ => true,
        }
    }

    /// Whether the worker is outside the scheduler, in a task.
    pub(crate) fn is_executing(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }
}
