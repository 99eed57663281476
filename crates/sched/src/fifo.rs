//! Queued tasks by priority, and in order within each priority.
//!
//! A heap would order tasks but not keep first-in-first-out among equals without stamps, and its removal
//! from the middle is logarithmic. As in `struct rt_prio_array` of the kernel there is one list per
//! priority and a bitmap of the non-empty ones: the head is two instructions away, and removal from
//! anywhere is constant.
//!
//! Within a list tasks are ordered by a key. Preempted tasks come before the others (they had their turn
//! and did not finish it), then the one that was enqueued first. The key of an ordinary enqueue is the
//! largest so far, so inserting looks at one neighbour; only tasks that arrive from elsewhere with an old
//! key look further.
//!
//! # Unsafe
//! What is raw: the links between entities. A list holds exactly one [`TaskRef`] for each linked entity
//! (`Node::into_raw` on the way in, `Node::from_raw` on the way out), so linked entities live. Links are
//! touched only here, under `&mut FifoArray`. Shown by `tests/runqueue.rs` against a naive scheduler.

use crate::primitives::atomic::Ordering::Relaxed;
use alloc::boxed::Box;
use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::entity::Links;
use crate::{Entity, Node, Prio, TaskRef};

const PRIOS: usize = 100;

/// Keys below this belong to tasks that stand in front of their level.
pub(crate) const KEY_ORDINARY: u64 = 1 << 63;

#[derive(Clone, Copy, Default)]
struct Ends {
    first: Option<NonNull<Entity>>,
    last: Option<NonNull<Entity>>,
}

/// Tasks by priority, first in first out within a priority.
pub(crate) struct FifoArray<T> {
    lists: Box<[Ends; PRIOS]>,
    bitmap: u128,
    len: usize,
    owns: PhantomData<TaskRef<T>>,
}

// SAFETY: the array owns its tasks like a collection of `TaskRef<T>`; the raw links add nothing.
unsafe impl<T: Send + Sync> Send for FifoArray<T> {}

