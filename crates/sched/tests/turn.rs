//! Who may take turns without a pass: equals in all that other CPUs can see.

use corelane_sched::{
    Arrival, CpuId, CpuMask, Node, Place, Policy, Prio, Residence, RootDomain, Runqueue, TaskRef,
};

const CPUS: usize = 4;

fn task(prio: u8, allowed: &[usize]) -> TaskRef<u32> {
    let mut mask = CpuMask::empty(CPUS);
    allowed.iter().for_each(|cpu| mask.insert(CpuId::new(*cpu)));
    let prio = Prio::new(prio).unwrap();
    Node::new(prio, Policy::Fifo, &mask, CpuId::new(0), 0)
}

fn held(prio: u8) -> TaskRef<u32> {
    let task = task(prio, &[0, 1, 2, 3]);
    task.entity().hold();
    task
}

/// A runqueue whose current task is `current` and where the others wait.
fn runqueue(current: &TaskRef<u32>, queued: &[&TaskRef<u32>]) -> Runqueue<u32> {
    let mut rq = Runqueue::new(CpuId::new(0));
    let queue = |rq: &mut Runqueue<u32>, task: &TaskRef<u32>| {
        let arrival = rq.enqueue(task.clone(), Place::Tail);
        assert!(matches!(arrival, Arrival::Queued { .. }));
    };
    queue(&mut rq, current);
    assert!(rq.pick_next().is_some());
    queued.iter().for_each(|task| queue(&mut rq, task));
    rq
}

#[test]
fn only_equals_take_turns() {
    let all = &[0, 1, 2, 3][..];
    let has_turn = |a: TaskRef<u32>, b: TaskRef<u32>| runqueue(&a, &[&b]).turn().is_some();
    assert!(has_turn(task(50, all), task(50, all)));
    assert!(has_turn(task(50, &[0]), task(50, &[0])));
    assert!(!has_turn(task(50, all), task(49, all)), "a lower one");
    assert!(!has_turn(task(50, all), task(51, all)), "a higher one");
    assert!(
        !has_turn(task(50, all), task(50, &[0, 1])),
        "another affinity"
    );
    assert!(!has_turn(task(50, all), task(50, &[0])), "a bound one");
    assert!(!has_turn(task(50, all), held(50)), "a held one");
    assert!(
        !has_turn(held(50), held(50)),
        "what holds a guard is somewhere else in the books"
    );
    let unequal = task(50, all);
    let rq = runqueue(&unequal, &[&task(50, all)]);
    unequal
        .entity()
        .affinity()
        .store(&CpuMask::single(CPUS, CpuId::new(3)));
    assert!(rq.turn().is_none(), "one that must leave");
}

#[test]
fn an_exchange_of_equals_publishes_what_was_published_before() {
    let (a, b, c) = (task(50, &[0, 1]), task(50, &[0, 1]), task(40, &[0, 1]));
    let mut rq = runqueue(&a, &[&b, &c]);
    let domain = RootDomain::flat(CPUS);
    let _ = rq.publish(&domain);
    let published = (
        domain.cpupri.level(CpuId::new(0)),
        domain.overload.level(CpuId::new(0)),
    );
    assert!(rq.turn().is_some());
    assert!(TaskRef::ptr_eq(rq.switch(Place::Tail), &b));
    let _ = rq.publish(&domain);
    assert_eq!(
        published,
        (
            domain.cpupri.level(CpuId::new(0)),
            domain.overload.level(CpuId::new(0))
        )
    );
    assert_eq!(a.entity().residence(), Residence::Queued);
    assert!(TaskRef::ptr_eq(rq.switch(Place::Tail), &a), "in turns");
}

#[test]
fn a_task_that_was_taken_becomes_current_again() {
    let (a, b) = (task(50, &[0]), task(50, &[0]));
    let mut rq = runqueue(&a, &[&b]);
    let taken = rq.take_current().expect("it is current");
    rq.restore_current(taken);
    assert!(
        rq.current()
            .is_some_and(|current| TaskRef::ptr_eq(current, &a))
    );
    assert_eq!(a.entity().residence(), Residence::Current);
}

#[test]
fn the_task_that_peek_shows_is_picked() {
    let (a, b, c) = (task(50, &[0]), held(60), task(60, &[0, 1]));
    let mut rq = runqueue(&a, &[&b, &c]);
    let shown = rq.peek().map(|task| std::ptr::from_ref(task.entity()));
    let _ = rq.take_current();
    let picked = rq.pick_next().map(|task| std::ptr::from_ref(task.entity()));
    assert_eq!(shown, picked);
    assert_eq!(
        picked,
        Some(std::ptr::from_ref(b.entity())),
        "it came first"
    );
}
