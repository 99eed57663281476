//! One recorded event, in the words that the simulator and the runtime share.

/// What a CPU's scheduler did with a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// It became runnable, or came from elsewhere, and was queued here.
    Wake {
        /// Its priority.
        prio: u8,
    },
    /// It was switched to.
    Switch {
        /// Its priority.
        prio: u8,
    },
    /// It went back to the queue, in front of its equals.
    Preempt {
        /// Its priority.
        prio: u8,
    },
    /// It went back to the queue, behind its equals.
    Yield {
        /// Its priority.
        prio: u8,
    },
    /// It waits.
    Block,
    /// It was sent to another CPU, or back into this one's inbox.
    Migrate {
        /// The CPU.
        to: usize,
    },
    /// It ended.
    Exit,
    /// It goes on on an ordinary thread for a while.
    Depart,
    /// Its deadline passed.
    Timer,
    /// It was put aside for want of a stack.
    NoFiber,
    /// The CPU found nothing to run; no task.
    Idle,
}

impl What {
    /// Whether another CPU may have the task next.
    pub(super) fn leaves_cpu(self) -> bool {
        use What::{Block, Depart, Migrate, NoFiber};
        matches!(self, Block | Depart | NoFiber | Migrate { .. })
    }
}

/// An event of one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// When, by that CPU's clock, in nanoseconds.
    pub at_ns: u64,
    /// The CPU.
    pub cpu: usize,
    /// The number of the task; 0 if there is none.
    pub task: u64,
    /// What happened.
    pub what: What,
}
