//! A body on its own kernel thread, and the hand-over between it and the carriers.

mod common;

use common::{backends, carried_backends, gettid, resume, spawn};
use corelane_os::fiber::{Fiber, Resumed};
use corelane_os::futex;
use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};

/// Where a lender leaves its fiber when it has parked: one word to sleep on, and the fiber.
struct Slot {
    parked: AtomicU32,
    fiber: AtomicPtr<Fiber>,
}

impl Slot {
    fn new() -> Slot {
        Slot {
            parked: AtomicU32::new(0),
            fiber: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Starts a native run whose fiber comes back through this slot.
    fn run(&self, fiber: Box<Fiber>) {
        self.parked.store(0, SeqCst);
        let fiber = Box::into_raw(fiber);
        self.fiber.store(fiber, SeqCst);
        // SAFETY: nobody takes the fiber out of the slot before `parked` is set by `post`, which
        // uses atomics and a futex only; the slot outlives the run because every test waits for it.
        unsafe { Fiber::resume_native(fiber, Slot::post, std::ptr::from_ref(self).cast()) };
    }

    /// # Safety
    /// `slot` is a live [`Slot`]: `run` passes its own, and every test waits for the end of the run.
    unsafe fn post(slot: *const ()) {
        // SAFETY: `run` passed a live slot.
        let slot = unsafe { &*slot.cast::<Slot>() };
        slot.parked.store(1, SeqCst);
        futex::wake(&slot.parked, 1);
    }

    fn take(&self) -> Box<Fiber> {
        while self.parked.load(SeqCst) == 0 {
            let _ = futex::wait(&self.parked, 0, None);
        }
        // SAFETY: from Box::into_raw in `run`; taken once per run.
        unsafe { Box::from_raw(self.fiber.load(SeqCst)) }
    }
}

thread_local!(static VALUE: Cell<u64> = const { Cell::new(0) });

#[test]
fn a_body_runs_carried_then_native_then_carried_again() {
    for backend in carried_backends() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let body_log = log.clone();
        let mut fiber = Box::new(spawn(backend, move |suspender| {
            VALUE.with(|value| {
                for step in 1..=3 {
                    value.set(value.get() + step);
                    body_log
                        .lock()
                        .expect("not poisoned")
                        .push((gettid(), value.get()));
                    suspender.suspend();
                }
            });
        }));
        let slot = Slot::new();
        assert_eq!(resume(&mut fiber), Resumed::Suspended);
        slot.run(fiber);
        let mut fiber = slot.take();
        assert_eq!(resume(&mut fiber), Resumed::Suspended);
        let (own, lender) = (gettid(), fiber.tid().0);
        assert_eq!(
            *log.lock().expect("not poisoned"),
            [(own, 1), (lender, 3), (own, 6)]
        );
        fiber.finish().expect("the body returns");
    }
}

#[test]
fn a_native_run_that_ends_the_body_is_seen_as_finished() {
    for backend in backends() {
        let slot = Slot::new();
        slot.run(Box::new(spawn(backend, |_| VALUE.set(1))));
        let fiber = slot.take();
        assert!(fiber.is_finished());
        fiber.finish().expect("a finished body ends");
    }
}

#[test]
fn a_fiber_is_resumable_elsewhere_at_once_when_then_is_called() {
    const ROUNDS: u64 = 10_000;
    for backend in backends() {
        let count = Arc::new(AtomicU64::new(0));
        let body_count = count.clone();
        let fiber = Box::new(spawn(backend, move |suspender| {
            loop {
                // Plain reads and writes under the hand-over's own ordering: a race would lose a
                // count.
                body_count.store(body_count.load(Relaxed) + 1, Relaxed);
                VALUE.set(VALUE.get() + 1);
                assert_eq!(VALUE.get(), body_count.load(Relaxed));
                suspender.suspend();
            }
        }));
        let slot = Slot::new();
        let (turn, turns) = std::sync::mpsc::channel();
        turn.send(fiber).expect("the test listens");
        let waiting = AtomicU32::new(0);
        std::thread::scope(|scope| {
            // This thread takes the fiber the moment that `then` posts it, and carries it while the
            // lender may still be in `then`.
            let (slot, waiting) = (&slot, &waiting);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    while waiting.load(SeqCst) == 0 {
                        let _ = futex::wait(waiting, 0, None);
                    }
                    waiting.store(0, SeqCst);
                    let mut fiber = slot.take();
                    let _ = resume(&mut fiber);
                    turn.send(fiber).expect("the test listens");
                }
            });
            for _ in 0..ROUNDS {
                slot.run(turns.recv().expect("the carrier sends"));
                waiting.store(1, SeqCst);
                futex::wake(waiting, 1);
            }
        });
        assert_eq!(count.load(SeqCst), 2 * ROUNDS);
    }
}

