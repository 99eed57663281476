//! Allocations move between tasks, CPUs and ended fibers under glibc's malloc, whose caches are thread-locals.

fn main() {
    corelane_attacks::heap::attack();
}
