//! What a task calls: module `task`.
//!
//! Every call here is a safe point: if a more urgent task waits for this CPU, it runs first. On an ordinary
//! thread, and in the native part of a task, these calls do what an ordinary thread would do.

use crate::primitives::time::Instant;
use std::sync::Arc;
use std::time::Duration;

use corelane_os::clock;

use crate::Priority;
use crate::current::Fiber;
use crate::runtime::Shared;
use crate::spawn::{self, JoinHandle, Options, TaskBuilder};
use crate::task_body::TaskHandle;

pub use crate::native::{native, outside};

/// The calling task; `None` on an ordinary thread.
pub fn current() -> Option<TaskHandle> {
    Fiber::current().map(|fiber| TaskHandle(fiber.task()))
}

/// Spawns a task in the calling task's runtime. Costs what `Runtime::spawn` costs.
///
/// # Panics
/// If the caller is not a task: use `Runtime::spawn`.
pub fn spawn<F, T>(priority: Priority, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn::spawn(own_runtime(), Options::new(priority), f)
}

/// Spawns a background task in the calling task's runtime; see `Runtime::spawn_background`.
///
/// # Panics
/// If the caller is not a task.
pub fn spawn_background<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let fiber = Fiber::current()
        .expect("task::spawn_background is called by a task; on an ordinary thread use Runtime::spawn_background");
    spawn::spawn_background(&fiber.task_node().body.shared, f)
}

/// Configures a task in the calling task's runtime.
///
/// # Panics
/// If the caller is not a task: use `Runtime::build_task`.
pub fn build() -> TaskBuilder {
    TaskBuilder::new(own_runtime().clone())
}

fn own_runtime() -> &'static Arc<Shared> {
    let fiber = Fiber::current()
        .expect("task::spawn is called by a task; on an ordinary thread use Runtime::spawn");
    &fiber.task_node().body.shared
}

/// Gives way to tasks of the same priority, which run before the caller continues. Does nothing if
/// there are none (tasks of lower priority do not run).
///
/// No system call, no allocation. Alone at its level: no switch either.
pub fn yield_now() {
    match Fiber::carried() {
        Some(fiber) => fiber.give_way(),
        // Not a wait for anybody: an ordinary thread has no equals here.
        None => crate::primitives::thread::sleep(Duration::ZERO),
    }
}

/// A safe point: a more urgent task that waits for this CPU runs now. Put it into long loops.
///
/// Two loads when there is nothing to do; a clock read more while a timer is armed on this CPU.
#[inline]
pub fn checkpoint() {
    if let Some(fiber) = Fiber::carried() {
        fiber.checkpoint();
    }
}

/// Waits for a permit from [`TaskHandle::unpark`] and takes it. At once if there is one already.
///
/// Returns without a permit only when the task is cancelled while it unwinds.
///
/// # Panics
/// If the caller is not a task: nobody could unpark it.
pub fn park() {
    park_until(None);
}

/// The same, for at most `timeout`; says whether there was a permit.
///
/// # Panics
/// If the caller is not a task.
pub fn park_timeout(timeout: Duration) -> bool {
    park_until(Some(after(timeout)))
}

/// Waits for at least `duration`. Other tasks run meanwhile.
pub fn sleep(duration: Duration) {
    match Fiber::carried() {
        Some(fiber) => sleep_on(fiber, after(duration)),
        None => crate::primitives::thread::sleep(duration),
    }
}

/// Waits until `deadline`; never returns early. A past deadline is a safe point.
pub fn sleep_until(deadline: Instant) {
    sleep(deadline.saturating_duration_since(Instant::now()));
}

fn after(duration: Duration) -> u64 {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    // Just below "never", which means that no timer is armed.
    clock::now_ns().saturating_add(ns).min(u64::MAX - 1)
}

fn sleep_on(fiber: &Fiber, deadline_ns: u64) {
    if clock::now_ns() >= deadline_ns {
        return fiber.checkpoint();
    }
    while clock::now_ns() < deadline_ns {
        fiber.wait(Some(deadline_ns));
    }
}

fn park_until(deadline_ns: Option<u64>) -> bool {
    let fiber = Fiber::current()
        .expect("task::park is called by a task; nobody can unpark an ordinary thread");
    let task = fiber.task();
    if Fiber::carried().is_none() {
        return task.body.permit.await_natively(deadline_ns);
    }
    loop {
        if task.body.permit.take() {
            fiber.checkpoint();
            return true;
        }
        if deadline_ns.is_some_and(|deadline_ns| clock::now_ns() >= deadline_ns) {
            return false;
        }
        if fiber.is_cancelled() && crate::primitives::thread::panicking() {
            return false;
        }
        fiber.wait(deadline_ns);
    }
}
