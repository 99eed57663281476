//! The arms of comparisons on one CPU: a task, a thread, a coroutine of `may`, a future of tokio, all
//! on the same CPU and at the same real-time level.
//!
//! A peer at another level, or free to move, would be compared with another machine. The runtime's
//! worker is pinned to the CPU at its level. Threads take the same seat themselves, and so does the
//! thread that drives tokio's current-thread runtime. `may` starts its worker as an ordinary thread; a
//! coroutine that runs on the only worker moves that thread to the seat (see `may_worker.rs`). Where
//! the real-time class is refused, every arm is an ordinary thread with the same pin.

use corelane::{Priority, Runtime};
use corelane_benches::{Seat, Site};

use crate::may_worker::{self, MayWorker};

/// One CPU and whoever runs on it.
pub(crate) struct OneCpu {
    runtime: Runtime,
    seat: Seat,
}

impl OneCpu {
    /// Builds the runtime on the CPU for comparisons that need one.
    ///
    /// # Panics
    /// If it cannot be built.
    pub(crate) fn new(site: &Site) -> OneCpu {
        OneCpu::with(site, |builder| builder)
    }

    /// The same with a runtime configured further.
    pub(crate) fn with(
        site: &Site,
        configure: impl FnOnce(corelane::Builder) -> corelane::Builder,
    ) -> OneCpu {
        let builder = configure(site.runtime(&[site.cpu()]));
        OneCpu {
            runtime: builder.build().expect("a runtime on one CPU"),
            seat: site.seat(site.cpu(), 0),
        }
    }

    /// The runtime.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The seat of every other arm.
    pub(crate) fn seat(&self) -> Seat {
        self.seat
    }

    /// Runs `body` as a task of the lowest priority.
    pub(crate) fn in_task<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let task = self.runtime.spawn(Priority::MIN, body);
        task.join().expect("a measuring task returns")
    }

    /// Runs `body` on a kernel thread.
    pub(crate) fn in_thread<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.seat.run(body)
    }

    /// Runs `body` as a coroutine of `may`. It keeps no reference to a thread-local across a switch.
    pub(crate) fn in_coroutine<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        MayWorker::on(self.seat);
        let coroutine = may_worker::spawn(body);
        coroutine.join().expect("a measuring coroutine returns")
    }

    /// Drives the future that `body` makes by tokio's current-thread runtime.
    pub(crate) fn in_tokio<T: Send + 'static, F: Future<Output = T>>(
        &self,
        body: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        self.seat.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.expect("a runtime").block_on(body())
        })
    }
}
