//! What C and Rust libraries ask a thread about itself, asked by tasks that are switched and moved. The
//! table of attacks is in `docs/fibers.md`.

mod common;
#[path = "common/stir.rs"]
mod stir;

use std::arch::asm;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread::ThreadId;

use common::{prio, runtime};
use stir::{crowd, in_a_child, is_child, stir, text};

/// Where values of the thread-local below were dropped: the value, and the thread that dropped it.
static DROPPED: Mutex<Vec<(u64, ThreadId)>> = Mutex::new(Vec::new());

struct Noted(Cell<u64>);

impl Drop for Noted {
    fn drop(&mut self) {
        DROPPED
            .lock()
            .unwrap()
            .push((self.0.get(), std::thread::current().id()));
    }
}

thread_local! {
    static NOTED: Noted = const { Noted(Cell::new(0)) };
    static LIST: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn a_thread_local_survives_moves_and_is_dropped_once_by_its_own_thread_when_the_pool_ends() {
    let runtime = common::builder().fibers(6).build().unwrap();
    let mut expected: Vec<(u64, ThreadId)> = Vec::new();
    let kept = crowd(&runtime, 6, |number, cpus| {
        for step in 0..50 {
            NOTED.with(|noted| noted.0.set(100 * number as u64 + step));
            stir(cpus);
            assert_eq!(
                NOTED.with(|noted| noted.0.get()),
                100 * number as u64 + step
            );
        }
        (
            NOTED.with(|noted| noted.0.get()),
            std::thread::current().id(),
        )
    });
    // A later task of the same fiber overwrites what an earlier one left.
    for (value, thread) in kept {
        expected.retain(|(_, known)| *known != thread);
        expected.push((value, thread));
    }
    assert!(
        DROPPED.lock().unwrap().is_empty(),
        "dropped while the fiber lives"
    );
    drop(runtime);
    let mut dropped = DROPPED.lock().unwrap().clone();
    dropped.sort_by_key(|(value, _)| *value);
    expected.sort_by_key(|(value, _)| *value);
    assert_eq!(dropped, expected);
}

#[test]
fn a_borrow_inside_local_key_with_lasts_across_moves_and_is_the_tasks_own() {
    let runtime = common::builder().fibers(8).build().unwrap();
    crowd(&runtime, 8, |number, cpus| {
        LIST.with(|list| {
            let mut list = list.borrow_mut();
            list.clear();
            for step in 0..50 {
                list.push(number + step);
                stir(cpus);
                assert!(
                    LIST.with(|again| again.try_borrow().is_err()),
                    "our own borrow"
                );
            }
            assert!(list.iter().copied().eq(number..number + 50));
        });
        assert!(LIST.with(|again| again.try_borrow_mut().is_ok()));
    });
}

#[test]
fn the_lock_of_standard_input_is_held_across_moves_and_released_elsewhere() {
    let runtime = runtime();
    let cpus = runtime.cpus();
    for _ in 0..20 {
        let task = runtime.spawn(prio(50), move || {
            let lock = std::io::stdin().lock();
            stir(cpus);
            drop(lock);
        });
        task.join().unwrap();
        drop(std::io::stdin().lock());
    }
}

/// The bounds that the C library gives for the calling thread's stack.
fn stack_bounds() -> (usize, usize) {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut low, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialised by the first call and destroyed by the last.
    unsafe {
        assert_eq!(
            libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()),
            0
        );
        assert_eq!(
            libc::pthread_attr_getstack(attributes.as_ptr(), &mut low, &mut size),
            0
        );
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
    (low as usize, low as usize + size)
}

#[test]
fn the_stack_bounds_and_pthread_self_are_the_same_on_every_cpu_and_hold_the_locals() {
    let runtime = runtime();
    let found = crowd(&runtime, 8, |_, cpus| {
        // SAFETY: takes nothing.
        let describe = || (unsafe { libc::pthread_self() }, stack_bounds());
        let born = describe();
        for _ in 0..50 {
            stir(cpus);
            assert_eq!(describe(), born);
            let local = &raw const born as usize;
            assert!(
                (born.1.0..born.1.1).contains(&local),
                "a local lies on the stack"
            );
            // SAFETY: takes plain values.
            let same = unsafe { libc::pthread_equal(born.0, libc::pthread_self()) };
            assert_ne!(same, 0);
        }
        born
    });
    assert!(!found.is_empty());
}

#[test]
fn sched_getcpu_and_getcpu_name_the_cpu_of_the_task_right_after_each_move() {
    let runtime = runtime();
    let kernel: Vec<usize> = (0..runtime.cpus())
        .map(|slot| runtime.kernel_cpu(corelane::CpuId::new(slot)))
        .collect();
    let seen = crowd(&runtime, 4, move |_, cpus| {
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            stir(cpus);
            let guard = corelane::migrate_disable();
            let expected = kernel[guard.cpu().index()];
            let (mut cpu, mut node) = (0u32, 0u32);
            // SAFETY: both take nothing or live locals.
            let (fast, slow) = unsafe {
                let fast = libc::sched_getcpu();
                (
                    fast,
                    libc::syscall(libc::SYS_getcpu, &raw mut cpu, &raw mut node, 0usize),
                )
            };
            assert_eq!((fast as usize, slow, cpu as usize), (expected, 0, expected));
            seen.insert(expected);
        }
        seen.len()
    });
    assert!(seen.into_iter().all(|seen| seen == runtime.cpus()));
}

