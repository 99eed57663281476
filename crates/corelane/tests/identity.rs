//! A task is one thread for life to all compiled code, whatever carries it: thread-locals, the thread's
//! id, panics, `errno`, standard locks, floating-point control words.
//!
//! A limit of this version: a standard lock whose holder is suspended blocks the *carrier* of whoever
//! wants it, in the kernel, and nothing takes the CPU over meanwhile. If the holder is queued on that very
//! CPU, the two wait for each other. So tasks here keep such locks to themselves, or take contended ones
//! with `try_lock`; where one is really waited for, ordinary threads and `task::outside` do the waiting.

mod common;

use std::arch::asm;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::ThreadId;
use std::time::Duration;

use common::{prio, runtime, wait_until};
use corelane::{CpuId, CpuSet, JoinHandle, TaskState, task};
use corelane_os::thread as os;

/// Moves the calling task to the CPU slot after its own, and lets it go anywhere again. Returns the kernel's
/// numbers of the two CPUs.
fn hop(cpus: usize) -> (u32, u32) {
    let own = task::current().expect("a task hops");
    let pin = |slot| {
        own.set_affinity(&CpuSet::single(cpus, slot)).unwrap();
        assert_eq!(own.cpu(), slot);
        os::current_cpu().0
    };
    let here = own.cpu();
    let next = CpuId::new((here.index() + 1) % cpus);
    let way = (pin(here), pin(next));
    own.set_affinity(&CpuSet::full(cpus)).unwrap();
    way
}

const TASKS: usize = 64;
const SWITCHES: usize = 1_000_000;
/// The tasks pause together after each round, so that the host gets its CPUs back. There are as many
/// rounds as it takes: a yield is no switch while the equals are on other CPUs or pause.
const YIELDS_PER_ROUND: usize = SWITCHES / TASKS / 10;

thread_local! {
    static MINE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// What the 64 tasks share.
struct Shared {
    cpus: usize,
    enough: AtomicBool,
    contended: Mutex<usize>,
    entered: AtomicUsize,
    refused: AtomicUsize,
}

/// One round of one task: yields inside borrows of thread-locals, under a lock of its own, now and then
/// under a shared one, allocating and hopping in between. Returns the kernel CPUs it saw.
fn round(number: usize, shared: &Shared, own: &Mutex<usize>) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    for step in 0..YIELDS_PER_ROUND {
        MINE.with(|mine| {
            let before = COUNT.get();
            let held = own.lock().unwrap();
            let borrowed = mine.borrow();
            let text = format!("{number}:{step}").repeat(1 + step % 7);
            task::yield_now();
            assert!(text.starts_with(&format!("{number}:{step}")));
            assert_eq!(*borrowed, vec![number; 3]);
            assert_eq!((*held, COUNT.get()), (number, before));
            COUNT.set(before + 1);
        });
        if step % 61 == number % 61 {
            share(shared);
        }
        if step % 401 == 13 * number % 401 {
            let (from, to) = hop(shared.cpus);
            seen.extend([from, to]);
        }
    }
    seen
}

/// Holds a lock that others want over a yield. Nobody waits for it in the kernel.
fn share(shared: &Shared) {
    match shared.contended.try_lock() {
        Ok(mut count) => {
            *count += 1;
            assert_eq!(
                shared.entered.fetch_add(1, SeqCst),
                0,
                "two tasks hold one lock"
            );
            task::yield_now();
            assert_eq!(shared.entered.fetch_sub(1, SeqCst), 1);
        }
        Err(TryLockError::WouldBlock) => _ = shared.refused.fetch_add(1, Relaxed),
        Err(TryLockError::Poisoned(_)) => panic!("a holder panicked"),
    }
}

