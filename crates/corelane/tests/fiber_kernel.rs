//! What the kernel keeps by thread belongs to the carrier while a task is carried, and to the task in a
//! native part: owners of priority-inheriting mutexes, signal masks, alternate stacks, affinity. The table
//! of attacks is in `docs/fibers.md`.

mod common;
#[path = "common/stir.rs"]
mod stir;

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::*};
use std::time::Duration;

use common::{prio, runtime, wait_until};
use corelane::{CpuId, CpuSet, task};
use corelane_os::thread::{self as os, Tid, gettid};
use stir::{crowd, is_carried, stir};

/// A priority-inheriting mutex of the C library. Its first word is the futex.
struct PiMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: the C library's mutexes are made to be shared.
unsafe impl Sync for PiMutex {}
// SAFETY: it is only moved before its first use.
unsafe impl Send for PiMutex {}

const FUTEX_TID_MASK: i32 = 0x3fff_ffff;

impl PiMutex {
    fn new() -> Box<PiMutex> {
        let mutex = Box::new(PiMutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)));
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let protocol = libc::PTHREAD_PRIO_INHERIT;
        // SAFETY: the attributes are initialised before use and destroyed after; the mutex does not move.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setprotocol(attributes.as_mut_ptr(), protocol);
            assert_eq!(
                libc::pthread_mutex_init(mutex.0.get(), attributes.as_ptr()),
                0
            );
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        }
        mutex
    }

    fn lock(&self) {
        // SAFETY: an initialised mutex.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.0.get()) }, 0);
    }

    fn unlock(&self) {
        // SAFETY: an initialised mutex that the caller holds.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0.get()) }, 0);
    }

    /// Gives it up, or says why the C library does not.
    fn try_unlock(&self) -> i32 {
        // SAFETY: an initialised mutex.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) }
    }

    /// Waits for it, but not for ever; returns what the C library answers.
    fn lock_within(&self, limit: Duration) -> i32 {
        let now = std::time::SystemTime::now();
        let end = (now + limit).duration_since(std::time::UNIX_EPOCH).unwrap();
        let end = libc::timespec {
            tv_sec: end.as_secs() as i64,
            tv_nsec: i64::from(end.subsec_nanos()),
        };
        // SAFETY: an initialised mutex and a live time.
        unsafe { libc::pthread_mutex_timedlock(self.0.get(), &end) }
    }

    /// Whether a thread waits for it in the kernel.
    fn is_contended(&self) -> bool {
        // SAFETY: as in `owner`.
        let word = unsafe { &*self.0.get().cast::<AtomicI32>() };
        word.load(SeqCst) < 0 // FUTEX_WAITERS is the topmost bit
    }

    /// The kernel thread that the kernel would boost.
    fn owner(&self) -> Tid {
        // SAFETY: the futex word is an aligned word that is read and written atomically.
        let word = unsafe { &*self.0.get().cast::<AtomicI32>() };
        Tid(word.load(SeqCst) & FUTEX_TID_MASK)
    }
}

#[test]
fn an_inheriting_mutex_names_the_right_owner_in_native_parts_and_a_sleeping_thread_elsewhere() {
    let runtime = runtime();
    let (carried, mutex) = (is_carried(&runtime), Arc::new(PiMutex::new()));
    let cpus = runtime.cpus();
    runtime
        .spawn(prio(50), move || {
            let own = task::native(gettid);
            for _ in 0..20 {
                stir(cpus);
                let running = task::native(|| {
                    mutex.lock();
                    let owner = mutex.owner();
                    mutex.unlock();
                    (owner, gettid())
                });
                assert_eq!(running, (own, own));
                // Carried, the lock works as long as nobody else wants it; but the kernel would boost the
                // fiber's own thread, which sleeps, and not the carrier that runs the holder.
                mutex.lock();
                stir(cpus);
                assert_eq!(mutex.owner(), own);
                assert_eq!(gettid() == own, !carried);
                mutex.unlock();
            }
        })
        .join()
        .unwrap();
}

