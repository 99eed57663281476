//! The executor arm: the scenarios with tasks.
//!
//! The runtime has the target's CPU alone. Wakes from another CPU come from the same real-time
//! thread as in the kernel arm, which is no part of the runtime: an audio callback or a driver
//! thread that unparks a task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane::{Cpus, Idle, JoinHandle, Priority, Runtime, Task, task};
use corelane_os::clock;

use super::arm::Arm;
use super::exchange::Exchange;
use super::kernel::nanosleep_until;
use super::plan::Plan;
use super::release::{self, SleepUntil};
use super::scenario::Scenario;
use super::site::{Realtime, Seat, Seated, Site, TARGET_LEVEL, WAKER_LEVEL, finish};
use super::stamp::Stamp;
use super::victim;
use super::waker::{Wake, Waker};

const HIGHER: Priority = priority(80);
const LOWER: Priority = priority(10);

const fn priority(priority: u8) -> Priority {
    match Priority::new(priority) {
        Ok(priority) => priority,
        Err(_) => panic!("priorities are 1..=99"),
    }
}

/// A target, a victim or a waker, and room to spare.
const FIBERS: usize = 8;
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// The executor's side of one scenario.
pub(super) struct Executor {
    runtime: Runtime,
    site: Site,
    scenario: Scenario,
}

impl Executor {
    /// Builds the runtime for a scenario.
    ///
    /// # Errors
    /// When the host refuses it what the kernel arm gets.
    pub(super) fn new(site: Site, scenario: Scenario) -> Result<Executor, String> {
        let realtime = match site.realtime {
            Realtime::Fifo => corelane::Realtime::Required,
            Realtime::Refused => corelane::Realtime::BestEffort,
        };
        let runtime = Runtime::builder()
            .cpus(Cpus::Kernel(vec![site.target_cpu.0 as usize]))
            .fifo_priority(TARGET_LEVEL)
            .idle(idle(scenario, &site.plan))
            .fibers(FIBERS)
            .realtime(realtime)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Executor {
            runtime,
            site,
            scenario,
        })
    }

    /// Shuts the runtime down.
    ///
    /// # Errors
    /// When a task did not end.
    pub(super) fn end(self) -> Result<(), String> {
        let report = self.runtime.shutdown(SHUTDOWN_LIMIT);
        match report.abandoned.len() {
            0 => Ok(()),
            tasks => Err(format!("{tasks} tasks of the executor did not end")),
        }
    }

    fn wakes(&self, length: Duration) -> Result<Vec<u64>, String> {
        let exchange = Arc::new(Exchange::default());
        let target = self.target(&exchange);
        let victim = (self.scenario == Scenario::WakeBusy).then(|| self.victim(&exchange, length));
        let waker = Unpark(target.task());
        let samples_ns = match self.scenario {
            Scenario::WakeLocal => joined(self.local_waker(&exchange, length, waker.clone())),
            _ => self
                .waker(&exchange, length, waker.clone())
                .and_then(finish),
        };
        // Whatever happened, the others must see the end.
        exchange.end();
        waker.wake();
        let ended = victim.map(joined).transpose();
        joined(target)?;
        ended?;
        samples_ns
    }

    fn target(&self, exchange: &Arc<Exchange>) -> JoinHandle<Result<(), String>> {
        let (exchange, stamp) = (exchange.clone(), self.site.stamp);
        let target = self.runtime.build_task().name("target").priority(HIGHER);
        target.spawn(move || {
            serve(&exchange, stamp);
            Ok(())
        })
    }

    fn victim(&self, exchange: &Arc<Exchange>, length: Duration) -> JoinHandle<Result<(), String>> {
        let (exchange, stamp) = (exchange.clone(), self.site.stamp);
        let victim = self.runtime.build_task().name("victim").priority(LOWER);
        victim.spawn(move || {
            victim::compute(stamp, &exchange, length, task::checkpoint);
            Ok(())
        })
    }

    /// An ordinary thread on the other CPU.
    fn waker(
        &self,
        exchange: &Arc<Exchange>,
        length: Duration,
        wake: Unpark,
    ) -> Result<Seated<Vec<u64>>, String> {
        let (site, exchange) = (self.site, exchange.clone());
        let seat = Seat {
            name: "executor-waker",
            cpu: site.waker_cpu,
            level: WAKER_LEVEL,
        };
        site.start(seat, move || {
            let waker = Waker {
                stamp: site.stamp,
                plan: &site.plan,
                exchange: &exchange,
            };
            waker.run(length, &wake)
        })
    }

    /// A lower task on the same CPU.
    fn local_waker(
        &self,
        exchange: &Arc<Exchange>,
        length: Duration,
        wake: Unpark,
    ) -> JoinHandle<Result<Vec<u64>, String>> {
        let (site, exchange) = (self.site, exchange.clone());
        let waker = self.runtime.build_task().name("waker").priority(LOWER);
        waker.spawn(move || {
            let waker = Waker {
                stamp: site.stamp,
                plan: &site.plan,
                exchange: &exchange,
            };
            waker.run(length, &UnparkFromTask(wake, TaskSleep::new()))
        })
    }

    fn periodic(&self, length: Duration) -> Result<Vec<u64>, String> {
        let timer = self.runtime.build_task().name("timer").priority(HIGHER);
        joined(timer.spawn(move || Ok(release::errors_ns(length, &TaskSleep::new()))))
    }
}

