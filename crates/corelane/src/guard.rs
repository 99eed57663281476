//! Migrate-disable: a task stays on its CPU while it works on that CPU's data.
//!
//! Turning preemption off would keep urgent tasks waiting; a lock would cost a locked instruction and
//! serialise CPUs that share nothing. A task that holds a [`MigrateGuard`] can be preempted, can yield,
//! sleep and wait, and always comes back on the same CPU.
//!
//! Entering and leaving is a load and a store each on a word that only the task writes ([`crate::held`]).
//! The pin takes effect only if the task is suspended meanwhile: then its CPU files it among those that
//! cannot leave.
//!
//! # Unsafe
//! What is raw: the guard refers to its fiber without a lifetime. It is neither `Send` nor `Sync`, so it
//! stays with the fiber's thread; fibers outlive what runs on them. A guard that was kept in a
//! thread-local after its task ended is told apart by the generation in the guard word. Shown by `tests/guard.rs`.

use core::marker::PhantomData;

use corelane_percpu::PinCurrentCpu;
use corelane_sched::{CpuId, Why};

use crate::current::Fiber;
use crate::held::Released;

/// While it lives, the task that made it stays on one CPU. Nests.
///
/// Legal across everything that waits. Forgetting it holds the task to its CPU until the task ends.
///
/// ```compile_fail,E0277
/// let guard = corelane::migrate_disable();
/// std::thread::spawn(move || drop(guard)); // a guard stays with its task
/// ```
#[must_use = "the task may migrate as soon as the guard is dropped"]
pub struct MigrateGuard {
    fiber: &'static Fiber,
    /// The guard word as it was before.
    found: u64,
    stays_with_its_task: PhantomData<*mut ()>,
}

/// Keeps the calling task on its CPU until the guard is dropped. No lock, no locked instruction, no call.
///
/// # Panics
/// If the caller is not a task: only tasks have a CPU. See [`try_migrate_disable`].
#[inline]
pub fn migrate_disable() -> MigrateGuard {
    try_migrate_disable().unwrap_or_else(|| not_a_task())
}

/// Out of line, so that nothing of the panic stands on the path of a task.
#[cold]
#[inline(never)]
fn not_a_task() -> ! {
    panic!("migrate_disable is called by a task; ordinary threads have no CPU slot")
}

/// The same; `None` if the caller is not a task.
#[inline]
pub fn try_migrate_disable() -> Option<MigrateGuard> {
    let fiber = Fiber::current()?;
    Some(MigrateGuard {
        fiber,
        found: fiber.held.enter(),
        stays_with_its_task: PhantomData,
    })
}

impl MigrateGuard {
    /// The CPU slot on which the task stays.
    #[inline]
    pub fn cpu(&self) -> CpuId {
        self.fiber.cpu_id()
    }
}

impl Drop for MigrateGuard {
    #[inline]
    fn drop(&mut self) {
        if self.fiber.held.leave(self.found) == Released::Awaited {
            leave(self.fiber);
        }
    }
}

/// Somebody has been waiting for the last guard: the task should move, or make room.
#[cold]
fn leave(fiber: &Fiber) {
    if Fiber::on_worker().is_some() {
        // Not a point of cancellation: a guard dropped while unwinding must not unwind.
        fiber.suspend(crate::current::Intent::Review(Why::Asked));
    }
}

// SAFETY: while the guard lives, the scheduler files its task as held and moves it nowhere.
unsafe impl PinCurrentCpu for MigrateGuard {
    fn slot(&self) -> usize {
        self.fiber.cpu_id().index()
    }
}
