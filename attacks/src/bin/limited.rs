//! The pool must grow where no thread can be made any more: a limit on processes (RLIMIT_NPROC, or `pids.max`)
//! is set by whoever starts this. `room=` says how many more threads the tasks need than the pool has; the
//! limit is lifted half way (a line on standard input), and then everything must work.

use std::time::{Duration, Instant};

use corelane::{JoinError, JoinHandle, Runtime, task};
use corelane_attacks::{asked, builder, number, prio};

/// Starts as many tasks as asked, which all wait at once, and counts how many cannot be had.
fn crowd(runtime: &Runtime, count: u64) -> (u64, u64) {
    let tasks: Vec<JoinHandle<()>> = (0..count)
        .map(|_| runtime.spawn(prio(40), task::park))
        .collect();
    let (mut ran, mut refused) = (0, 0);
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until
        && tasks
            .iter()
            .any(|task| task.task().state() == corelane::TaskState::Runnable)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    for task in tasks {
        task.task().unpark();
        match task.join() {
            Ok(()) => ran += 1,
            Err(error @ JoinError::NoFiber(_)) => {
                if refused == 0 {
                    println!("refused: {error}");
                }
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (ran, refused)
}

fn main() {
    let fibers = number("fibers", 4) as usize;
    let runtime = match builder().fibers(fibers).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("not built: {error}");
            let small = builder().fibers(1).build();
            println!(
                "small: {}",
                small.map_or_else(|error| error.to_string(), |_| "built".into())
            );
            return;
        }
    };
    let crowded = number("crowd", 200);
    let (ran, refused) = crowd(&runtime, crowded);
    println!("limited: ran {ran}, refused {refused}");
    assert_eq!(ran + refused, crowded, "every task has run or was refused");
    if asked("recovers") {
        let mut line = String::new();
        println!("lift the limit");
        std::io::stdin().read_line(&mut line).expect("a line");
        println!("lifted: {:?}", crowd(&runtime, crowded));
    }
    drop(runtime);
    println!("ended");
}
