//! Ten thousand signals a second while tasks switch: handlers run on fiber stacks, at any instruction.
//!
//! Two kinds: queued ones with a value (none is lost, so sent and handled are equal), sent to the process and
//! to each worker; and an interval timer's SIGALRM. Each handler counts in a thread-local as well, which is
//! the fiber's if a fiber runs; the thread-locals together must give what was handled.
//!
//! # Unsafe
//! What is raw: signal handlers, queued signals. The handlers use atomics and a thread-local that its thread
//! has touched before.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corelane::{Runtime, task};
use corelane_attacks::{asked, churn, number, prio, runtime};

static HANDLED: AtomicU64 = AtomicU64::new(0);
static ON_FIBERS: AtomicU64 = AtomicU64::new(0);
static ALARMS: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicBool = AtomicBool::new(false);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static IS_FIBER: Cell<bool> = const { Cell::new(false) };
}

extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // The mask of the action blocks both signals: a handler of this kernel thread is never nested.
    let depth = DEPTH.get();
    DEPTH.set(depth + 1);
    if signal == libc::SIGALRM {
        ALARMS.fetch_add(1, SeqCst);
    } else {
        // SAFETY: with SA_SIGINFO the kernel passes a filled siginfo, and the signal was queued with a value.
        let value = unsafe { (*info).si_value().sival_ptr as usize };
        WRONG.fetch_or(value != VALUE, SeqCst);
        HANDLED.fetch_add(1, SeqCst);
    }
    if IS_FIBER.get() {
        ON_FIBERS.fetch_add(1, SeqCst);
    }
    WRONG.fetch_or(DEPTH.get() != depth + 1 || depth != 0, SeqCst);
    DEPTH.set(depth);
}

const VALUE: usize = 0x5eed;

fn install(signal: i32) {
    // SAFETY: zeroed sets are valid; the handler has the signature of SA_SIGINFO.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaddset(&mut action.sa_mask, libc::SIGALRM);
        libc::sigaddset(&mut action.sa_mask, libc::SIGRTMIN());
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// Blocks the signals on the calling thread, so that others get what is sent to the process.
fn block() {
    // SAFETY: a set made by the calls above it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigaddset(&mut set, libc::SIGALRM);
        libc::sigaddset(&mut set, libc::SIGRTMIN());
        assert_eq!(
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()),
            0
        );
    }
}

/// Queues one signal for the process (thread 0) or a thread of it; says whether there was room.
fn queue(thread: i32) -> bool {
    // SAFETY: a siginfo of the form that the kernel wants from user space: code SI_QUEUE and a value.
    let answer = unsafe {
        let mut info: [u64; 16] = [0; 16];
        let words = info.as_mut_ptr().cast::<i32>();
        *words = libc::SIGRTMIN();
        *words.add(2) = libc::SI_QUEUE;
        info[3] = VALUE as u64;
        let own = libc::getpid();
        if thread == 0 {
            libc::syscall(
                libc::SYS_rt_sigqueueinfo,
                own,
                libc::SIGRTMIN(),
                info.as_ptr(),
            )
        } else {
            libc::syscall(
                libc::SYS_rt_tgsigqueueinfo,
                own,
                thread,
                libc::SIGRTMIN(),
                info.as_ptr(),
            )
        }
    };
    let refused = std::io::Error::last_os_error().raw_os_error();
    assert!(answer == 0 || refused == Some(libc::EAGAIN), "{refused:?}");
    answer == 0
}

/// Sends until told to end; returns how many.
fn send(end: &AtomicBool, workers: &[i32]) -> u64 {
    block();
    let (began, mut sent) = (Instant::now(), 0);
    let targets: Vec<i32> = workers.iter().copied().chain([0]).collect();
    while !end.load(SeqCst) {
        let due = began.elapsed().as_micros() as u64 / 100;
        while sent < due && !end.load(SeqCst) {
            if !queue(targets[sent as usize % targets.len()]) {
                break;
            }
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    sent
}

/// The kernel threads of the workers.
fn workers() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task")
        .expect("procfs is mounted")
        .flatten();
    let of_worker = |thread: std::fs::DirEntry| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        name.starts_with("corelane-w")
            .then(|| thread.file_name().to_str()?.parse().ok())?
    };
    threads.filter_map(of_worker).collect()
}

