//! Time: the kernel's monotonic clock, and the cycle counter for intervals of a few nanoseconds.
//!
//! Deadlines, periods and timestamps are CLOCK_MONOTONIC nanoseconds: one value means the same
//! instant in every thread and to the kernel's own timers. It is read through the vDSO without
//! entering the kernel.
//!
//! Intervals shorter than the clock's own cost are measured with the cycle counter. The naive
//! `rdtsc` is not ordered with the instructions around it, so a short section seems to take no
//! time, or the time of its neighbours; [`Tsc::now`] fences on both sides. Cycles are time only
//! where the counter is *invariant* (constant rate, running in every idle state);
//! [`Tsc::invariant`] says whether the CPU promises it.
//!
//! Raw here: CPUID, `rdtsc`, `clock_gettime`. Tested by `tests/clock.rs`.

use core::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};
use std::time::Duration;

const NS_PER_S: u64 = 1_000_000_000;

/// Length of the calibration: long enough that two clock reads of some 30 ns weigh less than 10
/// ppm.
const CALIBRATION: Duration = Duration::from_millis(20);

/// Reads of one calibration point; the tightest bracket wins, so that a preemption in between does
/// not count.
const BRACKETS: usize = 32;

/// The CLOCK_MONOTONIC time in nanoseconds. No allocation, and no system call where the vDSO serves
/// the clock.
///
/// # Panics
/// When the kernel refuses CLOCK_MONOTONIC, which it never does.
#[inline]
pub fn now_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a live timespec that the call fills.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    assert_eq!(answer, 0, "CLOCK_MONOTONIC is always readable");
    now.tv_sec as u64 * NS_PER_S + now.tv_nsec as u64
}

/// The calibrated cycle counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tsc {
    /// Nanoseconds per cycle in units of 2^-32.
    ns_per_cycle_q32: u64,
    invariant: bool,
}

impl Tsc {
    /// Measures the counter against CLOCK_MONOTONIC. Sleeps some 20 ms; call it once and keep the
    /// value.
    pub fn calibrate() -> Tsc {
        let (start_ns, start_cycles) = simultaneous();
        std::thread::sleep(CALIBRATION);
        let (end_ns, end_cycles) = simultaneous();
        let cycles = end_cycles.wrapping_sub(start_cycles).max(1);
        let ns_per_cycle_q32 = ((u128::from(end_ns - start_ns) << 32) / u128::from(cycles)) as u64;
        Tsc {
            ns_per_cycle_q32,
            invariant: has_invariant_tsc(),
        }
    }

    /// The counter now, ordered after all earlier and before all later instructions.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        serialised_cycles()
    }

    /// An interval of `delta_cycles` in nanoseconds, rounded down.
    #[inline]
    pub fn to_ns(&self, delta_cycles: u64) -> u64 {
        ((u128::from(delta_cycles) * u128::from(self.ns_per_cycle_q32)) >> 32) as u64
    }

    /// Whether the CPU promises a constant rate in every power state (CPUID 0x8000_0007, EDX bit
    /// 8). Where it does not, intervals are cycles of a changing length and [`now_ns`] should be
    /// used instead.
    pub fn invariant(&self) -> bool {
        self.invariant
    }

    /// The measured rate in cycles per second.
    pub fn frequency_hz(&self) -> u64 {
        ((u128::from(NS_PER_S) << 32) / u128::from(self.ns_per_cycle_q32.max(1))) as u64
    }
}

#[inline(always)]
fn serialised_cycles() -> u64 {
    // SAFETY: lfence (SSE2) and rdtsc exist on every x86_64 CPU; Linux leaves rdtsc enabled for
    // user space.
    unsafe {
        _mm_lfence();
        let cycles = _rdtsc();
        _mm_lfence();
        cycles
    }
}

/// A clock read and a counter read of the same instant: the tightest of several brackets.
fn simultaneous() -> (u64, u64) {
    let bracket = || {
        let before = serialised_cycles();
        let ns = now_ns();
        let after = serialised_cycles();
        (
            after.wrapping_sub(before),
            ns,
            before.wrapping_add(after.wrapping_sub(before) / 2),
        )
    };
    let (_, ns, cycles) = (0..BRACKETS)
        .map(|_| bracket())
        .min()
        .expect("BRACKETS is not zero");
    (ns, cycles)
}

fn has_invariant_tsc() -> bool {
    const LEAF_POWER: u32 = 0x8000_0007;
    __cpuid(0x8000_0000).eax >= LEAF_POWER && __cpuid(LEAF_POWER).edx & (1 << 8) != 0
}