fn traveller(number: usize, shared: Arc<Shared>) -> (ThreadId, BTreeSet<u32>) {
    let (id, own) = (std::thread::current().id(), Mutex::new(number));
    MINE.with(|mine| *mine.borrow_mut() = vec![number; 3]);
    COUNT.set(0);
    let mut seen = BTreeSet::new();
    let mut rounds = 0;
    loop {
        task::park();
        if shared.enough.load(SeqCst) {
            break;
        }
        seen.append(&mut round(number, &shared, &own));
        rounds += 1;
        assert_eq!(std::thread::current().id(), id);
    }
    assert_eq!(COUNT.get(), rounds * YIELDS_PER_ROUND);
    (id, seen)
}

#[test]
fn sixty_four_tasks_keep_their_identities_over_a_million_switches() {
    let runtime = common::builder().fibers(TASKS).build().unwrap();
    let (contended, cpus) = (Mutex::new(0), runtime.cpus());
    let (entered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let shared = Arc::new(Shared {
        cpus,
        enough: AtomicBool::new(false),
        contended,
        entered,
        refused,
    });
    let spawn = |number| {
        let shared = shared.clone();
        runtime.spawn(prio(50), move || traveller(number, shared))
    };
    let handles: Vec<_> = (0..TASKS).map(spawn).collect();
    let before = runtime.stats().switches;
    while !shared.enough.load(SeqCst) {
        wait_until("every traveller to pause", || {
            handles
                .iter()
                .all(|handle| handle.task().state() == TaskState::Waiting)
        });
        std::thread::sleep(Duration::from_millis(5));
        let switches = runtime.stats().switches - before;
        shared.enough.store(switches >= SWITCHES as u64, SeqCst);
        // From above, so that they start together.
        let tasks: Vec<_> = handles.iter().map(JoinHandle::task).collect();
        runtime
            .spawn(prio(99), move || {
                tasks.iter().for_each(|task| task.unpark())
            })
            .join()
            .unwrap();
    }
    let results: Vec<_> = handles
        .into_iter()
        .map(|handle| handle.join().unwrap())
        .collect();
    let ids: BTreeSet<_> = results.iter().map(|(id, _)| format!("{id:?}")).collect();
    assert_eq!(ids.len(), TASKS, "two tasks shared a thread identity");
    assert!(
        results.iter().all(|(_, seen)| seen.len() > 1 || cpus == 1),
        "a task never moved"
    );
    let everywhere: BTreeSet<_> = results.iter().flat_map(|(_, seen)| seen.iter()).collect();
    assert_eq!(everywhere.len(), cpus, "a worker carried nobody");
    assert!(*shared.contended.lock().unwrap() > 0);
}

/// Suspends in every way while it unwinds, and tells whether it came back elsewhere.
struct SuspendsInDrop {
    cpus: usize,
    moved: Arc<AtomicU32>,
}

impl Drop for SuspendsInDrop {
    fn drop(&mut self) {
        assert!(std::thread::panicking());
        task::sleep(Duration::from_micros(300));
        task::yield_now();
        task::current().unwrap().unpark();
        task::park();
        let (from, to) = hop(self.cpus);
        self.moved.fetch_add(u32::from(from != to), SeqCst);
        // A panic that begins and ends inside the destructor leaves the outer one as it is.
        assert!(catch_unwind(|| std::panic::resume_unwind(Box::new(1))).is_err());
        assert!(std::thread::panicking());
    }
}

#[test]
fn a_task_suspended_in_mid_unwind_continues_on_another_carrier_and_still_knows_that_it_panics() {
    let runtime = runtime();
    let (cpus, moved) = (runtime.cpus(), Arc::new(AtomicU32::new(0)));
    let unwinds = |number: usize| {
        let moved = moved.clone();
        runtime.spawn(prio(1 + (number % 3) as u8), move || {
            for round in 0..10 {
                assert!(!std::thread::panicking());
                let guard = SuspendsInDrop {
                    cpus,
                    moved: moved.clone(),
                };
                let payload = catch_unwind(AssertUnwindSafe(|| {
                    let _guard = guard;
                    std::panic::resume_unwind(Box::new((number, round)));
                }));
                let payload = payload.unwrap_err().downcast::<(usize, usize)>().unwrap();
                assert_eq!(*payload, (number, round));
                assert!(!std::thread::panicking());
            }
        })
    };
    let end = Arc::new(AtomicBool::new(false));
    let calm = {
        let end = end.clone();
        runtime.spawn(prio(2), move || {
            while !end.load(SeqCst) {
                assert!(!std::thread::panicking(), "somebody else's panic");
                task::sleep(Duration::from_micros(50));
            }
        })
    };
    let handles: Vec<_> = (0..24).map(unwinds).collect();
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    end.store(true, SeqCst);
    calm.join().unwrap();
    let expected = if cpus > 1 { 240 } else { 0 };
    assert_eq!(moved.load(SeqCst), expected);
}

#[test]
fn a_real_panic_reaches_its_joiner_while_others_unwind() {
    let runtime = runtime();
    let (cpus, moved) = (runtime.cpus(), Arc::new(AtomicU32::new(0)));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // twelve backtraces say nothing here
    let spawn = |number| {
        let moved = moved.clone();
        runtime.spawn(prio(5), move || {
            let _guard = SuspendsInDrop { cpus, moved };
            panic!("number {number}");
        })
    };
    let handles: Vec<JoinHandle<()>> = (0..12).map(spawn).collect();
    for (number, handle) in handles.into_iter().enumerate() {
        let error = handle.join().unwrap_err();
        assert_eq!(
            error.panic_message(),
            Some(format!("number {number}").as_str())
        );
    }
    std::panic::set_hook(hook);
}

#[test]
fn the_lock_of_standard_output_stays_with_the_task_that_took_it() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    let (printed, holds) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (seen, held) = (printed.clone(), holds.clone());
    let holder = runtime.spawn(prio(50), move || {
        let mut lock = std::io::stdout().lock();
        held.store(true, SeqCst);
        for _ in 0..50 {
            task::sleep(Duration::from_micros(200));
            task::yield_now();
            hop(cpus);
            // The lock knows its owner by thread: taken again at once, on whatever carrier.
            std::io::stdout().lock().flush().unwrap();
            lock.flush().unwrap();
            assert_eq!(seen.load(SeqCst), 0, "somebody printed under our lock");
        }
        drop(lock);
    });
    wait_until("the lock to be held", || holds.load(SeqCst));
    let print = |printed: &AtomicU32| {
        std::io::stdout().lock().flush().unwrap();
        printed.fetch_add(1, SeqCst);
    };
    let count = printed.clone();
    let thread = std::thread::spawn(move || print(&count));
    let count = printed.clone();
    let other_task = runtime.spawn(prio(60), move || task::outside(|| print(&count)));
    holder.join().unwrap();
    thread.join().unwrap();
    other_task.join().unwrap();
    assert_eq!(printed.load(SeqCst), 2);
}

