//! Work keyed by the kernel's thread id, work that must not happen on a real-time CPU, and what a task starts.

mod common;
#[path = "common/granted.rs"]
mod granted;

use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::time::Duration;

use common::{Exclusive, prio, runtime, wait_until};
use corelane::{CpuId, CpuSet, JoinError, task};
use corelane_os::cpuset::{KernelCpu, KernelCpuSet};
use corelane_os::fiber::Backend;
use corelane_os::thread::{self as os, Policy, Tid, gettid};
use granted::{has_fifo, policy};

fn is_carried(runtime: &Exclusive) -> bool {
    matches!(runtime.status().fiber_backend, Backend::Carried(_))
}

/// The policy field of /proc/<pid>/stat: 0 is SCHED_OTHER.
fn policy_in(stat: &str) -> &str {
    let after_name = stat.rsplit(')').next().unwrap();
    after_name.split_whitespace().nth(38).unwrap()
}

thread_local! {
    static VALUE: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn native_parts_run_on_one_thread_that_is_not_the_carriers() {
    let runtime = runtime();
    if !is_carried(&runtime) {
        return; // then every part is native
    }
    let cpus = runtime.cpus();
    let handle = runtime.spawn(prio(50), move || {
        let own = task::current().unwrap();
        let mut natives = Vec::new();
        for round in 0..20 {
            let target = CpuSet::single(cpus, CpuId::new(round % cpus));
            own.set_affinity(&target).unwrap();
            let carrier = gettid();
            let native = task::native(gettid);
            assert_ne!(native, carrier);
            assert_eq!(task::native(gettid), native);
            assert_eq!(
                gettid(),
                carrier,
                "carried again, by the worker of the same CPU"
            );
            natives.push(native);
        }
        (gettid(), natives)
    });
    let (_, natives) = handle.join().unwrap();
    assert!(natives.iter().all(|native| *native == natives[0]));
}

#[test]
fn a_native_part_has_the_cpu_of_its_task_and_a_level_above_the_worker() {
    let runtime = runtime();
    let (cpus, fifo) = (runtime.cpus(), has_fifo(&runtime));
    let kernels: Vec<usize> = (0..cpus)
        .map(|cpu| runtime.kernel_cpu(CpuId::new(cpu)))
        .collect();
    for (slot, kernel) in kernels.into_iter().enumerate() {
        let only = CpuSet::single(cpus, CpuId::new(slot));
        let task = runtime.build_task().priority(prio(7)).affinity(only);
        let native =
            || task::native(|| (policy(), os::affinity(Tid(0)).unwrap(), os::current_cpu()));
        let (policy, affinity, cpu) = task.spawn(native).join().unwrap();
        let kernel = KernelCpu(kernel as u32);
        assert_eq!(
            policy,
            if fifo {
                Policy::Fifo { level: 21 }
            } else {
                Policy::Other
            }
        );
        assert_eq!((affinity, cpu), (KernelCpuSet::single(kernel), kernel));
    }
}

#[test]
fn thread_locals_and_the_thread_stay_across_native_parts() {
    let runtime = runtime();
    let handle = runtime.spawn(prio(50), || {
        let id = std::thread::current().id();
        VALUE.set(1);
        for step in 1..100 {
            assert_eq!(task::native(|| VALUE.replace(2 * step)), step);
            assert_eq!(VALUE.replace(step + 1), 2 * step);
            assert_eq!(task::native(|| std::thread::current().id()), id);
        }
    });
    handle.join().unwrap();
}

#[test]
fn a_panic_passes_out_of_a_native_part() {
    let runtime = runtime();
    let caught = runtime.spawn(prio(50), || {
        let panics = || task::native(|| std::panic::resume_unwind(Box::new(7)));
        let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        assert!(!std::thread::panicking());
        assert_eq!(task::native(|| 1), 1);
        *payload.downcast::<i32>().unwrap()
    });
    assert_eq!(caught.join().unwrap(), 7);
    let panics = runtime.spawn(prio(50), || task::native(|| panic!("native {}", "panic")));
    assert_eq!(
        panics.join().unwrap_err().panic_message(),
        Some("native panic")
    );
}

#[test]
fn other_tasks_run_on_the_cpu_while_a_native_part_sleeps() {
    let runtime = runtime();
    let only = CpuSet::single(runtime.cpus(), CpuId::new(0));
    let count = Arc::new(AtomicU32::new(0));
    let seen = count.clone();
    let native = runtime
        .build_task()
        .priority(prio(90))
        .affinity(only.clone())
        .spawn(move || {
            task::native(|| {
                while seen.load(SeqCst) < 5 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        });
    let lower = runtime
        .build_task()
        .priority(prio(10))
        .affinity(only)
        .spawn(move || {
            for _ in 0..5 {
                count.fetch_add(1, SeqCst);
                task::yield_now();
            }
        });
    native.join().unwrap();
    lower.join().unwrap();
}

#[test]
fn calls_into_the_runtime_work_in_a_native_part_as_on_a_thread() {
    let runtime = runtime();
    let parked = runtime.spawn(prio(50), || {
        task::native(|| {
            task::park();
            assert!(!task::park_timeout(Duration::from_millis(1)));
            task::yield_now();
            task::checkpoint();
            task::sleep(Duration::from_micros(100));
            task::spawn(prio(60), || 4).join().unwrap() + task::native(|| 1)
        })
    });
    parked.task().unpark();
    assert_eq!(parked.join().unwrap(), 5);
}

/// A priority-inheriting mutex of the C library. It records the kernel's thread id of its owner, so that
/// only the kernel thread that locked it may unlock it.
struct PiMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: the C library's mutexes are made to be shared.
unsafe impl Sync for PiMutex {}
// SAFETY: it is only moved before its first use.
unsafe impl Send for PiMutex {}

impl PiMutex {
    fn new() -> Box<PiMutex> {
        let mutex = Box::new(PiMutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)));
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        // SAFETY: the attributes are initialised before use and destroyed after; the mutex does not move.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setprotocol(
                attributes.as_mut_ptr(),
                libc::PTHREAD_PRIO_INHERIT,
            );
            libc::pthread_mutexattr_settype(
                attributes.as_mut_ptr(),
                libc::PTHREAD_MUTEX_ERRORCHECK,
            );
            assert_eq!(
                libc::pthread_mutex_init(mutex.0.get(), attributes.as_ptr()),
                0
            );
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        }
        mutex
    }

    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: an initialised mutex that outlives the call; errors are answers, not undefined.
        unsafe {
            assert_eq!(libc::pthread_mutex_lock(self.0.get()), 0);
            let result = f();
            assert_eq!(libc::pthread_mutex_unlock(self.0.get()), 0);
            result
        }
    }
}

