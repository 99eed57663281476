//! The runqueue against a naive scheduler that keeps one unsorted list and looks for the best each time.

use corelane_sched::{
    Arrival, CpuId, CpuMask, Level, Node, Place, Policy, Prio, Runqueue, TaskRef,
};
use proptest::prelude::*;

const CPUS: usize = 2;

/// What the naive scheduler knows of a task: its priority, whether it stands in front, when it came, why it
/// may not move (0 free, 1 held, 2 bound), and the order of its last enqueue.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: usize,
    prio: u8,
    in_front: bool,
    stamp: i64,
    class: u8,
    order: u64,
}

impl Entry {
    /// Smaller runs first.
    fn rank(&self) -> (i16, bool, i64, u8, u64) {
        (
            -i16::from(self.prio),
            !self.in_front,
            self.stamp,
            self.class,
            self.order,
        )
    }
}

#[derive(Default)]
struct Naive {
    queued: [Vec<Entry>; CPUS],
    current: [Option<Entry>; CPUS],
    clock: [i64; CPUS],
    orders: u64,
}

impl Naive {
    fn enqueue(&mut self, cpu: usize, mut entry: Entry, place: Place) {
        let level = self.queued[cpu]
            .iter()
            .filter(|other| other.prio == entry.prio);
        let first = level
            .min_by_key(|other| (!other.in_front, other.stamp))
            .copied();
        match place {
            Place::Tail => {
                self.clock[cpu] = self.clock[cpu].max(entry.stamp) + 1;
                (entry.in_front, entry.stamp) = (false, self.clock[cpu]);
            }
            Place::Preempted => entry.in_front = true,
            Place::Keep => {}
            Place::Head => {
                entry.in_front = true;
                entry.stamp = first.map_or(entry.stamp, |first| first.stamp - 1);
            }
        }
        if place != Place::Head {
            self.clock[cpu] = self.clock[cpu].max(entry.stamp);
        }
        self.orders += 1;
        entry.order = self.orders;
        self.queued[cpu].push(entry);
    }

    fn pick(&mut self, cpu: usize) -> Option<usize> {
        let best = self.queued[cpu].iter().map(Entry::rank).min()?;
        let at = self.queued[cpu]
            .iter()
            .position(|entry| entry.rank() == best)?;
        let entry = self.queued[cpu].swap_remove(at);
        self.current[cpu] = Some(entry);
        Some(entry.name)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Spawn {
        cpu: usize,
        prio: u8,
        is_bound: bool,
    },
    Pick {
        cpu: usize,
    },
    PutBack {
        cpu: usize,
        place: Place,
        takes_guard: bool,
    },
    Exit {
        cpu: usize,
    },
    Migrate {
        from: usize,
        nth: prop::sample::Index,
    },
    SetPrio {
        cpu: usize,
        nth: prop::sample::Index,
        prio: u8,
    },
}

/// Few distinct priorities, so that the order among equals is what is tested.
fn prio() -> impl Strategy<Value = u8> {
    prop_oneof![Just(1u8), Just(50), Just(51), Just(99)]
}

fn op() -> impl Strategy<Value = Op> {
    let cpu = || 0..CPUS;
    let place = prop_oneof![Just(Place::Preempted), Just(Place::Tail)];
    prop_oneof![
        3 => (cpu(), prio(), prop::bool::weighted(0.2))
            .prop_map(|(cpu, prio, is_bound)| Op::Spawn { cpu, prio, is_bound }),
        3 => cpu().prop_map(|cpu| Op::Pick { cpu }),
        3 => (cpu(), place, prop::bool::weighted(0.2))
            .prop_map(|(cpu, place, takes_guard)| Op::PutBack { cpu, place, takes_guard }),
        1 => cpu().prop_map(|cpu| Op::Exit { cpu }),
        2 => (cpu(), any::<prop::sample::Index>()).prop_map(|(from, nth)| Op::Migrate { from, nth }),
        2 => (cpu(), any::<prop::sample::Index>(), prio())
            .prop_map(|(cpu, nth, prio)| Op::SetPrio { cpu, nth, prio }),
    ]
}

struct Pair {
    real: [Runqueue<usize>; CPUS],
    naive: Naive,
    tasks: Vec<TaskRef<usize>>,
}

impl Pair {
    fn new() -> Pair {
        let real = core::array::from_fn(|cpu| Runqueue::new(CpuId::new(cpu)));
        Pair {
            real,
            naive: Naive::default(),
            tasks: Vec::new(),
        }
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Spawn {
                cpu,
                prio,
                is_bound,
            } => self.spawn(cpu, prio, is_bound),
            Op::Pick { cpu } => return self.pick(cpu),
            Op::PutBack {
                cpu,
                place,
                takes_guard,
            } => self.put_back(cpu, place, takes_guard),
            Op::Exit { cpu } => {
                let real = self.real[cpu].take_current().map(|task| task.body);
                let naive = self.naive.current[cpu].take().map(|entry| entry.name);
                prop_assert_eq!(real, naive);
            }
            Op::Migrate { from, nth } => self.migrate(from, nth),
            Op::SetPrio { cpu, nth, prio } => self.set_prio(cpu, nth, prio),
        }
        Ok(())
    }

    fn spawn(&mut self, cpu: usize, prio: u8, is_bound: bool) {
        let (id, name) = (CpuId::new(cpu), self.tasks.len());
        let mask = if is_bound {
            CpuMask::single(CPUS, id)
        } else {
            CpuMask::full(CPUS)
        };
        let task = Node::new(Prio::new(prio).unwrap(), Policy::Fifo, &mask, id, name);
        self.tasks.push(task.clone());
        queue(&mut self.real[cpu], task, Place::Tail);
        let class = if is_bound { 2 } else { 0 };
        let entry = Entry {
            name,
            prio,
            in_front: false,
            stamp: 0,
            class,
            order: 0,
        };
        self.naive.enqueue(cpu, entry, Place::Tail);
    }