/// The signals that wait for a kernel thread of this process, as a set: signal 1 is bit 0.
fn pending(thread: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status"));
    let status = status.expect("procfs is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    u64::from_str_radix(line.expect("it is listed").trim(), 16).expect("a number")
}

/// A signal for a fiber's own kernel thread waits there until the task runs natively.
fn signal_a_fiber(runtime: &Runtime) {
    // SAFETY: takes nothing.
    let own = || task::native(|| unsafe { libc::gettid() });
    let (tell, told) = std::sync::mpsc::channel();
    let parked = runtime.spawn(prio(50), move || {
        tell.send(own()).expect("main listens");
        task::park();
        task::native(|| ());
    });
    let thread = told.recv().expect("the task tells");
    while parked.task().state() != corelane::TaskState::Waiting {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(queue(thread));
    let bit = 1 << (libc::SIGRTMIN() - 1);
    assert_eq!(pending(thread) & bit, bit, "a parked thread blocks it");
    assert_eq!(HANDLED.load(SeqCst), 0, "what is pending is not handled");
    parked.task().unpark();
    parked.join().expect("it only waits");
    assert_eq!(HANDLED.load(SeqCst), 1, "its native part handles it");
    println!("intact");
}

/// Marks as many fibers as there are, by tasks that all wait at once.
fn mark_fibers(runtime: &Runtime) {
    let marked = Arc::new(AtomicI32::new(0));
    let mark = |_| {
        let marked = marked.clone();
        runtime.spawn(prio(90), move || {
            IS_FIBER.set(true);
            marked.fetch_add(1, SeqCst);
            task::park();
        })
    };
    let tasks: Vec<_> = (0..16).map(mark).collect();
    while marked.load(SeqCst) < 16 {
        std::thread::sleep(Duration::from_millis(1));
    }
    tasks.into_iter().for_each(|task| {
        task.task().unpark();
        task.join().expect("it only waits");
    });
}

fn alarm_every(micros: i64) {
    let time = libc::timeval {
        tv_sec: 0,
        tv_usec: micros,
    };
    let timer = libc::itimerval {
        it_interval: time,
        it_value: time,
    };
    // SAFETY: reads one itimerval.
    let answer = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    assert_eq!(answer, 0);
}

fn main() {
    install(libc::SIGALRM);
    install(libc::SIGRTMIN());
    let runtime = runtime();
    if asked("to-a-fiber") {
        return signal_a_fiber(&runtime);
    }
    let workers = workers();
    assert_eq!(workers.len(), runtime.cpus());
    mark_fibers(&runtime);
    block();
    let end = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(Mutex::new(0));
    let sender = {
        let (end, sent) = (end.clone(), sent.clone());
        std::thread::spawn(move || *sent.lock().expect("no panic") = send(&end, &workers))
    };
    alarm_every(100);
    let rounds = churn(&runtime, Duration::from_millis(number("ms", 2000)));
    alarm_every(0);
    end.store(true, SeqCst);
    sender.join().expect("it only sends");
    let sent = *sent.lock().expect("no panic");
    let patience = Instant::now() + Duration::from_secs(10);
    while HANDLED.load(SeqCst) < sent && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (handled, alarms) = (HANDLED.load(SeqCst), ALARMS.load(SeqCst));
    let on_fibers = ON_FIBERS.load(SeqCst);
    println!(
        "sent {sent}, handled {handled}, alarms {alarms}, on fibers {on_fibers}, {rounds} rounds"
    );
    assert!(sent > 0, "signals were queued");
    assert_eq!(sent, handled, "each queued signal is handled once");
    assert!(
        !WRONG.load(SeqCst),
        "each handler found its value and its thread-local"
    );
    assert!(
        alarms > 0 && on_fibers > 0,
        "handlers ran while fibers were carried"
    );
    drop(runtime);
    println!("intact");
}