#[test]
fn a_priority_inheriting_mutex_of_the_c_library_works_in_native_parts() {
    let runtime = runtime();
    let (mutex, count) = (Arc::new(PiMutex::new()), Arc::new(AtomicU32::new(0)));
    let spawn = |number: u8| {
        let (mutex, count) = (mutex.clone(), count.clone());
        runtime.spawn(prio(10 + number), move || {
            for _ in 0..40 {
                task::native(|| {
                    mutex.with(|| {
                        let seen = count.load(Relaxed);
                        std::thread::sleep(Duration::from_micros(20)); // somebody else wants it meanwhile
                        count.store(seen + 1, Relaxed);
                    })
                });
                task::yield_now();
            }
        })
    };
    let handles: Vec<_> = (0..6).map(spawn).collect();
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    assert_eq!(count.load(Relaxed), 240);
}

#[test]
fn outside_has_the_affinity_of_the_process_and_the_ordinary_policy() {
    let affinity = os::affinity(Tid(0)).unwrap();
    let runtime = runtime();
    let background = runtime.spawn_background(|| task::outside(|| (policy(), gettid())));
    let handle = runtime.spawn(prio(50), || {
        let mut borrowed = vec![1, 2];
        let (policy, affinity, tid) = task::outside(|| {
            assert!(task::current().is_none());
            borrowed.push(3);
            (policy(), os::affinity(Tid(0)).unwrap(), gettid())
        });
        assert_eq!(borrowed, [1, 2, 3]);
        assert_eq!(task::outside(gettid), tid);
        (policy, affinity, tid)
    });
    let (policy, found, tid) = handle.join().unwrap();
    assert_eq!((policy, found), (Policy::Other, affinity));
    assert_eq!(background.join().unwrap(), (Policy::Other, tid));
}

