//! Sleep and wake on a word.

use corelane_os::clock::now_ns;
use corelane_os::futex::{self, Wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

const MS: u64 = 1_000_000;

#[test]
fn a_changed_word_is_not_slept_on() {
    assert_eq!(futex::wait(&AtomicU32::new(1), 0, None), Wait::Changed);
}

#[test]
fn a_deadline_is_absolute_and_never_early() {
    let deadline_ns = now_ns() + 3 * MS;
    loop {
        match futex::wait(&AtomicU32::new(0), 0, Some(deadline_ns)) {
            Wait::TimedOut => break,
            Wait::Woken | Wait::Interrupted => continue,
            Wait::Changed => panic!("nobody changes the word"),
        }
    }
    assert!(now_ns() >= deadline_ns);
    assert_eq!(
        futex::wait(&AtomicU32::new(0), 0, Some(0)),
        Wait::TimedOut,
        "the past is over"
    );
}

#[test]
fn the_farthest_deadline_is_accepted() {
    assert_eq!(
        futex::wait(&AtomicU32::new(1), 0, Some(u64::MAX)),
        Wait::Changed
    );
}

#[test]
fn a_wake_ends_a_sleep_and_counts_the_sleeper() {
    let word = Arc::new(AtomicU32::new(0));
    let sleeper = std::thread::spawn({
        let word = word.clone();
        move || futex::wait(&word, 0, None)
    });
    // Waking before the thread sleeps wakes nobody, hence the loop; the word stays, so that only
    // the wake ends the sleep.
    while futex::wake(&word, 1) == 0 {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
    assert_eq!(sleeper.join().expect("no panic"), Wait::Woken);
    assert_eq!(futex::wake(&word, u32::MAX), 0, "nobody is left");
}

#[test]
fn no_call_writes_errno() {
    // SAFETY: this thread's own errno.
    let errno = unsafe { &mut *libc::__errno_location() };
    *errno = 4711;
    let word = AtomicU32::new(1);
    assert_eq!(futex::wait(&word, 0, None), Wait::Changed);
    assert_eq!(futex::wait(&word, 1, Some(now_ns() + MS)), Wait::TimedOut);
    assert_eq!(futex::wake(&word, 1), 0);
    assert_eq!(*errno, 4711);
}

extern "C" fn ignore(_: i32) {}

#[test]
fn a_signal_handler_interrupts_a_sleep() {
    // SAFETY: installs a handler that does nothing, without SA_RESTART.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(i32) as usize;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    let word = Arc::new(AtomicU32::new(0));
    let (send, receive) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn({
        let word = word.clone();
        move || {
            send.send(corelane_os::thread::gettid())
                .expect("the test listens");
            let end = futex::wait(&word, 0, None);
            word.store(1, SeqCst);
            end
        }
    });
    let tid = receive.recv().expect("the sleeper sent");
    while word.load(SeqCst) == 0 {
        // SAFETY: sends a handled signal to a thread of this process that is joined below.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid.0, libc::SIGUSR1) };
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(sleeper.join().expect("no panic"), Wait::Interrupted);
}
