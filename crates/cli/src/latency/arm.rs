//! One side of the comparison: something that can run a block of a scenario.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use corelane_os::clock;

/// Which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArmName {
    Executor,
    Kernel,
}

/// A side that is ready to measure one scenario. Between two blocks it is asleep.
pub(super) trait Arm {
    /// Measures for about `length` and returns the latencies in nanoseconds.
    ///
    /// # Errors
    /// When a thread could not be placed or a wake got lost; the scenario is given up.
    fn block(&mut self, length: Duration) -> Result<Vec<u64>, String>;
}

/// What a block measured.
pub(super) struct Block {
    pub(super) samples_ns: Vec<u64>,
    /// CPU time of the whole process: in both arms it holds the waker and everything that the arm
    /// needs besides.
    pub(super) cpu_ns: u64,
    pub(super) wall_ns: u64,
}

impl Block {
    /// Runs a block of `arm`.
    pub(super) fn measure(arm: &mut dyn Arm, length: Duration) -> Result<Block, String> {
        let (cpu_ns, wall_ns) = (process_cpu_ns()?, clock::now_ns());
        let samples_ns = arm.block(length)?;
        Ok(Block {
            samples_ns,
            cpu_ns: process_cpu_ns()?.saturating_sub(cpu_ns),
            wall_ns: clock::now_ns().saturating_sub(wall_ns),
        })
    }
}

fn process_cpu_ns() -> Result<u64, String> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map_err(|errno| format!("the CPU time of the process is not readable: {errno}"))?;
    Ok(Duration::from(time).as_nanos() as u64)
}
