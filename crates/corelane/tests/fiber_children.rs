//! Threads and processes started by tasks, and the end of the process out of a task. The table of attacks is
//! in `docs/fibers.md`.

mod common;
#[path = "common/stir.rs"]
mod stir;

use std::ffi::CString;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::*};

use common::{prio, runtime};
use corelane::task;
use corelane_os::cpuset::{KernelCpu, KernelCpuSet};
use corelane_os::thread::{self as os, Policy, Tid};
use stir::{crowd, in_a_child, is_child, stir, text};

#[test]
fn scoped_threads_borrow_from_a_tasks_stack_and_are_ordinary() {
    let runtime = runtime();
    crowd(&runtime, 4, |number, cpus| {
        for _ in 0..5 {
            stir(cpus);
            let (mut mine, count) = (vec![number; 3], AtomicU32::new(0));
            std::thread::scope(|scope| {
                scope.spawn(|| mine.push(number + 1));
                scope.spawn(|| {
                    count.fetch_add(1, SeqCst);
                    assert_eq!(os::policy(Tid(0)), Ok(Policy::Other));
                    assert!(task::current().is_none());
                });
            });
            stir(cpus);
            assert_eq!((mine[3], count.load(SeqCst)), (number + 1, 1));
        }
    });
}

#[test]
fn a_thread_that_a_task_starts_has_the_one_cpu_of_its_carrier() {
    let runtime = runtime();
    let kernel: Vec<usize> = (0..runtime.cpus())
        .map(|slot| runtime.kernel_cpu(corelane::CpuId::new(slot)))
        .collect();
    crowd(&runtime, 4, move |_, cpus| {
        stir(cpus);
        let guard = corelane::migrate_disable();
        let here = KernelCpu(kernel[guard.cpu().index()] as u32);
        let affinity = std::thread::spawn(|| os::affinity(Tid(0)).unwrap())
            .join()
            .unwrap();
        assert_eq!(affinity, KernelCpuSet::single(here));
    });
}

#[test]
fn commands_run_from_tasks_and_answer() {
    let runtime = runtime();
    crowd(&runtime, 4, |number, cpus| {
        for _ in 0..3 {
            stir(cpus);
            let output = Command::new("echo")
                .arg(number.to_string())
                .output()
                .unwrap();
            assert_eq!(output.stdout, format!("{number}\n").into_bytes());
        }
    });
}

/// The exit code of a child, waited for on the spot.
fn exit_code(child: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the pointer is to a local.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

fn arguments(code: usize) -> [CString; 3] {
    ["sh", "-c", &format!("exit {code}")].map(|word| CString::new(word).unwrap())
}

#[test]
fn fork_and_exec_work_in_a_task() {
    let runtime = runtime();
    crowd(&runtime, 4, |number, cpus| {
        for _ in 0..3 {
            stir(cpus);
            let words = arguments(40 + number);
            let list = [
                words[0].as_ptr(),
                words[1].as_ptr(),
                words[2].as_ptr(),
                ptr::null(),
            ];
            // SAFETY: the child calls execv and _exit only, with strings made before.
            let child = unsafe {
                match libc::fork() {
                    0 => {
                        libc::execv(c"/bin/sh".as_ptr(), list.as_ptr());
                        libc::_exit(1)
                    }
                    child => child,
                }
            };
            assert!(child > 0);
            assert_eq!(exit_code(child), Some(40 + number as i32));
        }
    });
}

#[test]
fn posix_spawn_works_in_a_task() {
    let runtime = runtime();
    crowd(&runtime, 4, |number, cpus| {
        for _ in 0..3 {
            stir(cpus);
            let words = arguments(60 + number);
            let list = [
                words[0].as_ptr(),
                words[1].as_ptr(),
                words[2].as_ptr(),
                ptr::null(),
            ];
            let (mut child, environment) = (0, [ptr::null_mut()]);
            // SAFETY: strings and lists that live in this frame.
            let answer = unsafe {
                let list = list.as_ptr().cast();
                libc::posix_spawn(
                    &mut child,
                    c"/bin/sh".as_ptr(),
                    ptr::null(),
                    ptr::null(),
                    list,
                    environment.as_ptr(),
                )
            };
            assert_eq!(answer, 0);
            assert_eq!(exit_code(child), Some(60 + number as i32));
        }
    });
}

extern "C" fn say_goodbye() {
    eprintln!("an exit handler ran");
}

#[test]
fn exit_in_a_task_runs_exit_handlers_and_ends_the_process_with_its_code() {
    let name = "exit_in_a_task_runs_exit_handlers_and_ends_the_process_with_its_code";
    if is_child(name) {
        // SAFETY: a function that lives as long as the process.
        unsafe { libc::atexit(say_goodbye) };
        let runtime = runtime();
        let others: Vec<_> = (0..8)
            .map(|_| runtime.spawn(prio(40), task::park))
            .collect();
        crowd(&runtime, 2, |_, cpus| {
            (0..20).for_each(|_| stir(cpus));
            std::process::exit(23)
        });
        drop(others);
        unreachable!("the process has ended");
    }
    for _ in 0..3 {
        let output = in_a_child(name, &[]);
        let (_, said) = text(&output);
        assert_eq!(output.status.code(), Some(23), "{said}");
        assert!(said.contains("an exit handler ran"), "{said}");
    }
}

#[test]
fn many_tasks_print_whole_lines() {
    let name = "many_tasks_print_whole_lines";
    if is_child(name) {
        crowd(&runtime(), 8, |number, cpus| {
            for step in 0..40 {
                println!("line {number} {step} end");
                stir(cpus);
            }
        });
        return;
    }
    let output = in_a_child(name, &[]);
    let (said, error) = text(&output);
    assert!(output.status.success(), "{error}");
    for number in 0..8 {
        for step in 0..40 {
            assert_eq!(
                said.matches(&format!("line {number} {step} end\n")).count(),
                1
            );
        }
    }
}

#[test]
fn memory_is_freed_on_other_cpus_by_other_tasks_and_random_bytes_come() {
    const BLOCKS: usize = 100_000;
    let runtime = runtime();
    let (give, take) = std::sync::mpsc::channel::<Vec<u8>>();
    let (cpus, take) = (runtime.cpus(), std::sync::Mutex::new(take));
    let giver = runtime.spawn(prio(50), move || {
        for block in 0..BLOCKS {
            give.send(vec![block as u8; 1 + block % 300]).unwrap();
            if block % 500 == 0 {
                stir(cpus);
            }
        }
    });
    let taker = runtime.spawn(prio(50), move || {
        let (mut taken, mut random) = (0usize, [0u8; 16]);
        while taken < BLOCKS {
            // Never blocks: a task that waits in the kernel would stop its CPU.
            match take.lock().unwrap().try_recv() {
                Ok(block) => {
                    assert!(
                        block.len() == 1 + taken % 300
                            && block.iter().all(|&byte| byte == taken as u8)
                    );
                    taken += 1;
                }
                Err(_) => task::sleep(std::time::Duration::from_micros(50)),
            }
            if taken % 500 == 0 {
                stir(cpus);
                let before = random;
                // SAFETY: the kernel fills a live local.
                let got = unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
                assert_eq!(got, 16);
                assert_ne!(random, before);
            }
        }
    });
    giver.join().unwrap();
    taker.join().unwrap();
}