/// The blocked signals of a thread, signal n as bit n-1.
fn blocked(tid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).expect("alive");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:"))
        .expect("a mask");
    u64::from_str_radix(line.trim(), 16).expect("hex")
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

#[test]
fn a_parked_lender_blocks_all_signals_but_those_of_glibc() {
    let glibcs_own = bit(32) | bit(33);
    let unblockable = bit(libc::SIGKILL) | bit(libc::SIGSTOP);
    for backend in backends() {
        let fiber = spawn(backend, |_| ());
        assert_eq!(blocked(fiber.tid().0), !(glibcs_own | unblockable));
        fiber.finish().expect("an unstarted body ends");
    }
}

#[test]
fn a_native_run_has_the_signal_mask_of_the_creator_and_keeps_its_changes() {
    for backend in backends() {
        let masks = Arc::new(Mutex::new(Vec::new()));
        let body_masks = masks.clone();
        let fiber = Box::new(spawn(backend, move |suspender| {
            body_masks
                .lock()
                .expect("not poisoned")
                .push(blocked(gettid()));
            // SAFETY: blocks one signal on the calling kernel thread, the lender.
            unsafe {
                let mut one = std::mem::zeroed();
                libc::sigaddset(&mut one, libc::SIGUSR2);
                libc::pthread_sigmask(libc::SIG_BLOCK, &one, std::ptr::null_mut());
            }
            suspender.suspend();
            body_masks
                .lock()
                .expect("not poisoned")
                .push(blocked(gettid()));
        }));
        let creators = blocked(gettid());
        let slot = Slot::new();
        slot.run(fiber);
        let fiber = slot.take();
        let parked = blocked(fiber.tid().0);
        assert_ne!(
            parked & bit(libc::SIGTERM),
            0,
            "parked again, blocked again"
        );
        slot.run(fiber);
        let fiber = slot.take();
        let expected = [creators, creators | bit(libc::SIGUSR2)];
        assert_eq!(*masks.lock().expect("not poisoned"), expected);
        fiber.finish().expect("a finished body ends");
    }
}

static HANDLED_ON: AtomicI32 = AtomicI32::new(0);

extern "C" fn deep_handler(_: i32) {
    // More than the lender's reserve: on the reserve it would overwrite the suspended body.
    let frame = std::hint::black_box([0x5au8; 96 * 1024]);
    HANDLED_ON.store(gettid() + i32::from(frame[7]) - 0x5a, SeqCst);
}

#[test]
fn a_signal_sent_to_a_parked_lender_waits_for_a_native_run_and_its_handler_spares_the_body() {
    for backend in backends() {
        HANDLED_ON.store(0, SeqCst);
        // SAFETY: installs a handler that uses its own frame and an atomic.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = deep_handler as extern "C" fn(i32) as usize;
            assert_eq!(
                libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
                0
            );
        }
        let fiber = Box::new(spawn(backend, |suspender| {
            let kept = std::hint::black_box([7u8; 4096]);
            suspender.suspend();
            assert!(kept.iter().all(|&byte| byte == 7));
        }));
        let slot = Slot::new();
        slot.run(fiber);
        let fiber = slot.take();
        let lender = fiber.tid().0;
        // SAFETY: sends a handled signal to a thread of this process.
        let sent =
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), lender, libc::SIGUSR1) };
        assert_eq!(sent, 0);
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(HANDLED_ON.load(SeqCst), 0, "blocked while parked");
        slot.run(fiber);
        let fiber = slot.take();
        assert_eq!(HANDLED_ON.load(SeqCst), lender);
        fiber.finish().expect("a finished body ends");
    }
}

#[test]
fn a_parked_lender_does_not_disturb_errno_or_thread_locals_of_its_body() {
    for backend in carried_backends() {
        let slot = Slot::new();
        let mut fiber = Box::new(spawn(backend, |suspender| {
            for round in 0..200 {
                // SAFETY: this thread's own errno, looked up anew on each side.
                unsafe { *libc::__errno_location() = 1000 + round };
                suspender.suspend();
                // SAFETY: as above.
                assert_eq!(unsafe { *libc::__errno_location() }, 1000 + round);
            }
        }));
        for _ in 0..100 {
            assert_eq!(resume(&mut fiber), Resumed::Suspended);
            slot.run(fiber);
            fiber = slot.take();
        }
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        fiber.finish().expect("a finished body ends");
    }
}
