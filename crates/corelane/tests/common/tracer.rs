//! Another process of the same test binary, and a tracer that stops, steps and watches its threads.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::io::Error;
use std::process::{Child, Command};
use std::ptr;
use std::sync::atomic::AtomicU64;

const WORDS: usize = 64;
const CHILD: &str = "CORELANE_TEST_CHILD";

/// Words that both processes see.
pub struct SharedWords {
    words: *const AtomicU64,
    fd: i32,
}

// SAFETY: the mapping lives as long as the process, and atomics may be used by all threads.
unsafe impl Sync for SharedWords {}
// SAFETY: as above.
unsafe impl Send for SharedWords {}

impl SharedWords {
    pub fn new() -> SharedWords {
        // SAFETY: the name is a C string; the descriptor is inherited on purpose.
        let fd = unsafe { libc::memfd_create(c"corelane-test".as_ptr(), 0) };
        assert!(fd >= 0, "memfd_create: {}", Error::last_os_error());
        // SAFETY: a descriptor of ours.
        assert_eq!(unsafe { libc::ftruncate(fd, (WORDS * 8) as i64) }, 0);
        SharedWords::map(fd)
    }

    /// The words of the parent, if this process is the child of `name`.
    pub fn of_parent(name: &str) -> Option<SharedWords> {
        let value = std::env::var(CHILD).ok()?;
        let (child, fd) = value.split_once('=')?;
        (child == name).then(|| SharedWords::map(fd.parse().unwrap()))
    }

    fn map(fd: i32) -> SharedWords {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a fresh mapping of a file of that size.
        let words = unsafe { libc::mmap(ptr::null_mut(), WORDS * 8, prot, flags, fd, 0) };
        assert_ne!(words, libc::MAP_FAILED, "mmap: {}", Error::last_os_error());
        SharedWords {
            words: words.cast(),
            fd,
        }
    }

    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS);
        // SAFETY: within the mapping, which is never unmapped; memory of a new file is zero.
        unsafe { &*self.words.add(index) }
    }

    /// Runs the test `name` of this binary in a process of its own, which sees these words.
    pub fn start_child(&self, name: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--test-threads=1", "--nocapture"]);
        command
            .env(CHILD, format!("{name}={}", self.fd))
            .spawn()
            .unwrap()
    }
}

/// A thread of the child, traced by the calling thread.
pub struct Traced(pub i32);

/// Why a traced thread stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It is about to make this system call.
    SyscallEntry(u64),
    SyscallExit,
    /// It was interrupted, or made a step.
    Halted,
    /// A signal is about to reach it.
    Signal(i32),
    Gone,
}

impl Traced {
    /// Starts to trace a thread; the error says why the host refuses.
    pub fn seize(tid: i32) -> Result<Traced, Error> {
        request(
            libc::PTRACE_SEIZE,
            tid,
            libc::PTRACE_O_TRACESYSGOOD as usize,
        )?;
        Ok(Traced(tid))
    }

    /// Stops the thread, in the middle of whatever it does.
    pub fn halt(&self) {
        request(libc::PTRACE_INTERRUPT, self.0, 0).unwrap();
        while self.wait() != Stop::Halted {
            self.go();
        }
    }

    /// Lets it execute `steps` instructions more.
    pub fn step(&self, steps: usize) {
        for _ in 0..steps {
            request(libc::PTRACE_SINGLESTEP, self.0, 0).unwrap();
            assert_ne!(self.wait(), Stop::Gone);
        }
    }

    /// Lets it run.
    pub fn go(&self) {
        request(libc::PTRACE_CONT, self.0, 0).unwrap();
    }

    /// Lets it run to the next entry into the kernel or return from it.
    pub fn go_to_syscall(&self, signal: i32) {
        request(libc::PTRACE_SYSCALL, self.0, signal as usize).unwrap();
    }

    /// Ends the tracing of a halted thread.
    pub fn release(self) {
        request(libc::PTRACE_DETACH, self.0, 0).unwrap();
    }

    fn wait(&self) -> Stop {
        wait_for(self.0).1
    }
}

/// Waits for a stop of a traced thread, or of any if `tid` is -1.
pub fn wait_for(tid: i32) -> (i32, Stop) {
    let mut status = 0;
    // SAFETY: the pointer is to a local.
    let tid = unsafe { libc::waitpid(tid, &mut status, libc::__WALL) };
    assert!(tid > 0, "waitpid: {}", Error::last_os_error());
    if !libc::WIFSTOPPED(status) {
        return (tid, Stop::Gone);
    }
    let stop = match libc::WSTOPSIG(status) {
        signal if signal == libc::SIGTRAP | 0x80 => syscall_stop(tid),
        _ if status >> 16 == libc::PTRACE_EVENT_STOP => Stop::Halted,
        libc::SIGTRAP => Stop::Halted,
        signal => Stop::Signal(signal),
    };
    (tid, stop)
}

fn syscall_stop(tid: i32) -> Stop {
    // SAFETY: plain data, for which zeroes are a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: the kernel writes at most `size` bytes.
    let done = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size, &raw mut info) };
    assert!(
        done > 0,
        "PTRACE_GET_SYSCALL_INFO: {}",
        Error::last_os_error()
    );
    match info.op {
        // SAFETY: `op` says that this member is the one written.
        libc::PTRACE_SYSCALL_INFO_ENTRY => Stop::SyscallEntry(unsafe { info.u.entry.nr }),
        _ => Stop::SyscallExit,
    }
}

fn request(request: libc::c_uint, tid: i32, data: usize) -> Result<(), Error> {
    // SAFETY: none of the requests made here writes to memory of this process.
    let done = unsafe { libc::ptrace(request, tid, 0_usize, data) };
    if done == -1 {
        Err(Error::last_os_error())
    } else {
        Ok(())
    }
}
