//! A body is one thread for life, whoever carries it.

mod common;

use common::{backends, carried_backends, gettid, resume, resume_elsewhere, spawn};
use corelane_os::cpuset::KernelCpu;
use corelane_os::fiber::{
    Backend, Fiber, FiberError, FiberSpec, FinishError, Resumed, STACK_SIZE_MIN,
};
use corelane_os::thread::{self, Tid};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};

thread_local!(static VALUE: Cell<u64> = const { Cell::new(0) });

#[test]
fn a_thread_local_reference_held_across_carriers_sees_its_own_value() {
    for backend in backends() {
        VALUE.set(1000);
        let mut fiber = spawn(backend, |suspender| {
            VALUE.with(|value| {
                for round in 0..4 {
                    assert_eq!(value.get(), round);
                    assert_eq!(VALUE.get(), round);
                    value.set(round + 1);
                    suspender.suspend();
                }
            });
        });
        for _ in 0..2 {
            assert_eq!(resume(&mut fiber), Resumed::Suspended);
            let resumed;
            (fiber, resumed) = resume_elsewhere(fiber);
            assert_eq!(resumed, Resumed::Suspended);
        }
        assert_eq!(VALUE.get(), 1000, "the carrier has its own value back");
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        assert!(fiber.is_finished());
        fiber.finish().expect("a finished body ends");
    }
}

#[test]
fn the_thread_id_and_name_are_the_same_on_every_carrier() {
    for backend in backends() {
        let own = std::thread::current().id();
        let fiber = spawn(backend, move |suspender| {
            let first = std::thread::current().id();
            assert_ne!(first, own);
            for _ in 0..3 {
                suspender.suspend();
                assert_eq!(std::thread::current().id(), first);
                assert_eq!(std::thread::current().name(), Some("test-fiber"));
            }
        });
        let (mut fiber, _) = resume_elsewhere(fiber);
        assert_eq!(resume(&mut fiber), Resumed::Suspended);
        let (mut fiber, _) = resume_elsewhere(fiber);
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        fiber.finish().expect("a finished body ends");
        assert_eq!(std::thread::current().id(), own);
    }
}

fn errno() -> *mut i32 {
    // SAFETY: glibc's accessor of the loaded thread's errno.
    unsafe { libc::__errno_location() }
}

#[test]
fn errno_is_intact_over_a_switch() {
    for backend in backends() {
        let mut fiber = spawn(backend, |suspender| {
            for round in 0..3 {
                // SAFETY: this thread's own errno, looked up anew on each side.
                unsafe { *errno() = 40 + round };
                suspender.suspend();
                // SAFETY: as above.
                assert_eq!(unsafe { *errno() }, 40 + round);
            }
        });
        for round in 0..4 {
            // SAFETY: as above.
            unsafe { *errno() = round };
            let _ = resume(&mut fiber);
            // SAFETY: as above.
            assert_eq!(unsafe { *errno() }, round);
        }
        fiber.finish().expect("a finished body ends");
    }
}

const FLUSH_TO_ZERO: u32 = 1 << 15;
const X87_ROUND_UP: u16 = 2 << 10;

fn control_words() -> (u32, u16) {
    let (mut mxcsr, mut x87) = (0u32, 0u16);
    // SAFETY: stores both control words into live locals.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &mut mxcsr, in(reg) &mut x87);
    }
    (mxcsr, x87)
}

fn load_control_words((mxcsr, x87): (u32, u16)) {
    // SAFETY: valid control words; the code around computes nothing in floating point.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", "fldcw [{}]", in(reg) &mxcsr, in(reg) &x87);
    }
}