#[test]
fn an_inheriting_mutex_that_a_carried_task_gives_up_does_not_reach_a_waiting_thread() {
    let runtime = runtime();
    if !is_carried(&runtime) {
        return; // then every part is native
    }
    let (mutex, held) = (Arc::new(PiMutex::new()), Arc::new(AtomicBool::new(false)));
    let given_up = Arc::new(AtomicBool::new(false));
    let (locked, tell, tell_later) = (mutex.clone(), held.clone(), given_up.clone());
    let task = runtime.spawn(prio(50), move || {
        locked.lock();
        tell.store(true, SeqCst);
        while !locked.is_contended() {
            task::sleep(Duration::from_micros(200));
        }
        // The kernel refuses, because the carrier is not the owner; whether the C library says so depends on
        // its version.
        let _ = locked.try_unlock();
        tell_later.store(true, SeqCst);
    });
    wait_until("the task to hold the mutex", || held.load(SeqCst));
    // The last attempt counts: it begins after the task has given the mutex up.
    let mut was_given_up = false;
    while !was_given_up {
        was_given_up = given_up.load(SeqCst);
        assert_eq!(
            mutex.lock_within(Duration::from_millis(100)),
            libc::ETIMEDOUT,
            "the thread got what the task gave up"
        );
    }
    task.join().unwrap();
}

fn mask_with(how: i32, signal: i32) -> bool {
    let (mut set, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the sets are initialised by the calls before they are read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        assert_eq!(
            libc::pthread_sigmask(how, set.as_ptr(), before.as_mut_ptr()),
            0
        );
        libc::sigismember(before.as_ptr(), signal) == 1
    }
}

/// Whether the signal is blocked on the kernel thread that the caller runs on.
fn is_blocked(signal: i32) -> bool {
    let mut now = MaybeUninit::uninit();
    // SAFETY: a null set only asks; the kernel fills the other.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), now.as_mut_ptr());
        libc::sigismember(now.as_ptr(), signal) == 1
    }
}

#[test]
fn a_signal_mask_set_while_carried_stays_on_the_cpu_and_one_set_natively_stays_with_the_task() {
    let runtime = runtime();
    if !is_carried(&runtime) {
        return; // then every part is native
    }
    let cpus = runtime.cpus();
    let handle = runtime.spawn(prio(50), move || {
        for _ in 0..10 {
            stir(cpus);
            let guard = corelane::migrate_disable();
            assert!(!mask_with(libc::SIG_BLOCK, libc::SIGUSR1));
            task::sleep(Duration::from_micros(10));
            assert!(is_blocked(libc::SIGUSR1), "the same carrier, the same mask");
            let only = CpuSet::single(cpus, guard.cpu());
            let other = task::build().priority(prio(60)).affinity(only);
            let seen = other.spawn(|| is_blocked(libc::SIGUSR1)).join().unwrap();
            assert!(seen, "another task on that carrier has the mask too");
            assert!(!task::native(|| is_blocked(libc::SIGUSR1)));
            assert!(mask_with(libc::SIG_UNBLOCK, libc::SIGUSR1));
        }
        task::native(|| mask_with(libc::SIG_BLOCK, libc::SIGUSR2));
        assert!(!is_blocked(libc::SIGUSR2));
        assert!(task::native(|| mask_with(libc::SIG_UNBLOCK, libc::SIGUSR2)));
    });
    handle.join().unwrap();
}

/// Where a local of the handler below lay.
static HANDLER_STACK: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_stack(_: i32) {
    let local = 0u8;
    HANDLER_STACK.store(&raw const local as usize, SeqCst);
}

/// Raises the signal on the calling kernel thread, and says where its handler ran.
fn raise_and_look() -> usize {
    HANDLER_STACK.store(0, SeqCst);
    // SAFETY: the signal has a handler that stores a word.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), gettid().0, libc::SIGUSR1) };
    HANDLER_STACK.load(SeqCst)
}

