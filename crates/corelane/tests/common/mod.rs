//! What the tests share. Each test binary is one process with one runtime at a time.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use corelane::{Builder, Idle, Priority, Runtime};

/// A runtime that no other test of this process overlaps: two runtimes cannot share CPUs.
pub struct Exclusive {
    runtime: Option<Runtime>,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl std::ops::Deref for Exclusive {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.runtime.as_ref().expect("present until dropped")
    }
}

impl Exclusive {
    /// Ends the runtime and returns its report.
    pub fn shutdown(mut self, limit: Duration) -> corelane::Report {
        self.runtime
            .take()
            .expect("present until dropped")
            .shutdown(limit)
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        drop(self.runtime.take());
    }
}

/// A builder whose runtime takes its turn.
pub struct ExclusiveBuilder(Builder);

impl ExclusiveBuilder {
    pub fn map(self, f: impl FnOnce(Builder) -> Builder) -> ExclusiveBuilder {
        ExclusiveBuilder(f(self.0))
    }

    pub fn fibers(self, fibers: usize) -> ExclusiveBuilder {
        self.map(|builder| builder.fibers(fibers))
    }

    pub fn events(self, capacity: usize) -> ExclusiveBuilder {
        self.map(|builder| builder.events(capacity))
    }

    pub fn build(self) -> Result<Exclusive, corelane::BuildError> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        start_watchdog();
        Ok(Exclusive {
            runtime: Some(self.0.build()?),
            _turn: turn,
        })
    }
}

pub fn builder() -> ExclusiveBuilder {
    ExclusiveBuilder(Runtime::builder().idle(Idle::SpinThenPark { spin_ns: 20_000 }))
}

/// A runtime on all CPUs.
pub fn runtime() -> Exclusive {
    builder()
        .build()
        .expect("a runtime on all CPUs of this process")
}

pub fn prio(value: u8) -> Priority {
    Priority::new(value).expect("a priority between 1 and 99")
}

/// How long a test may take on the wall clock before its process is killed.
const WATCHDOG: Duration = Duration::from_secs(100);

/// Waits for what other threads or tasks do. The watchdog ends a wait that does not end.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WATCHDOG / 2, "waited in vain for {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A process of its own that kills this one if it does not end in time: a real-time bug can keep every
/// thread of this process from running, its watchdog threads among them.
fn start_watchdog() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let script = format!(
            "i=0; while [ $i -lt {} ]; do sleep 1; kill -0 {1} 2>/dev/null || exit 0; i=$((i+1)); done; \
             echo 'watchdog: a real-time test hung' >&2; kill -KILL {1}",
            WATCHDOG.as_secs(),
            std::process::id()
        );
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        drop(command.spawn());
    });
}