/// Makes `errno` say that a file is missing.
fn fail_with_enoent() {
    let missing = std::fs::File::open("/nonexistent").unwrap_err();
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
}

fn errno() -> Option<i32> {
    std::io::Error::last_os_error().raw_os_error()
}

#[test]
fn errno_belongs_to_the_task() {
    let runtime = runtime();
    let (cpus, end) = (runtime.cpus(), Arc::new(AtomicBool::new(false)));
    let others: Vec<_> = (0..2 * cpus)
        .map(|_| {
            let end = end.clone();
            runtime.spawn(prio(50), move || {
                while !end.load(SeqCst) {
                    let error = std::fs::read_dir("/proc/self/stat").unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
                    task::yield_now();
                    assert_eq!(errno(), Some(libc::ENOTDIR));
                    task::sleep(Duration::from_micros(20));
                }
            })
        })
        .collect();
    let owner = runtime.spawn(prio(50), move || {
        for _ in 0..200 {
            let switches: [&dyn Fn(); 5] = [
                &task::yield_now,
                &|| task::sleep(Duration::from_micros(50)),
                &|| _ = hop(cpus),
                &|| assert!(!task::park_timeout(Duration::from_micros(50))),
                &|| task::spawn(prio(60), || ()).join().unwrap(),
            ];
            for switch in switches {
                fail_with_enoent();
                switch();
                assert_eq!(errno(), Some(libc::ENOENT));
            }
        }
    });
    owner.join().unwrap();
    end.store(true, SeqCst);
    others.into_iter().for_each(|other| other.join().unwrap());
}