#[test]
fn an_alternate_signal_stack_belongs_to_the_carrier_and_in_native_parts_to_the_task() {
    // SAFETY: the handler is a function of this program.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note_stack as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()), 0);
    }
    let runtime = runtime();
    let with_own_stack = || {
        let mut memory = vec![0u8; 64 * 1024];
        let range = memory.as_ptr_range();
        let new = libc::stack_t {
            ss_sp: memory.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: memory.len(),
        };
        let mut before = MaybeUninit::uninit();
        // SAFETY: the memory outlives the registration, which is undone below on the same kernel thread.
        assert_eq!(unsafe { libc::sigaltstack(&new, before.as_mut_ptr()) }, 0);
        task::sleep(Duration::from_micros(20));
        let found = raise_and_look();
        // SAFETY: what the kernel gave.
        let undone = unsafe { libc::sigaltstack(before.as_ptr(), ptr::null_mut()) };
        assert_eq!(undone, 0);
        let range = range.start as usize..range.end as usize;
        assert!(
            range.contains(&found),
            "the handler ran on the stack that was set"
        );
        let after = raise_and_look();
        assert!(after != 0 && !range.contains(&after));
    };
    let handle = runtime.spawn(prio(50), move || {
        for _ in 0..20 {
            let guard = corelane::migrate_disable(); // the stack is the carrier's
            with_own_stack();
            drop(guard);
            task::native(with_own_stack);
        }
    });
    handle.join().unwrap();
}

#[test]
fn a_task_that_moves_its_carrier_breaks_the_pin_and_nothing_is_lost() {
    let runtime = runtime();
    if !has_two_cpus(&runtime) || !is_carried(&runtime) {
        return;
    }
    let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
    let (home, away) = (
        runtime.kernel_cpu(CpuId::new(0)),
        runtime.kernel_cpu(CpuId::new(1)),
    );
    let (moved, end) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (tell, released) = (moved.clone(), end.clone());
    let mover = runtime
        .build_task()
        .priority(prio(60))
        .affinity(only)
        .spawn(move || {
            let pin = |id| assert!(core_affinity::set_for_current(core_affinity::CoreId { id }));
            pin(away);
            // SAFETY: takes nothing.
            assert_eq!(unsafe { libc::sched_getcpu() } as usize, away);
            assert_eq!(
                task::current().unwrap().cpu(),
                CpuId::new(0),
                "the slot is what it was"
            );
            tell.store(true, SeqCst);
            while !released.load(SeqCst) {
                task::sleep(Duration::from_micros(200));
            }
            pin(home);
        });
    wait_until("a carrier to be moved", || moved.load(SeqCst));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    crowd(&runtime, 8, move |_, cpus| {
        for _ in 0..50 {
            stir(cpus);
            counted.fetch_add(1, SeqCst);
        }
    });
    assert_eq!(count.load(SeqCst), 8 * 50);
    // The status tells what was granted when the runtime was built.
    assert!(runtime.status().cpus.iter().all(|cpu| cpu.pin.is_granted()));
    end.store(true, SeqCst);
    mover.join().unwrap();
}

fn has_two_cpus(runtime: &common::Exclusive) -> bool {
    let has = runtime.cpus() > 1;
    if !has {
        eprintln!("skipped: this test needs two CPUs");
    }
    has
}

#[test]
fn an_affinity_set_in_a_native_part_ends_with_its_task() {
    let runtime = common::builder().fibers(1).build().unwrap();
    if !has_two_cpus(&runtime) {
        return;
    }
    let here = CpuSet::single(runtime.cpus(), CpuId::new(0));
    let away = runtime.kernel_cpu(CpuId::new(1));
    let bound = || {
        runtime
            .build_task()
            .priority(prio(50))
            .affinity(here.clone())
    };
    let expected = bound().spawn(|| task::native(|| os::affinity(Tid(0)).unwrap()));
    let expected = expected.join().unwrap();
    for _ in 0..10 {
        let moves = move || {
            task::native(|| core_affinity::set_for_current(core_affinity::CoreId { id: away }))
        };
        assert!(bound().spawn(moves).join().unwrap());
        let found = bound().spawn(|| task::native(|| os::affinity(Tid(0)).unwrap()));
        assert_eq!(found.join().unwrap(), expected, "left by an earlier task");
    }
}
