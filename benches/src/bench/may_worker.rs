//! `may` with one worker thread, placed like every other arm.
//!
//! `may` starts its workers itself, as ordinary threads. A coroutine that runs on the only worker
//! moves that thread to its seat; it stays there for the whole run and sleeps between blocks.
//!
//! Raw here: `may::coroutine::spawn`, whose coroutines must not use thread-locals across a switch
//! nor overflow their small stacks. Tested by the rows that use it.

use std::sync::OnceLock;

use corelane_benches::Seat;
use may::coroutine::{self, JoinHandle};

/// The seated worker.
pub(crate) struct MayWorker;

impl MayWorker {
    /// Starts the only worker, if it is not there yet, and seats it.
    ///
    /// # Panics
    /// If it sits elsewhere, or does not get its seat.
    pub(crate) fn on(seat: Seat) {
        static SEATED: OnceLock<Seat> = OnceLock::new();
        let seated = SEATED.get_or_init(|| {
            may::config().set_workers(1).set_worker_pin(false);
            let take = move || seat.take().unwrap_or_else(|error| panic!("{error}"));
            let taken = spawn(take).join();
            taken.expect("the worker of `may` takes its seat");
            seat
        });
        assert_eq!(*seated, seat, "`may` has one worker, which has one seat");
    }
}

/// Starts a coroutine. What the rows pass computes little and keeps no reference to a thread-local
/// across a switch.
pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // SAFETY: with one worker no coroutine changes its thread, so thread-locals stay valid; the
    // bodies in this program stay far below the stack of a coroutine.
    unsafe { coroutine::spawn(body) }
}
