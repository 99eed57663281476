//! `may` with one worker thread, placed like every other arm.
//!
//! `may` starts its workers itself, as ordinary threads. A coroutine that runs on the only worker
//! moves that thread to its seat; it stays there for the whole run and sleeps between blocks.
//!
//! Raw here: `may::coroutine::spawn`, whose coroutines must not use thread-locals across a switch
//! nor overflow their small stacks. Tested by the rows that use it.

use std::sync::Once;

use corelane_benches::{Seat, Site};
use may::coroutine::{self, JoinHandle};

/// The seated worker.
#[derive(Clone, Copy)]
pub(crate) struct MayWorker;

impl MayWorker {
    /// Starts the only worker, if it is not there yet, and seats it.
    pub(crate) fn seated(site: &Site) -> MayWorker {
        static SEATED: Once = Once::new();
        let seat: Seat = site.seat(site.cpu(), 0);
        SEATED.call_once(|| {
            may::config().set_workers(1).set_worker_pin(false);
            spawn(move || seat.take().unwrap_or_else(|error| panic!("{error}")))
                .join()
                .expect("the worker of `may` takes its seat");
        });
        MayWorker
    }

    /// Runs `body` as a coroutine and waits for it.
    pub(crate) fn run<T: Send + 'static>(self, body: impl FnOnce() -> T + Send + 'static) -> T {
        spawn(body).join().expect("a coroutine returns")
    }
}

/// Starts a coroutine. What the rows pass computes little and keeps no reference to a thread-local
/// across a switch.
pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // SAFETY: with one worker no coroutine changes its thread, so thread-locals stay valid; the
    // bodies in this program stay far below the stack of a coroutine.
    unsafe { coroutine::spawn(body) }
}