/// Where MXCSR says how to round.
const ROUND_UP: u32 = 0b10 << 13;

fn add_rounding() -> (f64, f64) {
    (
        black_box(1.0_f64) + black_box(1e-30),
        black_box(1.0_f64) - black_box(1e-30),
    )
}

#[test]
fn a_rounding_mode_moves_with_its_task_and_the_next_task_of_the_fiber_does_not_have_it() {
    let runtime = common::builder().fibers(2).build().unwrap();
    crowd(&runtime, 8, |number, cpus| {
        assert_eq!(add_rounding(), (1.0, 1.0), "left by an earlier task");
        if number % 2 == 0 {
            let mut word = 0u32;
            // SAFETY: the word is the loaded one with another rounding mode, which this test expects.
            unsafe {
                asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack, preserves_flags));
                word |= ROUND_UP;
                asm!("ldmxcsr [{}]", in(reg) &word, options(nostack, preserves_flags, readonly));
            }
        }
        let expected = if number % 2 == 0 {
            (1.0_f64.next_up(), 1.0)
        } else {
            (1.0, 1.0)
        };
        for _ in 0..50 {
            stir(cpus);
            assert_eq!(add_rounding(), expected);
        }
    });
}

/// Adds in eight lanes that the compiler keeps in vector registers where it can, switching in between.
#[inline(always)]
fn lanes(number: usize, cpus: usize) {
    let (mut sums, step) = ([0.0_f32; 8], black_box(number as f32 + 0.5));
    for round in 0..60 {
        sums.iter_mut()
            .enumerate()
            .for_each(|(lane, sum)| *sum += step * lane as f32);
        stir(cpus);
        let expected = |lane: usize| step * lane as f32 * (round + 1) as f32;
        assert!((0..8).all(|lane| sums[lane] == expected(lane)), "{sums:?}");
    }
}

#[target_feature(enable = "avx2")]
fn wide_lanes(number: usize, cpus: usize) {
    lanes(number, cpus);
}

#[test]
fn vector_values_that_are_live_across_switches_stay_whole() {
    let runtime = runtime();
    crowd(&runtime, 8, |number, cpus| {
        // Tasks with wide and with narrow registers, so that upper halves are clean in one and dirty in
        // the other.
        if number % 2 == 0 && is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            unsafe { wide_lanes(number, cpus) }
        } else {
            lanes(number, cpus)
        }
    });
}

#[inline(never)]
fn a_function_to_be_found(cpus: usize, depth: usize) -> String {
    if depth == 0 {
        stir(cpus);
        return Backtrace::force_capture().to_string();
    }
    black_box(a_function_to_be_found(cpus, depth - 1))
}

#[test]
fn a_backtrace_taken_after_moves_shows_the_tasks_functions_and_ends() {
    let runtime = runtime();
    for trace in crowd(&runtime, 4, |_, cpus| a_function_to_be_found(cpus, 3)) {
        assert_eq!(
            trace
                .matches("fiber_thread::a_function_to_be_found")
                .count(),
            4,
            "{trace}"
        );
    }
}

#[test]
fn the_panic_hook_prints_a_backtrace_of_the_task() {
    let name = "the_panic_hook_prints_a_backtrace_of_the_task";
    if is_child(name) {
        let panics = |cpus| {
            black_box(a_function_to_be_found(cpus, 0));
            panics_after_moves()
        };
        let runtime = runtime();
        let cpus = runtime.cpus();
        let error = runtime
            .spawn(prio(50), move || panics(cpus))
            .join()
            .unwrap_err();
        assert_eq!(error.panic_message(), Some("seen from inside"));
        return;
    }
    let output = in_a_child(name, &[("RUST_BACKTRACE", "1")]);
    let (_, said) = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("seen from inside") && said.contains("corelane-f"),
        "{said}"
    );
    assert!(said.contains("fiber_thread::panics_after_moves"), "{said}");
}

#[inline(never)]
fn panics_after_moves() {
    panic!("{}", black_box("seen from inside"))
}

#[test]
fn nested_panics_are_caught_at_their_own_level_across_switches() {
    let runtime = runtime();
    crowd(&runtime, 8, |number, cpus| {
        for round in 0..20 {
            let outer = catch_unwind(AssertUnwindSafe(|| {
                stir(cpus);
                let inner = catch_unwind(AssertUnwindSafe(|| {
                    stir(cpus);
                    std::panic::resume_unwind(Box::new((number, round)));
                }));
                stir(cpus);
                let payload = inner.unwrap_err().downcast::<(usize, i32)>().unwrap();
                assert!(!std::thread::panicking());
                std::panic::resume_unwind(Box::new(payload.0 + 1000));
            }));
            assert_eq!(
                *outer.unwrap_err().downcast::<usize>().unwrap(),
                number + 1000
            );
        }
    });
}
