//! Allocations move between tasks, CPUs and ended fibers under jemalloc, whose caches are thread-locals.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() {
    corelane_attacks::heap::attack();
}