impl<T> FifoArray<T> {
    pub(crate) fn new() -> FifoArray<T> {
        let lists = Box::new([Ends::default(); PRIOS]);
        FifoArray {
            lists,
            bitmap: 0,
            len: 0,
            owns: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The most urgent priority present.
    #[inline]
    pub(crate) fn top(&self) -> Option<Prio> {
        let index = 127u32.checked_sub(self.bitmap.leading_zeros())?;
        Some(Prio::from_raw(index as u8))
    }

    /// The task that stands first, without taking it.
    #[inline]
    pub(crate) fn first(&self) -> Option<&Entity> {
        self.first_of(self.top()?)
    }

    /// The same with its body.
    #[inline]
    pub(crate) fn first_node(&self) -> Option<&Node<T>> {
        let first = self.lists[self.top()?.index()].first?;
        // SAFETY: a linked node is alive, and is a `Node<T>` with its entity first.
        Some(unsafe { &*first.as_ptr().cast::<Node<T>>().cast_const() })
    }

    /// The task that stands first in the list of `prio`.
    #[inline]
    pub(crate) fn first_of(&self, prio: Prio) -> Option<&Entity> {
        // SAFETY: a linked entity is kept alive by the reference this array holds.
        self.lists[prio.index()]
            .first
            .map(|entity| unsafe { &*entity.as_ptr() })
    }

    /// Links `task` into the list of `prio` at the place its key gives it.
    pub(crate) fn insert(&mut self, task: TaskRef<T>, prio: Prio, key: u64) {
        let node = Node::into_raw(task);
        let ends = self.lists[prio.index()];
        let before = if key < KEY_ORDINARY {
            after_from_front(ends, key)
        } else {
            after_from_back(ends, key)
        };
        let after = match before {
            Some(before) => links(before).next,
            None => ends.first,
        };
        let entity = entity(node);
        entity.level.store(prio.get(), Relaxed); // Relaxed: under the runqueue lock, as is the key.
        entity.key.store(key, Relaxed);
        *links(node) = Links {
            prev: before,
            next: after,
        };
        match before {
            Some(before) => links(before).next = Some(node),
            None => self.lists[prio.index()].first = Some(node),
        }
        match after {
            Some(after) => links(after).prev = Some(node),
            None => self.lists[prio.index()].last = Some(node),
        }
        self.bitmap |= 1 << prio.index();
        self.len += 1;
    }

    /// Takes the first task of the most urgent priority.
    pub(crate) fn pop(&mut self) -> Option<TaskRef<T>> {
        let first = NonNull::from(self.first()?);
        Some(self.unlink(first))
    }

    /// Takes `task`, which the caller knows to be in this array.
    pub(crate) fn remove(&mut self, task: &Node<T>) -> TaskRef<T> {
        self.unlink(NonNull::from(task.entity()))
    }

    /// The tasks in the order in which they would be popped.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node<T>> {
        let below = |limit: u32| self.bitmap & !(u128::MAX << limit);
        let highest = move |bits: u128| 127u32.checked_sub(bits.leading_zeros());
        let prios = core::iter::successors(highest(self.bitmap), move |prio| highest(below(*prio)));
        prios.map(|prio| prio as usize).flat_map(move |prio| {
            core::iter::successors(self.lists[prio].first, |node| links(*node).next)
                // SAFETY: linked nodes are alive, and each is a `Node<T>` with its entity first.
                .map(|node| unsafe { &*node.as_ptr().cast::<Node<T>>().cast_const() })
        })
    }

    fn unlink(&mut self, node: NonNull<Entity>) -> TaskRef<T> {
        let prio = entity(node).level.load(Relaxed) as usize; // Relaxed: under the runqueue lock.
        let Links { prev, next } = core::mem::take(links(node));
        // The pointer of `into_raw`, which covers the whole `Node` and its counts; `node` may cover less.
        let owned = match prev {
            Some(prev) => links(prev).next,
            None => self.lists[prio].first,
        };
        let node = owned.expect("a linked node is its neighbour's next, or the first");
        match prev {
            Some(prev) => links(prev).next = next,
            None => self.lists[prio].first = next,
        }
        match next {
            Some(next) => links(next).prev = prev,
            None => self.lists[prio].last = prev,
        }
        if self.lists[prio].first.is_none() {
            self.bitmap &= !(1 << prio);
        }
        self.len -= 1;
        // SAFETY: the node was linked here, so this array holds the reference made by `into_raw`.
        unsafe { Node::from_raw(node) }
    }
}

impl<T> Drop for FifoArray<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// The last node whose key is at most `key`, searched from the back: ordinary tasks stand there.
#[inline]
fn after_from_back(ends: Ends, key: u64) -> Option<NonNull<Entity>> {
    let mut nodes = core::iter::successors(ends.last, |node| links(*node).prev);
    nodes.find(|node| key_of(*node) <= key)
}

/// The same from the front: preempted tasks stand there.
#[inline]
fn after_from_front(ends: Ends, key: u64) -> Option<NonNull<Entity>> {
    let nodes = core::iter::successors(ends.first, |node| links(*node).next);
    nodes.take_while(|node| key_of(*node) <= key).last()
}

#[inline]
fn key_of(node: NonNull<Entity>) -> u64 {
    entity(node).key.load(Relaxed) // Relaxed: under the runqueue lock.
}

#[inline]
fn entity<'a>(node: NonNull<Entity>) -> &'a Entity {
    // SAFETY: only called for nodes that are linked or just being linked: this file keeps them alive.
    unsafe { node.as_ref() }
}

#[allow(clippy::mut_from_ref)]
#[inline]
fn links<'a>(node: NonNull<Entity>) -> &'a mut Links {
    // SAFETY: as in `entity`; the callers hold `&mut` (or `&`, for reading) of the one array that links
    // the node, and never keep two results for the same node alive.
    unsafe { &mut *entity(node).links.get() }
}