#[test]
fn control_words_stay_with_their_body_and_survive_a_move() {
    for backend in backends() {
        let own = control_words();
        let mut odd = spawn(backend, |suspender| {
            let (mxcsr, x87) = control_words();
            let mine = (mxcsr | FLUSH_TO_ZERO, x87 | X87_ROUND_UP);
            load_control_words(mine);
            suspender.suspend();
            assert_eq!(control_words(), mine);
            suspender.suspend();
            assert_eq!(control_words(), mine);
        });
        let mut plain = spawn(backend, |suspender| {
            let at_start = control_words();
            assert_eq!(at_start.0 & FLUSH_TO_ZERO, 0);
            assert_eq!(at_start.1 & X87_ROUND_UP, 0);
            suspender.suspend();
            assert_eq!(control_words(), at_start);
        });
        assert_eq!(resume(&mut odd), Resumed::Suspended);
        assert_eq!(control_words(), own, "the carrier keeps its words");
        assert_eq!(resume(&mut plain), Resumed::Suspended);
        let (mut odd, resumed) = resume_elsewhere(odd);
        assert_eq!(resumed, Resumed::Suspended);
        assert_eq!(resume(&mut plain), Resumed::Finished);
        assert_eq!(resume(&mut odd), Resumed::Finished);
        assert_eq!(control_words(), own);
        odd.finish().expect("a finished body ends");
        plain.finish().expect("a finished body ends");
    }
}

#[test]
fn a_carried_body_executes_on_the_kernel_thread_of_its_carrier() {
    for backend in carried_backends() {
        let (send, receive) = mpsc::channel();
        let mut fiber = spawn(backend, move |_| {
            send.send(gettid()).expect("the test listens")
        });
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        assert_eq!(receive.recv(), Ok(gettid()));
        assert_ne!(fiber.tid().0, gettid());
        fiber.finish().expect("a finished body ends");
    }
}

#[test]
fn a_carried_body_learns_the_cpu_of_its_carrier() {
    let allowed = thread::affinity(Tid(0)).expect("a mask");
    for backend in carried_backends() {
        let seen = Arc::new(AtomicI32::new(-1));
        let body_seen = seen.clone();
        let mut fiber = spawn(backend, move |suspender| {
            loop {
                // SAFETY: takes nothing.
                body_seen.store(unsafe { libc::sched_getcpu() }, SeqCst);
                suspender.suspend();
            }
        });
        for cpu in allowed.iter().chain(allowed.iter()) {
            fiber = std::thread::spawn(move || {
                thread::pin(cpu).expect("an allowed CPU");
                let _ = resume(&mut fiber);
                fiber
            })
            .join()
            .expect("the carrier does not panic");
            assert_eq!(KernelCpu(seen.load(SeqCst) as u32), cpu);
        }
    }
}

/// `cpu_id` of glibc's rseq area in the loaded thread control block; `None` before glibc 2.35.
fn rseq_cpu_id() -> Option<i32> {
    let block: usize;
    // SAFETY: reads the first word of the loaded control block, which is its address; the offset is
    // glibc's own, and the field is the second word of the area.
    unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        std::arch::asm!("mov {}, fs:[0]", out(reg) block);
        let area = (block as *const i32).byte_offset(*offset.as_ref()?);
        Some(area.add(1).read_volatile())
    }
}

#[test]
fn a_carried_body_finds_its_rseq_area_marked_as_not_registered() {
    const REGISTRATION_FAILED: i32 = -2;
    for backend in carried_backends() {
        let mut fiber = spawn(backend, |_| {
            assert_eq!(
                rseq_cpu_id().unwrap_or(REGISTRATION_FAILED),
                REGISTRATION_FAILED
            );
        });
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        fiber.finish().expect("a finished body ends");
    }
}

#[test]
fn a_native_body_learns_an_allowed_cpu() {
    let allowed = thread::affinity(Tid(0)).expect("a mask");
    for backend in backends() {
        let allowed = allowed.clone();
        let fiber = spawn(backend, move |suspender| {
            suspender.suspend();
            assert!(allowed.contains(thread::current_cpu()));
        });
        let mut fiber = fiber;
        assert_eq!(resume(&mut fiber), Resumed::Suspended);
        fiber
            .finish()
            .expect("the body returns on its own kernel thread");
    }
}

/// Tells where and when it is dropped.
struct Tombstone(Arc<AtomicI32>);

impl Drop for Tombstone {
    fn drop(&mut self) {
        self.0.store(gettid(), SeqCst);
    }
}

thread_local!(static TOMBSTONE: RefCell<Option<Tombstone>> = const { RefCell::new(None) });

