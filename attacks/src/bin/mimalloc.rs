//! Allocations move between tasks, CPUs and ended fibers under mimalloc, whose heaps belong to threads.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() {
    corelane_attacks::heap::attack();
}
