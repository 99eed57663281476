//! Memory that is allocated by one task and freed by another, on other CPUs, after the fiber of the first
//! has taken another task or has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use corelane::{Runtime, task};

use crate::{prio, runtime};

/// Blocks on their way from task to task.
type Belt = Arc<Mutex<VecDeque<Vec<u64>>>>;

const TASKS: u64 = 12;
const ROUNDS: u64 = 1500;
/// More blocks than this do not lie on the belt.
const BELT_MAX: usize = 400;

/// Two runtimes, one after the other: the blocks outlive the fibers of the first.
///
/// # Panics
/// If a block does not hold what was written into it.
pub fn attack() {
    let belt: Belt = Belt::default();
    for round in 0..2 {
        let runtime = runtime();
        attack_with(&runtime, &belt, round);
    }
    let left = std::mem::take(&mut *belt.lock().expect("no task panicked"));
    left.iter().for_each(|block| check(block));
    println!("intact, {} blocks outlived their fibers", left.len());
}

fn attack_with(runtime: &Runtime, belt: &Belt, round: u64) {
    let start = |number: u64| {
        let (belt, seed) = (belt.clone(), number * 7919 + round);
        let carry = move || (0..ROUNDS).for_each(|i| exchange(&belt, seed + i));
        if number.is_multiple_of(4) {
            runtime.spawn_background(carry)
        } else {
            runtime.spawn(prio(10 + (number % 5) as u8), carry)
        }
    };
    let tasks: Vec<_> = (0..TASKS).map(start).collect();
    tasks
        .into_iter()
        .for_each(|task| task.join().expect("every block is intact"));
}

/// Puts a block on the belt, and takes one that another task has put there. The lock is not held across a
/// safe point.
fn exchange(belt: &Belt, seed: u64) {
    let size = 1 + (seed * 37 % 700) as usize;
    let fresh = vec![size as u64; size];
    task::yield_now();
    let old = {
        let mut belt = belt.lock().expect("no task panicked");
        belt.push_back(fresh);
        (belt.len() > BELT_MAX).then(|| belt.pop_front()).flatten()
    };
    if seed.is_multiple_of(64) {
        std::thread::sleep(std::time::Duration::from_micros(50)); // for the host's other threads
    }
    if let Some(old) = old {
        check(&old);
        let grown = if seed.is_multiple_of(3) {
            task::native(move || grow(old))
        } else {
            grow(old)
        };
        check(&grown[..grown.len() / 2]);
    }
}

/// Reallocates a block of another task.
fn grow(mut block: Vec<u64>) -> Vec<u64> {
    let own = block.clone();
    block.extend(own);
    block
}

fn check(block: &[u64]) {
    let Some(&first) = block.first() else { return };
    assert!(
        block.iter().all(|&value| value == first),
        "a block holds what was written into it"
    );
}
