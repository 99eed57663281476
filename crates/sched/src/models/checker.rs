//! The checker itself: what it must be able to see for the other models to mean anything.
//!
//! # Unsafe
//! What is raw: an atomic that is dropped while another thread has its address, on purpose and in a process
//! of its own. The test here is that loom objects.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr;
use std::collections::BTreeSet;
use std::sync::Mutex;

use loom::thread;

use crate::primitives::atomic::{AtomicU32, Ordering::*, fence};
use crate::primitives::control::{check, must_fail};

#[test]
fn a_read_is_tried_before_and_after_an_exchange_that_follows_another_read() {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let collected = seen.clone();
    check(move || {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = word.clone();
        let other = thread::spawn(move || {
            let now = theirs.load(Relaxed);
            theirs.compare_exchange(now, 1, Relaxed, Relaxed).unwrap();
        });
        collected.lock().unwrap().insert(word.load(Relaxed));
        other.join().unwrap();
    });
    let seen = seen.lock().unwrap();
    assert!(
        seen.contains(&0) && seen.contains(&1),
        "one order is missing"
    );
}

/// Two threads write one word each and read the other's; `between` stands in the middle.
fn store_buffering(between: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let theirs = words.clone();
        let other = thread::spawn(move || {
            theirs[1].store(1, Relaxed);
            between();
            theirs[0].load(Relaxed)
        });
        words[0].store(1, Relaxed);
        between();
        let mine = words[1].load(Relaxed);
        assert!(mine + other.join().unwrap() > 0, "both have missed");
    }
}

#[test]
fn one_of_two_that_write_fence_and_read_sees_the_other() {
    check(store_buffering(|| fence(SeqCst)));
}

#[test]
fn without_the_total_order_of_fences_both_may_miss() {
    let control = "without_the_total_order_of_fences_both_may_miss";
    let model = store_buffering(|| fence(AcqRel));
    must_fail(module_path!(), control, "both have missed", model);
}

#[test]
fn an_atomic_that_is_dropped_while_somebody_reads_it_is_noticed() {
    let control = "an_atomic_that_is_dropped_while_somebody_reads_it_is_noticed";
    must_fail(module_path!(), control, "Causality violation", || {
        let word = Box::into_raw(Box::new(AtomicU32::new(0)));
        let address = word.expose_provenance();
        // SAFETY: none here and below, and that is the point: loom has to object.
        let owner = thread::spawn(move || unsafe {
            drop(Box::from_raw(
                ptr::with_exposed_provenance_mut::<AtomicU32>(address),
            ));
        });
        // SAFETY: as above.
        unsafe { &*word }.load(Relaxed);
        owner.join().unwrap();
    });
}