#[test]
fn thread_local_destructors_run_at_finish_on_the_fibers_own_kernel_thread() {
    for backend in backends() {
        let dropped_on = Arc::new(AtomicI32::new(0));
        let tombstone = Tombstone(dropped_on.clone());
        let mut fiber = spawn(backend, move |_| TOMBSTONE.set(Some(tombstone)));
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        assert_eq!(
            dropped_on.load(SeqCst),
            0,
            "a thread-local outlives the body"
        );
        let lender = fiber.tid().0;
        fiber.finish().expect("a finished body ends");
        assert_eq!(dropped_on.load(SeqCst), lender);
    }
}

#[test]
fn a_body_that_never_started_is_dropped_unrun_by_finish() {
    for backend in backends() {
        let dropped_on = Arc::new(AtomicI32::new(0));
        let tombstone = Tombstone(dropped_on.clone());
        let fiber = spawn(backend, move |_| {
            std::mem::forget(tombstone);
            panic!("an unstarted body does not run");
        });
        let lender = fiber.tid().0;
        fiber.finish().expect("an unstarted body ends");
        assert_eq!(dropped_on.load(SeqCst), lender);
    }
}

#[test]
fn finish_gives_the_fiber_back_when_its_body_suspends_again() {
    for backend in backends() {
        let mut fiber = spawn(backend, |suspender| {
            suspender.suspend();
            suspender.suspend();
        });
        assert_eq!(resume(&mut fiber), Resumed::Suspended);
        let Err(FinishError::Suspended(fiber)) = fiber.finish() else {
            panic!("the body has a second suspension");
        };
        fiber.finish().expect("the body returns now");
    }
}

#[test]
fn dropping_a_suspended_fiber_neither_blocks_nor_drops_its_body() {
    for backend in backends() {
        let dropped_on = Arc::new(AtomicI32::new(0));
        let tombstone = Tombstone(dropped_on.clone());
        let mut fiber = spawn(backend, move |suspender| {
            let _tombstone = tombstone;
            suspender.suspend();
        });
        assert_eq!(resume(&mut fiber), Resumed::Suspended);
        drop(fiber);
        assert_eq!(dropped_on.load(SeqCst), 0);
    }
}

#[test]
fn pthread_getattr_np_covers_the_bodys_stack() {
    for backend in backends() {
        let mut fiber = spawn(backend, |_| {
            let here = 0u8;
            let here = &raw const here as usize;
            let (mut low, mut size) = (std::ptr::null_mut(), 0);
            // SAFETY: the attributes are initialised by the first call and destroyed once.
            unsafe {
                let mut attributes = std::mem::zeroed();
                assert_eq!(
                    libc::pthread_getattr_np(libc::pthread_self(), &mut attributes),
                    0
                );
                libc::pthread_attr_getstack(&attributes, &mut low, &mut size);
                libc::pthread_attr_destroy(&mut attributes);
            }
            assert!((low as usize..low as usize + size).contains(&here));
        });
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        fiber.finish().expect("a finished body ends");
    }
}

#[test]
fn the_body_may_use_its_stack_bytes_down_to_the_last_pages() {
    /// Recurses until a frame lies below `floor`; returns the depth.
    fn descend(floor: usize) -> usize {
        let frame = std::hint::black_box([1u8; 512]);
        let here = frame.as_ptr() as usize;
        usize::from(frame[3]) + if here < floor { 0 } else { descend(floor) }
    }
    for backend in backends() {
        let (send, receive) = mpsc::channel::<usize>();
        let mut fiber = spawn(backend, move |_| {
            let bytes = receive.recv().expect("the test sends");
            let here = &raw const bytes as usize;
            assert!(descend(here - bytes + 4 * 4096) > 64);
        });
        assert!(fiber.stack_bytes() > common::STACK_SIZE / 2);
        assert!(fiber.stack_bytes() < common::STACK_SIZE);
        send.send(fiber.stack_bytes()).expect("the body listens");
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        fiber.finish().expect("a finished body ends");
    }
}