    fn pick(&mut self, cpu: usize) -> Result<(), TestCaseError> {
        if self.naive.current[cpu].is_none() {
            let real = self.real[cpu].pick_next().map(|task| task.body);
            prop_assert_eq!(real, self.naive.pick(cpu));
        }
        Ok(())
    }

    fn put_back(&mut self, cpu: usize, place: Place, takes_guard: bool) {
        let Some(mut entry) = self.naive.current[cpu].take() else {
            return;
        };
        if takes_guard {
            self.tasks[entry.name].entity().hold();
            entry.class = 1;
        }
        let Arrival::Queued { .. } = self.real[cpu].put_prev(place) else {
            panic!("a task may run where it ran")
        };
        self.naive.enqueue(cpu, entry, place);
    }

    fn migrate(&mut self, from: usize, nth: prop::sample::Index) {
        let movable: Vec<usize> = (0..self.naive.queued[from].len())
            .filter(|i| self.naive.queued[from][*i].class == 0)
            .collect();
        if movable.is_empty() {
            return;
        }
        let entry = self.naive.queued[from].swap_remove(*nth.get(&movable));
        let task = self.real[from]
            .remove(&self.tasks[entry.name])
            .expect("it is queued there");
        let to = (from + 1) % CPUS;
        queue(&mut self.real[to], task, Place::Keep);
        self.naive.enqueue(to, entry, Place::Keep);
    }

    fn set_prio(&mut self, cpu: usize, nth: prop::sample::Index, prio: u8) {
        let queued = self.naive.queued[cpu].len();
        if queued == 0 {
            return;
        }
        let mut entry = self.naive.queued[cpu].swap_remove(nth.index(queued));
        let place = match prio.cmp(&entry.prio) {
            core::cmp::Ordering::Less => Place::Head,
            core::cmp::Ordering::Equal => Place::Keep,
            core::cmp::Ordering::Greater => Place::Tail,
        };
        let node = self.tasks[entry.name].clone();
        node.entity().set_prio(Prio::new(prio).unwrap());
        let task = self.real[cpu].remove(&node).expect("it is queued there");
        queue(&mut self.real[cpu], task, place);
        entry.prio = prio;
        self.naive.enqueue(cpu, entry, place);
    }

    /// Everything that a runqueue says about itself.
    fn compare(&self) -> Result<(), TestCaseError> {
        for cpu in 0..CPUS {
            let (real, queued) = (&self.real[cpu], &self.naive.queued[cpu]);
            let running = self.naive.current[cpu].map(|entry| entry.prio);
            let top = queued.iter().map(|entry| entry.prio).max();
            prop_assert_eq!(real.queued(), queued.len());
            prop_assert_eq!(
                real.current().map(|t| t.body),
                self.naive.current[cpu].map(|e| e.name)
            );
            prop_assert_eq!(real.top_queued().map(Prio::get), top);
            prop_assert_eq!(real.top(), level(top.max(running)));
            prop_assert_eq!(real.must_switch(), top > running);
            prop_assert_eq!(real.has_peer(), top.is_some() && top >= running);
            let mut free: Vec<Entry> = queued.iter().copied().filter(|e| e.class == 0).collect();
            free.sort_by_key(Entry::rank);
            let pushable: Vec<usize> = real.pushable().map(|task| task.body).collect();
            prop_assert_eq!(
                pushable,
                free.iter().map(|entry| entry.name).collect::<Vec<_>>()
            );
            let stuck = queued
                .iter()
                .filter(|entry| entry.class > 0)
                .map(|entry| entry.prio)
                .max();
            prop_assert_eq!(real.stuck().map(|entity| entity.prio().get()), stuck);
        }
        Ok(())
    }
}

fn queue(rq: &mut Runqueue<usize>, task: TaskRef<usize>, place: Place) {
    let Arrival::Queued { .. } = rq.enqueue(task, place) else {
        panic!("the task may run here")
    };
}

fn level(prio: Option<u8>) -> Level {
    prio.map_or(Level::IDLE, |prio| Level::of(Prio::new(prio).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_runqueue_does_what_the_naive_scheduler_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut pair = Pair::new();
        for op in ops {
            pair.apply(op)?;
            pair.compare()?;
        }
        let tasks = pair.tasks.clone();
        drop(pair);
        prop_assert!(tasks.iter().all(|task| std::sync::Arc::strong_count(task) == 1));
    }
}

#[test]
fn a_lowered_task_does_not_disturb_the_order_of_later_ones() {
    let mut rq = Runqueue::new(CpuId::new(0));
    let task = |prio: u8, name: usize| {
        let prio = Prio::new(prio).unwrap();
        Node::new(prio, Policy::Fifo, &CpuMask::full(1), CpuId::new(0), name)
    };
    queue(&mut rq, task(50, 1), Place::Tail);
    let lowered = task(60, 2);
    queue(&mut rq, lowered.clone(), Place::Tail);
    let lowered = rq.remove(&lowered).unwrap();
    lowered.entity().set_prio(Prio::new(50).unwrap());
    queue(&mut rq, lowered, Place::Head);
    // The lowered task runs and goes to the tail; who comes after it stays behind it.
    assert_eq!(rq.pick_next().map(|task| task.body), Some(2));
    let Arrival::Queued { .. } = rq.put_prev(Place::Tail) else {
        panic!("it may run here")
    };
    queue(&mut rq, task(50, 3), Place::Tail);
    let order: Vec<usize> = core::iter::from_fn(|| rq.pop_queued())
        .map(|task| task.body)
        .collect();
    assert_eq!(order, [1, 2, 3]);
}
