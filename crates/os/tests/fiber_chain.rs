//! A body that switches to another fiber leaves its carrier out, and both stay themselves.

mod common;

use common::{carried_backends, gettid, resume, spawn};
use corelane_os::fiber::{Fiber, Resumed};
use std::cell::{Cell, UnsafeCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

thread_local!(static VALUE: Cell<u64> = const { Cell::new(0) });

/// Fibers that refer to each other. Each is used by the body or the thread whose turn it is.
struct Ring {
    fibers: Vec<UnsafeCell<Option<Fiber>>>,
    /// Where the ring stands: bodies assert that turns come in order.
    turn: AtomicUsize,
}

// SAFETY: one body at a time runs, and only it or the thread that resumed the first one touches a cell.
unsafe impl Sync for Ring {}
// SAFETY: as above.
unsafe impl Send for Ring {}

impl Ring {
    fn of(length: usize) -> Ring {
        Ring {
            fibers: (0..length).map(|_| UnsafeCell::new(None)).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    fn fiber(&self, index: usize) -> &Fiber {
        // SAFETY: filled before the first turn.
        unsafe { (*self.fibers[index].get()).as_ref() }.expect("the ring is complete")
    }
}

fn mxcsr() -> u32 {
    let mut word = 0u32;
    // SAFETY: stores the control word into a live local.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack)) };
    word
}

fn set_flush_to_zero() {
    let word = mxcsr() | 1 << 15;
    // SAFETY: flush-to-zero is a defined bit.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &word, options(nostack, readonly)) };
}

#[test]
fn bodies_that_switch_to_each_other_keep_thread_locals_and_control_words() {
    const FIBERS: usize = 5;
    const ROUNDS: usize = 2_000;
    for backend in carried_backends() {
        let ring = Arc::new(Ring::of(FIBERS));
        for index in 0..FIBERS {
            let theirs = ring.clone();
            let fiber = spawn(backend, move |suspender| {
                if index % 2 == 1 {
                    set_flush_to_zero();
                }
                for round in 0..ROUNDS {
                    assert_eq!(theirs.turn.fetch_add(1, SeqCst), round * FIBERS + index);
                    assert_eq!(VALUE.replace(VALUE.get() + 1), round as u64);
                    assert_eq!(mxcsr() >> 15 & 1, (index % 2) as u32);
                    let last_of_its_round = index == FIBERS - 1;
                    if last_of_its_round && round % 100 == 99 {
                        suspender.suspend(); // the thread moves on
                    } else {
                        // SAFETY: the next one is parked: every turn ends in a suspension.
                        unsafe { suspender.switch_to(theirs.fiber((index + 1) % FIBERS)) };
                    }
                }
            });
            // SAFETY: nobody uses the ring yet.
            unsafe { *ring.fibers[index].get() = Some(fiber) };
        }
        let carry_a_while = || {
            let own = (gettid(), mxcsr());
            let first = ring.fibers[0].get();
            // SAFETY: the bodies are suspended, and this thread is the only one in the ring.
            let resumed = resume(unsafe { (*first).as_mut() }.expect("complete"));
            assert_eq!(resumed, Resumed::Suspended);
            assert_eq!((gettid(), mxcsr()), own);
            assert_eq!(VALUE.get(), 0, "the carrier is itself again");
        };
        for _ in 0..ROUNDS / 100 {
            std::thread::scope(|scope| _ = scope.spawn(carry_a_while));
        }
        assert_eq!(ring.turn.load(SeqCst), ROUNDS * FIBERS);
        for cell in &ring.fibers {
            // SAFETY: as in `carry_a_while`.
            let mut fiber = unsafe { (*cell.get()).take() }.expect("complete");
            assert_eq!(resume(&mut fiber), Resumed::Finished);
            fiber.finish().expect("a finished body ends");
        }
    }
}

#[test]
fn a_body_that_returns_after_a_switch_ends_the_resume_of_the_first() {
    for backend in carried_backends() {
        let ring = Arc::new(Ring::of(2));
        let theirs = ring.clone();
        let second = spawn(backend, |_| ());
        let mut first = spawn(backend, move |suspender| {
            // SAFETY: the second has not started.
            unsafe { suspender.switch_to(theirs.fiber(1)) };
        });
        // SAFETY: nobody uses the ring yet.
        unsafe { *ring.fibers[1].get() = Some(second) };
        assert_eq!(resume(&mut first), Resumed::Finished, "the second returned");
        assert!(!first.is_finished());
        assert!(ring.fiber(1).is_finished());
        assert_eq!(resume(&mut first), Resumed::Finished);
        first.finish().expect("a finished body ends");
        // SAFETY: no body runs.
        let second = unsafe { (*ring.fibers[1].get()).take() }.expect("complete");
        second.finish().expect("a finished body ends");
    }
}

/// The first fiber is ended and freed while its carrier is still in the second: under a memory checker
/// (AddressSanitizer, valgrind) this shows any look of the carrier at the first one's memory.
#[test]
fn the_first_of_a_chain_may_be_finished_while_a_later_one_runs() {
    for backend in carried_backends() {
        let ring = Arc::new(Ring::of(2));
        let (runs, released) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (theirs, tell, end) = (ring.clone(), runs.clone(), released.clone());
        let first = spawn(backend, move |suspender| {
            // SAFETY: the second has not started.
            unsafe { suspender.switch_to(theirs.fiber(1)) };
        });
        let second = spawn(backend, move |suspender| {
            tell.store(true, SeqCst);
            while !end.load(SeqCst) {
                std::thread::sleep(Duration::from_micros(50));
            }
            suspender.suspend();
        });
        // SAFETY: nobody uses the ring yet.
        unsafe {
            *ring.fibers[0].get() = Some(first);
            *ring.fibers[1].get() = Some(second);
        }
        let theirs = ring.clone();
        let carrier = std::thread::spawn(move || {
            let first: *const Fiber = theirs.fiber(0);
            // SAFETY: parked and unused; it is taken out of the ring after its body has left.
            unsafe { Fiber::resume_chain(first) }
        });
        while !runs.load(SeqCst) {
            std::thread::sleep(Duration::from_micros(50));
        }
        // SAFETY: the second runs, so the body of the first has left.
        let first = unsafe { (*ring.fibers[0].get()).take() }.expect("complete");
        first.finish().expect("its body returns, natively");
        released.store(true, SeqCst);
        assert_eq!(
            carrier.join().expect("the carrier does not panic"),
            Resumed::Suspended
        );
        // SAFETY: no body runs.
        let second = unsafe { (*ring.fibers[1].get()).take() }.expect("complete");
        second.finish().expect("its body returns, natively");
    }
}
