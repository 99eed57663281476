//! Packets through three tasks of rising priority.
//!
//! ```sh
//! cargo run --release -p corelane-examples --bin pipeline
//! ```
//!
//! `capture` makes packets, `decode` checks them, `deliver` counts what arrives. Each stage is more
//! urgent than the one before it, so that a packet that has entered the pipeline leaves it before
//! the next one is captured: a pipeline drains from its end. On one CPU a stage that wakes the next
//! is preempted by it on the spot; on several the stages overlap.
//!
//! The queues between them are plain `std`: a `Mutex` around a `VecDeque`. A lock of `std` is safe in
//! a task, but the executor does not know who waits for it: a task that was suspended while it held
//! the lock would keep every other one waiting, and their CPUs with them. The rule is therefore: **no
//! `std` lock is held across a safe point.** [`Queue::update`] keeps it by construction. The lock
//! lives in one expression; what has to be woken comes out of it as a value, and is woken afterwards,
//! since `unpark` is a safe point like every other call into the runtime.
//!
//! A waiting stage leaves its handle in the queue, under the lock, and parks after it has let go. A
//! wake in between is not lost: it leaves a permit, and `park` returns at once. A permit that is left
//! over makes a later `park` return early, so waiting is a loop that looks again.
//!
//! The counts are exact on any number of CPUs, with and without real-time privilege.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex};

use corelane::{Priority, Runtime, Task, task};

const PACKETS: u64 = 100_000;
const CAPACITY: usize = 64;
/// Every so many packets one is damaged on its way in.
const DAMAGED_EVERY: u64 = 7;

#[derive(Clone, Copy)]
struct Packet {
    number: u64,
    checksum: u64,
}

impl Packet {
    fn captured(number: u64) -> Packet {
        let damage = u64::from(number.is_multiple_of(DAMAGED_EVERY));
        Packet {
            number,
            checksum: Packet::checksum(number) ^ damage,
        }
    }

    fn checksum(number: u64) -> u64 {
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
    }

    fn is_intact(&self) -> bool {
        self.checksum == Packet::checksum(self.number)
    }
}

/// A bounded queue between two tasks.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    packets: VecDeque<Packet>,
    closed: bool,
    /// Whoever waits for room, or for a packet. Never both: the queue is not full and empty at once.
    waiting: Option<Task>,
}

impl Queue {
    /// Changes the state under the lock, then wakes whoever waits if the change succeeded; else the
    /// caller is noted as waiting, and parks. Returns when the change has succeeded.
    fn update<T>(&self, mut change: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let (changed, to_wake) = {
                let mut state = self.state.lock().expect("nobody panics under this lock");
                let changed = change(&mut state);
                let to_wake = match changed {
                    Some(_) => state.waiting.take(),
                    None => {
                        state.waiting = task::current();
                        None
                    }
                };
                (changed, to_wake)
            };
            if let Some(task) = to_wake {
                task.unpark();
            }
            match changed {
                Some(changed) => return changed,
                None => task::park(),
            }
        }
    }

    fn push(&self, packet: Packet) {
        self.update(|state| {
            let has_room = state.packets.len() < CAPACITY;
            has_room.then(|| state.packets.push_back(packet))
        });
    }

    /// The next packet; `None` after the last one.
    fn pop(&self) -> Option<Packet> {
        self.update(|state| match state.packets.pop_front() {
            None if state.closed => Some(None),
            packet => packet.map(Some),
        })
    }

    fn close(&self) {
        self.update(|state| {
            state.closed = true;
            Some(())
        });
    }
}

fn capture(out: &Queue) -> u64 {
    (0..PACKETS).for_each(|number| out.push(Packet::captured(number)));
    out.close();
    PACKETS
}

fn decode(from: &Queue, to: &Queue) -> u64 {
    let mut damaged = 0;
    while let Some(packet) = from.pop() {
        match packet.is_intact() {
            true => to.push(packet),
            false => damaged += 1,
        }
    }
    to.close();
    damaged
}

/// How many packets arrived, and whether they did in order.
fn deliver(from: &Queue) -> (u64, bool) {
    let (mut delivered, mut last, mut in_order) = (0, None, true);
    while let Some(packet) = from.pop() {
        in_order &= last < Some(packet.number);
        last = Some(packet.number);
        delivered += 1;
    }
    (delivered, in_order)
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::builder().build()?;
    let stage = |name, priority| -> Result<_, Box<dyn Error>> {
        Ok(runtime
            .build_task()
            .name(name)
            .priority(Priority::new(priority)?))
    };
    let (captured, decoded) = (Arc::new(Queue::default()), Arc::new(Queue::default()));
    let (decode_from, decode_to) = (captured.clone(), decoded.clone());
    let deliver = stage("deliver", 30)?.spawn(move || deliver(&decoded));
    let decode = stage("decode", 20)?.spawn(move || decode(&decode_from, &decode_to));
    let capture = stage("capture", 10)?.spawn(move || capture(&captured));

    println!("captured: {}", capture.join()?);
    println!("damaged: {}", decode.join()?);
    let (delivered, in_order) = deliver.join()?;
    println!(
        "delivered: {delivered}, {}",
        if in_order { "in order" } else { "OUT OF ORDER" }
    );
    println!("switches: {}", runtime.stats().switches);
    Ok(())
}
