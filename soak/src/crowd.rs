//! Ordinary threads that take part: they wake, spawn and change, and they join.
//!
//! They hold no reference to the runtime, only what spawns into it and handles to its tasks, so they go on
//! while it is shut down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use corelane::TaskBuilder;

use crate::act::{self, Joining};
use crate::cast::{Cast, lock};
use crate::fate::{self, Owed};

pub(crate) struct Crowd {
    leave: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

const WAKERS: u64 = 2;
const JOINERS: u64 = 2;

impl Crowd {
    pub(crate) fn gather(cast: &Arc<Cast>, builder: &TaskBuilder) -> Crowd {
        let leave = Arc::new(AtomicBool::new(false));
        let wakers = (0..WAKERS).map(|_| {
            let (cast, leave, builder) = (cast.clone(), leave.clone(), builder.clone());
            spawn(move || wake(&cast, &leave, &builder))
        });
        let joiners = (0..JOINERS).map(|_| {
            let (cast, leave) = (cast.clone(), leave.clone());
            spawn(move || join(&cast, &leave))
        });
        let threads = wakers.chain(joiners).collect();
        Crowd { leave, threads }
    }

    /// Ends the threads; joiners first join what is left.
    pub(crate) fn disperse(self, cast: &Cast) {
        self.leave.store(true, SeqCst);
        for thread in self.threads {
            if thread.join().is_err() {
                cast.counts.object("a thread of the crowd panicked".into());
            }
        }
    }
}

fn wake(cast: &Arc<Cast>, leave: &AtomicBool, builder: &TaskBuilder) {
    let mut choices = cast.choices(cast.next_number());
    while !leave.load(SeqCst) {
        sleep(Duration::from_micros(50 + choices.below(400) as u64));
        if cast.is_hushed() {
            continue;
        }
        match choices.below(12) {
            0 => act::change_priority(cast, &mut choices),
            1 => act::change_bounds(cast, &mut choices),
            _ => cast.stir(&mut choices, builder),
        }
    }
}

fn join(cast: &Cast, leave: &AtomicBool) {
    loop {
        let is_last = leave.load(SeqCst);
        let owed = lock(&cast.handles).pop();
        let Some(Owed {
            handle,
            number,
            fate,
        }) = owed
        else {
            if is_last {
                return;
            }
            sleep(Duration::from_micros(200));
            continue;
        };
        let tally = Joining::begin(cast);
        let result = handle.join();
        tally.answered();
        let is_closing = cast.closing.load(SeqCst);
        if let Some(wrong) = fate::objection(&fate, number, &result, is_closing) {
            cast.counts.object(wrong);
        }
    }
}