#[test]
fn closures_of_many_tasks_run_outside_one_after_the_other_and_panics_pass() {
    let runtime = runtime();
    let (inside, sum) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let spawn = |number: u32| {
        let (inside, sum) = (inside.clone(), sum.clone());
        runtime.spawn(prio(1 + number as u8), move || {
            let mut local = [number; 4];
            for round in 0..20 {
                let panics = task::outside(|| {
                    catch_unwind(AssertUnwindSafe(|| {
                        assert_eq!(inside.fetch_add(1, SeqCst), 0, "two closures at once");
                        local[round % 4] += 1;
                        inside.fetch_sub(1, SeqCst);
                    }))
                    .is_err()
                });
                assert!(!panics);
            }
            sum.fetch_add(local.iter().sum(), SeqCst);
            task::outside(|| -> () { std::panic::resume_unwind(Box::new(number)) })
        })
    };
    let handles: Vec<_> = (0..16).map(spawn).collect();
    for (number, handle) in handles.into_iter().enumerate() {
        let Err(JoinError::Panicked(payload)) = handle.join() else {
            panic!("a panic outside passes through")
        };
        assert_eq!(*payload.downcast::<u32>().unwrap(), number as u32);
    }
    assert_eq!(sum.load(SeqCst), 16 * 20 + 4 * (0..16).sum::<u32>());
}

#[test]
fn threads_and_processes_that_a_task_starts_are_ordinary() {
    let runtime = runtime();
    let start = || {
        let thread = std::thread::spawn(policy).join().unwrap();
        let process = std::process::Command::new("cat")
            .arg("/proc/self/stat")
            .output()
            .unwrap();
        (
            thread,
            policy_in(&String::from_utf8(process.stdout).unwrap()).to_owned(),
        )
    };
    let ordinary = (Policy::Other, "0".to_owned());
    assert_eq!(runtime.spawn(prio(50), start).join().unwrap(), ordinary);
    assert_eq!(
        runtime
            .spawn(prio(50), move || task::native(start))
            .join()
            .unwrap(),
        ordinary
    );
    assert_eq!(
        runtime
            .spawn(prio(50), move || task::outside(start))
            .join()
            .unwrap(),
        ordinary
    );
    assert_eq!(runtime.spawn_background(start).join().unwrap(), ordinary);
}

#[test]
fn a_thread_started_outside_may_run_on_every_cpu_of_the_process() {
    let affinity = os::affinity(Tid(0)).unwrap();
    let runtime = runtime();
    let start = || {
        task::outside(|| {
            std::thread::spawn(|| os::affinity(Tid(0)).unwrap())
                .join()
                .unwrap()
        })
    };
    assert_eq!(runtime.spawn(prio(50), start).join().unwrap(), affinity);
}

#[test]
fn an_urgent_task_does_not_go_where_a_native_part_has_the_cpu() {
    let runtime = runtime();
    if runtime.cpus() < 2 {
        eprintln!("skipped: this test needs two CPUs");
        return;
    }
    let (inside, over) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (enter, leave) = (inside.clone(), over.clone());
    let first = CpuSet::single(runtime.cpus(), CpuId::new(0));
    let part = runtime
        .build_task()
        .priority(prio(50))
        .affinity(first)
        .spawn(move || {
            task::native(|| {
                enter.store(true, SeqCst);
                while !leave.load(SeqCst) {
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        });
    wait_until("the native part to run and its CPU to say so", || {
        inside.load(SeqCst) && runtime.snapshot().cpus[0].level == 52
    });
    let where_it_runs = || task::current().unwrap().cpu();
    for urgency in [90, 50, 20] {
        // The task before has ended, but its CPU may not have said so yet.
        wait_until("the other CPU to be idle", || {
            runtime.snapshot().cpus[1..]
                .iter()
                .all(|cpu| cpu.level <= 1)
        });
        let cpu = runtime.spawn(prio(urgency), where_it_runs).join().unwrap();
        assert_ne!(cpu, CpuId::new(0), "priority {urgency}");
    }
    over.store(true, SeqCst);
    part.join().unwrap();
    wait_until("the CPU to be idle again", || {
        runtime.snapshot().cpus[0].level <= 1
    });
}

#[test]
fn a_native_part_that_excludes_its_own_cpu_does_not_wait_for_itself() {
    let runtime = runtime();
    if runtime.cpus() < 2 {
        eprintln!("skipped: this test needs two CPUs");
        return;
    }
    let cpus = runtime.cpus();
    let handle = runtime.spawn(prio(50), move || {
        let other = task::native(|| {
            let me = task::current().unwrap();
            let other = CpuId::new(1 - me.cpu().index().min(1));
            me.set_affinity(&CpuSet::single(cpus, other)).unwrap();
            other
        });
        (other, task::current().unwrap().cpu())
    });
    let (asked, found) = handle.join().unwrap();
    assert_eq!(asked, found, "it obeys on its way back");
}
