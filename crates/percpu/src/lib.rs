//! Per-CPU data: one slot per CPU, so that CPUs stop fighting over one cache line.
//!
//! A counter or a statistic that every CPU writes costs a cache-line transfer per write.
//! Thread-locals avoid the transfer, but nobody else can read them, they die with their thread, and
//! there are as many as there are threads. The kernel's answer is an array with one padded slot per
//! CPU, used by code that cannot be moved away in the middle.
//!
//! The naive port of that to user space hands out `&mut T`, or a `Cell`, to whoever is pinned. It
//! is unsound: affinity is not exclusion. Anyone may run `taskset`, shrink a cpuset or unplug a
//! CPU, and a pinned thread that was preempted inside its section is still *inside* while another
//! thread of the same CPU works on the same slot. Therefore:
//!
//! - [`PerCpu<T>`] gives `&T` and nothing more while it is shared, and is shared only if `T: Sync`.
//!   The compiler rejects `Cell`.
//! - [`PinCurrentCpu`] is a witness for *which* slot is near. It buys speed. **No memory safety in
//!   this crate rests on it.**
//! - `&mut T` comes from exclusive ownership only ([`PerCpu::iter_mut`], [`PerCpu::get_mut_all`]).
//!
//! A compound update (load, compute, store) may be interleaved with another one on the same slot;
//! an atomic operation or a lock in the slot makes it whole.
//!
//! Cost: `get` is a bounds check and an indexed address. Nothing allocates after `new`, nothing
//! blocks, nothing calls the system. The crate needs no runtime and no `std`; whoever has an idea
//! of the current CPU implements the witness.
//!
//! ```
//! use corelane_percpu::{PerCpuCounter, PinCurrentCpu};
//!
//! /// A program with one thread per slot, each of which knows its own.
//! struct MySlot(usize);
//! // SAFETY: a thread keeps its slot for life.
//! unsafe impl PinCurrentCpu for MySlot {
//!     fn slot(&self) -> usize {
//!         self.0
//!     }
//! }
//!
//! let requests = PerCpuCounter::new(2);
//! std::thread::scope(|scope| {
//!     for slot in 0..2 {
//!         let requests = &requests;
//!         scope.spawn(move || requests.add(&MySlot(slot), 10));
//!     }
//! });
//! assert_eq!(requests.sum(), 20);
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod counter;
mod padded;
mod per_cpu;
mod pin;

pub use counter::PerCpuCounter;
pub use padded::CachePadded;
pub use per_cpu::PerCpu;
pub use pin::PinCurrentCpu;