const FLUSH_TO_ZERO: u32 = 1 << 15;
/// MXCSR without its sticky exception flags.
const CONTROL: u32 = !0x3f;

fn mxcsr() -> u32 {
    let mut word = 0u32;
    // SAFETY: stores a control word into a live local.
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack, preserves_flags)) };
    word & CONTROL
}

fn x87() -> u16 {
    let mut word = 0u16;
    // SAFETY: as above.
    unsafe { asm!("fnstcw [{}]", in(reg) &mut word, options(nostack, preserves_flags)) };
    word
}

/// Flushes denormals to zero and lowers the precision of the x87, until the task ends.
fn change_float_controls() {
    let (mxcsr, x87) = (mxcsr() | FLUSH_TO_ZERO, x87() & !0x300);
    // SAFETY: the words are valid, and nothing in this test computes with floats that it does not expect
    // to be flushed.
    unsafe {
        asm!("ldmxcsr [{}]", "fldcw [{}]", in(reg) &mxcsr, in(reg) &x87, options(nostack, preserves_flags))
    };
}

/// Half of the smallest normal number: not zero unless it is flushed.
fn halve_the_smallest() -> f64 {
    std::hint::black_box(f64::MIN_POSITIVE) * std::hint::black_box(0.5)
}

#[test]
fn floating_point_control_words_neither_leak_nor_get_lost() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    let flushes = move || {
        change_float_controls();
        let (mxcsr_set, x87_set) = (mxcsr(), x87());
        for _ in 0..300 {
            task::yield_now();
            hop(cpus);
            assert_eq!((mxcsr(), x87()), (mxcsr_set, x87_set));
            assert_eq!(halve_the_smallest(), 0.0);
        }
        task::native(|| assert_eq!((mxcsr(), x87()), (mxcsr_set, x87_set)));
    };
    let plain = move || {
        let before = (mxcsr(), x87());
        for _ in 0..300 {
            task::yield_now();
            hop(cpus);
            assert_eq!((mxcsr(), x87()), before);
            assert_ne!(halve_the_smallest(), 0.0);
        }
    };
    let spawn = |number| match number % 2 {
        0 => runtime.spawn(prio(50), flushes),
        _ => runtime.spawn(prio(50), plain),
    };
    let handles: Vec<_> = (0..8).map(spawn).collect();
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
}

#[test]
fn a_task_does_not_inherit_the_control_words_of_the_one_before_it_on_its_fiber() {
    let runtime = common::builder().fibers(1).build().unwrap();
    let fresh = runtime.spawn(prio(50), || (mxcsr(), x87())).join().unwrap();
    for _ in 0..20 {
        runtime
            .spawn(prio(50), change_float_controls)
            .join()
            .unwrap();
        let found = runtime.spawn(prio(50), || (mxcsr(), x87(), halve_the_smallest() != 0.0));
        assert_eq!(found.join().unwrap(), (fresh.0, fresh.1, true));
    }
}

#[test]
fn a_task_is_named_as_one_thread_wherever_it_runs() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    let handle = runtime.spawn(prio(50), move || {
        let describe = || {
            let thread = std::thread::current();
            // SAFETY: takes nothing.
            (thread.id(), thread.name().map(str::to_owned), unsafe {
                libc::pthread_self()
            })
        };
        let born = describe();
        for _ in 0..100 {
            hop(cpus);
            assert_eq!(describe(), born);
            assert_eq!(task::native(describe), born);
        }
        born.1
    });
    assert!(
        handle
            .join()
            .unwrap()
            .is_some_and(|name| name.starts_with("corelane-f"))
    );
}
