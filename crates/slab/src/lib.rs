//! A slab allocator for real-time tasks. **Nothing is built yet**: this page says what the crate is
//! for, and the crate exports no item.
//!
//! A task with a deadline cannot call a general allocator. The fast ones are fast on average:
//! behind the fast path wait a mutex, a list that its owner must come and drain, or a system call.
//! Several of them wait for another *thread* to finish a step, and under `SCHED_FIFO` that thread
//! may never run while we wait. The allocators that do have a worst case (TLSF and its kin) need
//! one lock around the pool, so the worst case grows with the number of contenders.
//!
//! What will be here:
//!
//! - **Carrier magazines.** Each carrier keeps a short array of free objects per size class. A task
//!   preempted by the kernel keeps its carrier, so nobody can interleave with it: a hit in the
//!   magazine needs no atomic operation, and no rseq.
//! - **Bitmap words behind them.** Up to 64 objects share one atomic word, a bit each. Refilling a
//!   magazine claims a whole word with one swap; freeing from another CPU is one `fetch_add` of the
//!   bit. The word is the remote-free queue: no list, no ABA, and no state in which somebody must
//!   wait for somebody else. Free words are found through a summary bitmap that is only a hint; a
//!   full scan stays exact.
//! - **Size classes** from 16 bytes to 32 KiB, four to a doubling. Larger requests are refused on a
//!   real-time task, or go to a bounded allocator under a lock with priority inheritance.
//! - **`reserve`.** Memory is mapped, touched and locked beforehand. After a reserve of `n` objects
//!   on a CPU, `n` live objects there never fail, and no operation calls the system. The spare that
//!   it takes (objects parked in other carriers' magazines) is part of the formula.
//!
//! Every transition of shared state will be one atomic read-modify-write, so memory safety never
//! rests on pinning or priority. The locality witness comes from `corelane-percpu`, mapping and
//! locking of memory from `corelane-os`.
#![no_std]