impl Arm for Executor {
    fn block(&mut self, length: Duration) -> Result<Vec<u64>, String> {
        match self.scenario {
            Scenario::Periodic => self.periodic(length),
            _ => self.wakes(length),
        }
    }
}

/// Spinning lasts from one wake to the next, so that the worker is asleep in the kernel's blocks.
fn idle(scenario: Scenario, plan: &Plan) -> Idle {
    match scenario {
        Scenario::WakeIdleSpin => Idle::SpinThenPark {
            spin_ns: plan.spin().as_nanos() as u64,
        },
        Scenario::WakeIdlePark | Scenario::WakeBusy => Idle::Park,
        Scenario::WakeLocal | Scenario::Periodic => Idle::SpinThenPark { spin_ns: 50_000 },
    }
}

/// The woken side, until the block is over.
fn serve(exchange: &Exchange, stamp: Stamp) {
    exchange.get_ready();
    loop {
        task::park();
        let woken_at = stamp.now();
        if exchange.is_over() {
            return;
        }
        exchange.answer(woken_at);
    }
}

fn joined<T>(task: JoinHandle<Result<T, String>>) -> Result<T, String> {
    task.join()
        .unwrap_or_else(|error| Err(format!("a measuring task ended early: {error}")))
}

/// Wakes a task from an ordinary thread.
#[derive(Clone)]
struct Unpark(Task);

impl Wake for Unpark {
    #[inline]
    fn wake(&self) {
        self.0.unpark();
    }
}

impl SleepUntil for Unpark {
    fn sleep_until(&self, at_ns: u64) {
        nanosleep_until(at_ns);
    }
}

/// Wakes a task from a task.
struct UnparkFromTask(Unpark, TaskSleep);

impl Wake for UnparkFromTask {
    #[inline]
    fn wake(&self) {
        self.0.wake();
    }
}

impl SleepUntil for UnparkFromTask {
    fn sleep_until(&self, at_ns: u64) {
        self.1.sleep_until(at_ns);
    }
}

/// Releases by the runtime's timers.
struct TaskSleep {
    /// The same instant in both notations of the one clock.
    base: Instant,
    base_ns: u64,
}

impl TaskSleep {
    fn new() -> TaskSleep {
        let before_ns = clock::now_ns();
        let base = Instant::now();
        let after_ns = clock::now_ns();
        TaskSleep {
            base,
            base_ns: before_ns.midpoint(after_ns),
        }
    }
}

impl SleepUntil for TaskSleep {
    fn sleep_until(&self, at_ns: u64) {
        task::sleep_until(self.base + Duration::from_nanos(at_ns.saturating_sub(self.base_ns)));
    }
}
