//! The free list: an item has one owner at a time, and none is freed while a pop may look at it.
//!
//! # Unsafe
//! What is raw: the contents of loom's cells, opened where the protocol says that they are the caller's.
//! Loom checks each access against all others, which is what the tests here are for.
//! Besides, items are pushed and freed as the list demands; the tests here show that they are.

use std::sync::Arc;

use corelane_sched::primitives::control::{
    Protocol, Unnoticed, check, every_ordering_matters, must_fail,
};
use loom::cell::UnsafeCell;
use loom::thread;

use crate::free_list::{self, FreeList};

/// What an owner does with an item.
struct Item(UnsafeCell<u32>);

// SAFETY: an item has one owner at a time; loom checks it.
unsafe impl Sync for Item {}
// SAFETY: as above.
unsafe impl Send for Item {}

impl Item {
    fn use_it(&self) {
        // SAFETY: the item is the caller's; loom checks it.
        self.0.with_mut(|uses| unsafe { *uses += 1 });
    }
}

fn list(items: usize) -> Arc<FreeList<Item>> {
    let list = Arc::new(FreeList::new());
    for _ in 0..items {
        // SAFETY: just made.
        unsafe { list.push(free_list::leak(Item(UnsafeCell::new(0)))) };
    }
    list
}

fn give(list: &FreeList<Item>, item: &'static Item) {
    item.use_it();
    // SAFETY: popped by the caller, who does not use it any more.
    unsafe { list.push(item) };
}

/// Frees what is left, when nobody else is there.
fn end(list: &FreeList<Item>, items: usize) {
    assert_eq!(list.len(), items, "the count is wrong");
    let left: Vec<_> = core::iter::from_fn(|| list.pop()).collect();
    assert_eq!(left.len(), items, "an item is lost or doubled");
    assert!(list.is_quiet());
    for item in left {
        item.use_it();
        // SAFETY: popped, and nobody else is left.
        unsafe { free_list::free(item) };
    }
}

#[test]
fn an_item_that_comes_back_while_a_pop_looks_is_not_given_out_twice() {
    check(|| {
        let list = list(2);
        let theirs = list.clone();
        let other = thread::spawn(move || {
            // The top leaves, the one below leaves, the top comes back: a pop that has read what was below
            // the top must not believe it any more.
            let (top, below) = (theirs.pop(), theirs.pop());
            top.into_iter().for_each(|item| give(&theirs, item));
            if let Some(item) = below {
                item.use_it();
            }
            below
        });
        let mine = list.pop();
        if let Some(item) = mine {
            item.use_it();
        }
        let theirs = other.join().unwrap();
        let owned: Vec<_> = mine.into_iter().chain(theirs).collect();
        owned.into_iter().for_each(|item| give(&list, item));
        end(&list, 2);
    });
}

#[test]
fn what_is_pushed_by_two_is_popped_once_each_with_what_its_owner_wrote() {
    check(|| {
        let list = list(1);
        let cycle = |list: &FreeList<Item>| {
            list.pop().into_iter().for_each(|item| give(list, item));
        };
        let theirs = list.clone();
        let other = thread::spawn(move || {
            cycle(&theirs);
            let item = free_list::leak(Item(UnsafeCell::new(0)));
            // SAFETY: just made.
            unsafe { theirs.push(item) };
        });
        cycle(&list);
        other.join().unwrap();
        end(&list, 2);
    });
}

/// Whoever ends the pool takes every item and frees them if no pop is under way, else keeps them.
fn free_all(list: &FreeList<Item>, is_quiet: fn(&FreeList<Item>) -> bool) -> Vec<&'static Item> {
    let mut idle: Vec<_> = core::iter::from_fn(|| list.pop()).collect();
    if is_quiet(list) {
        for item in idle.drain(..) {
            item.use_it();
            // SAFETY: popped, and no pop that may have seen it is under way.
            unsafe { free_list::free(item) };
        }
    }
    idle
}

fn pop_beside_the_end(is_quiet: fn(&FreeList<Item>) -> bool) {
    let list = list(1);
    let theirs = list.clone();
    let end = thread::spawn(move || free_all(&theirs, is_quiet));
    let late = list.pop();
    let kept = end.join().unwrap();
    for item in kept.into_iter().chain(late) {
        // SAFETY: as in `end`.
        unsafe { free_list::free(item) };
    }
}

#[test]
fn no_item_is_freed_while_a_pop_may_look_at_it() {
    check(|| pop_beside_the_end(FreeList::is_quiet));
}

#[test]
fn freeing_without_asking_whether_a_pop_is_under_way_is_noticed() {
    let control = "freeing_without_asking_whether_a_pop_is_under_way_is_noticed";
    must_fail(module_path!(), control, "", || pop_beside_the_end(|_| true));
}

#[test]
fn every_ordering_of_the_free_list_matters() {
    every_ordering_matters(&Protocol {
        module: module_path!(),
        models: &[
            "no_item_is_freed_while_a_pop_may_look_at_it",
            "what_is_pushed_by_two_is_popped_once_each_with_what_its_owner_wrote",
            "an_item_that_comes_back_while_a_pop_looks_is_not_given_out_twice",
        ],
        sites: &[("free_list.rs", &[])],
        unnoticed: &[
            Unnoticed {
                weakening: "free_list.rs pop exchange loses Acquire, the next",
                why: "`is_quiet` acquires the same from the chain of exchanges",
            },
            Unnoticed {
                weakening: "free_list.rs pop exchange loses Release",
                why: "a pop that begins hands nothing over",
            },
            Unnoticed {
                weakening: "free_list.rs pop_counted exchange loses Acquire",
                why: "the load or the failed exchange before it has acquired what it sees unchanged",
            },
            Unnoticed {
                weakening: "free_list.rs pop_counted exchange loses Release",
                why: "an exchange carries the releases of earlier pushes on, whatever its own ordering",
            },
        ],
    });
}