#[test]
fn the_smallest_stack_works_and_a_smaller_one_is_refused() {
    for backend in backends() {
        let spec = FiberSpec {
            name: "small",
            stack_size: STACK_SIZE_MIN,
            backend,
        };
        let mut fiber = Fiber::spawn(&spec, |_| drop(format!("{:?}", 1.5))).expect("big enough");
        assert!(
            fiber.stack_bytes() >= 16 * 1024,
            "{} bytes",
            fiber.stack_bytes()
        );
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        fiber.finish().expect("a finished body ends");
        let spec = FiberSpec {
            stack_size: STACK_SIZE_MIN - 1,
            ..spec
        };
        let Err(FiberError::StackTooSmall { asked, min }) = Fiber::spawn(&spec, |_| ()) else {
            panic!("a smaller stack is refused");
        };
        assert_eq!((asked, min), (STACK_SIZE_MIN - 1, STACK_SIZE_MIN));
    }
}

#[test]
fn a_name_with_a_nul_byte_is_refused() {
    let backend = backends()[0];
    let spec = FiberSpec {
        name: "a\0b",
        stack_size: STACK_SIZE_MIN,
        backend,
    };
    assert!(matches!(Fiber::spawn(&spec, |_| ()), Err(FiberError::Name)));
}

#[test]
fn a_guard_page_lies_below_the_bodys_part() {
    let (send, receive) = mpsc::channel();
    let mut fiber = spawn(backends()[0], move |_| {
        let here = 0u8;
        send.send(&raw const here as usize)
            .expect("the test listens");
    });
    assert_eq!(resume(&mut fiber), Resumed::Finished);
    let here = receive.recv().expect("the body sent");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let mut below = String::new();
    for line in maps.lines() {
        let range = line.split(' ').next().expect("a range");
        let (low, high) = range.split_once('-').expect("a range");
        let low = usize::from_str_radix(low, 16).expect("hex");
        let high = usize::from_str_radix(high, 16).expect("hex");
        if (low..high).contains(&here) {
            assert!(
                low + common::STACK_SIZE >= high - 4096,
                "the mapping is one stack: {line}"
            );
            break;
        }
        below = line.to_owned();
    }
    assert!(
        below.contains(" ---p "),
        "the mapping below the stack is {below}"
    );
    fiber.finish().expect("a finished body ends");
}

#[test]
fn sixty_four_fibers_hop_between_four_threads() {
    const FIBERS: u64 = 64;
    const HOPS: u64 = 500;
    for backend in backends() {
        let queue = Arc::new(Mutex::new(VecDeque::new()));
        let finished = Arc::new(AtomicUsize::new(0));
        let moves = Arc::new(AtomicU32::new(0));
        for index in 0..FIBERS {
            let moves = moves.clone();
            let fiber = spawn(backend, move |suspender| {
                VALUE.set(index << 32);
                let mut kept = Vec::new();
                for hop in 0..HOPS {
                    kept.push(format!("{index}-{hop}"));
                    let before = gettid();
                    VALUE.with(|value| {
                        let seen = value.get();
                        suspender.suspend();
                        assert_eq!(value.get(), seen);
                        value.set(seen + 1);
                    });
                    moves.fetch_add(u32::from(gettid() != before), SeqCst);
                    if hop % 100 == 99 {
                        kept.clear();
                    }
                }
                assert_eq!(VALUE.get(), (index << 32) + HOPS);
            });
            queue.lock().expect("not poisoned").push_back(fiber);
        }
        let carry = || {
            while finished.load(SeqCst) < FIBERS as usize {
                let Some(mut fiber) = queue.lock().expect("not poisoned").pop_front() else {
                    std::thread::sleep(std::time::Duration::from_micros(50));
                    continue;
                };
                match resume(&mut fiber) {
                    Resumed::Suspended => queue.lock().expect("not poisoned").push_back(fiber),
                    Resumed::Finished => {
                        fiber.finish().expect("a finished body ends");
                        finished.fetch_add(1, SeqCst);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|_| _ = scope.spawn(carry));
        });
        if matches!(backend, Backend::Carried(_)) {
            assert!(
                moves.load(SeqCst) > 0,
                "bodies did move between kernel threads"
            );
        } else {
            assert_eq!(
                moves.load(SeqCst),
                0,
                "a native body stays on its kernel thread"
            );
        }
    }
}
