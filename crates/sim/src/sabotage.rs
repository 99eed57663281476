//! Faults that a machine can be told to commit.
//!
//! A checker that has never failed may be unable to. Each fault here leaves out one thing that a protocol
//! page calls necessary; the tests run the churn with each and demand that a checker objects.

/// What a machine leaves out on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// A CPU that became less urgent does not pull.
    NoPullAfterLowering,
    /// A puller takes the task it planned for, wherever that task is by now.
    NoRevalidation,
    /// A CPU keeps the tasks it cannot run.
    NoPush,
    /// A current task over a stuck one never makes room.
    NoPushAway,
    /// Tasks are left in inboxes without a kick.
    NoKick,
    /// A worker goes to sleep without looking once more.
    NoLookBeforeSleep,
    /// A carrier ignores a wake that came while the task was leaving.
    NoLateWake,
    /// A puller does not publish for the CPU from which it took a task.
    NoPublishOfSource,
    /// A puller is content with the first task it gets.
    OnePull,
    /// A pass ends without asking what it left undone.
    NoLeftover,
    /// A task gives its turn to any peer, as if exchanging the two showed nowhere.
    TurnOfUnequals,
}
