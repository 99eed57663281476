//! Allocators with thread-local caches: a block moves between tasks, CPUs and ended fibers.

mod common;

use common::survives;

#[test]
fn blocks_that_move_between_tasks_are_intact_under_jemalloc() {
    survives("jemalloc", &[]);
}

#[test]
fn blocks_that_move_between_tasks_are_intact_under_mimalloc() {
    survives("mimalloc", &[]);
}

#[test]
fn blocks_that_move_between_tasks_are_intact_under_the_allocator_of_glibc() {
    survives("glibc_malloc", &[]);
}
