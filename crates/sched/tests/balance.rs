//! Decisions about where tasks run, each as a small fact.

use corelane_sched::{
    Arrival, Change, CpuId, CpuMask, Leftover, Level, Next, Node, Place, Policy, Prio, RootDomain,
    Runqueue, TaskRef, Verdict, Why, arrive, leftover, pull, push, review,
};

type Rq = Runqueue<u32>;

fn level(prio: u8) -> Level {
    Level::of(Prio::new(prio).unwrap())
}

fn cpu(index: usize) -> CpuId {
    CpuId::new(index)
}

fn task_of(prio: u8, home: usize, allowed: &[usize]) -> TaskRef<u32> {
    let mut mask = CpuMask::empty(4);
    allowed.iter().for_each(|cpu| mask.insert(CpuId::new(*cpu)));
    Node::new(
        Prio::new(prio).unwrap(),
        Policy::Fifo,
        &mask,
        cpu(home),
        u32::from(prio),
    )
}

fn task(prio: u8) -> TaskRef<u32> {
    task_of(prio, 0, &[0, 1, 2, 3])
}

/// CPU 0 with a current task, others queued; the other CPUs are at `level(others)`.
fn busy(current: TaskRef<u32>, queued: Vec<TaskRef<u32>>, others: u8) -> (Rq, RootDomain) {
    let (mut rq, domain) = (Rq::new(cpu(0)), RootDomain::flat(4));
    for other in 1..4 {
        let _ = domain.cpupri.set(cpu(other), level(others));
    }
    queue(&mut rq, current);
    let _ = rq.pick_next();
    queued.into_iter().for_each(|task| queue(&mut rq, task));
    let _ = rq.publish(&domain);
    rq.pull_begins();
    (rq, domain)
}

fn queue(rq: &mut Rq, task: TaskRef<u32>) {
    let Arrival::Queued { .. } = rq.enqueue(task, Place::Tail) else {
        panic!("the task may run here")
    };
}

fn held(prio: u8) -> TaskRef<u32> {
    let task = task(prio);
    task.entity().hold();
    task
}

#[test]
fn a_yield_goes_behind_its_equals_even_if_a_higher_task_waits() {
    let (rq, domain) = busy(task(50), vec![task(50), task(80)], 99);
    assert_eq!(
        review(&rq, &domain, Why::Yield),
        Verdict::PutBack(Place::Tail)
    );
    assert_eq!(
        review(&rq, &domain, Why::SliceEnd),
        Verdict::PutBack(Place::Tail)
    );
    assert_eq!(
        review(&rq, &domain, Why::Asked),
        Verdict::PutBack(Place::Preempted)
    );
}

#[test]
fn a_yield_with_only_lower_tasks_waiting_continues() {
    let (rq, domain) = busy(task(50), vec![task(40)], 99);
    assert_eq!(review(&rq, &domain, Why::Yield), Verdict::Continue);
}

#[test]
fn a_task_that_may_not_be_here_leaves_unless_it_is_held() {
    let (rq, domain) = busy(task(50), vec![], 20);
    let entity = rq.current().unwrap().entity();
    entity.affinity().store(&CpuMask::single(4, cpu(2)));
    assert_eq!(review(&rq, &domain, Why::Asked), Verdict::Leave(cpu(2)));
    entity.hold();
    assert_eq!(review(&rq, &domain, Why::Asked), Verdict::Continue);
    assert!(entity.release(), "the scheduler waits for the last guard");
}

#[test]
fn a_lowering_that_others_published_is_still_owed() {
    let (mut rq, domain) = busy(task(80), vec![], 99);
    rq.pull_begins();
    rq.current()
        .unwrap()
        .entity()
        .set_prio(Prio::new(20).unwrap());
    // A puller publishes for this CPU and cannot pull for it.
    assert_eq!(rq.publish(&domain), Change::Lowered);
    assert_eq!(leftover(&rq, &domain), Leftover::LookAgain);
    // Its own pass finds nothing new to publish, and pulls all the same.
    assert_eq!(rq.publish(&domain), Change::Lowered);
    rq.pull_begins();
    assert_eq!(rq.publish(&domain), Change::NotLowered);
    assert_eq!(leftover(&rq, &domain), Leftover::Nothing);
}

#[test]
fn a_task_that_was_picked_over_a_stuck_one_looks_again_if_a_cpu_is_lower() {
    let (rq, domain) = busy(task(80), vec![held(50)], 60);
    assert_eq!(leftover(&rq, &domain), Leftover::Nothing);
    let _ = domain.cpupri.set(cpu(3), level(40));
    assert_eq!(leftover(&rq, &domain), Leftover::LookAgain);
    assert_eq!(review(&rq, &domain, Why::Asked), Verdict::MakeRoom(cpu(3)));
}

#[test]
fn a_held_task_that_was_picked_over_a_stuck_one_looks_when_it_drops_its_guard() {
    let (rq, domain) = busy(held(80), vec![held(50)], 40);
    assert_eq!(leftover(&rq, &domain), Leftover::Nothing);
    assert!(rq.current().unwrap().entity().release());
}

#[test]
fn a_puller_asks_for_room_if_the_stuck_task_is_above_the_movable_one() {
    let (mut rq, domain) = busy(task(80), vec![held(50), task(40)], 99);
    let _ = domain.cpupri.set(cpu(1), Level::IDLE);
    let outcome = pull::commit(&mut rq, cpu(1), Level::IDLE);
    assert!(matches!(outcome, pull::Outcome::AskToLeave));
    assert_eq!(rq.queued(), 2);
}

#[test]
fn a_puller_takes_the_movable_task_if_no_room_can_be_made_now() {
    let (mut rq, _) = busy(held(80), vec![held(50), task(40)], 99);
    let outcome = pull::commit(&mut rq, cpu(1), Level::IDLE);
    assert!(matches!(outcome, pull::Outcome::Moved(task) if task.body == 40));
    // What is left can only be helped by the holder, which is told once.
    let asked = pull::commit(&mut rq, cpu(1), level(40));
    assert!(matches!(asked, pull::Outcome::AskToLeave));
    rq.current().unwrap().entity().ask_attention();
    assert!(matches!(
        pull::commit(&mut rq, cpu(1), level(40)),
        pull::Outcome::Stale
    ));
}

#[test]
fn a_task_that_its_cpu_is_about_to_run_is_not_pulled() {
    let (mut rq, domain) = busy(task(20), vec![task(80), task(10)], 99);
    assert_eq!(domain.overload.level(cpu(0)), Some(level(10)));
    assert!(matches!(
        pull::commit(&mut rq, cpu(1), level(10)),
        pull::Outcome::Stale
    ));
    let taken = pull::commit(&mut rq, cpu(1), Level::IDLE);
    assert!(matches!(taken, pull::Outcome::Moved(task) if task.body == 10));
}

#[test]
fn a_pull_goes_past_a_task_that_may_not_come() {
    let elsewhere = task_of(60, 0, &[0, 2]);
    let (mut rq, domain) = busy(task(80), vec![elsewhere, task(40)], 99);
    let tried = CpuMask::empty(4);
    let plan = pull::plan(&domain, cpu(1), Level::IDLE, &tried);
    assert_eq!(
        plan,
        Some(pull::Plan {
            from: cpu(0),
            level: level(60)
        })
    );
    let outcome = pull::commit(&mut rq, cpu(1), Level::IDLE);
    assert!(matches!(outcome, pull::Outcome::Moved(task) if task.body == 40));
}

#[test]
fn a_push_goes_past_a_task_that_nobody_can_take() {
    let nobody = task_of(60, 0, &[0, 2]);
    let (mut rq, domain) = busy(task(80), vec![nobody, task(40)], 99);
    let _ = domain.cpupri.set(cpu(1), level(10));
    let plan = push::plan(&rq, &domain).expect("CPU 1 is lower than 40");
    let push::Outcome::Moved { task, to } = push::commit(&mut rq, &domain, plan) else {
        panic!("nothing has changed")
    };
    assert_eq!((task.body, to), (40, cpu(1)));
}

#[test]
fn a_push_is_stale_once_its_target_or_its_task_has_changed() {
    let changes: [fn(&mut Rq, &RootDomain); 3] = [
        |_, domain| {
            let _ = domain.cpupri.set(cpu(1), level(40));
        },
        |rq, _| {
            let task = rq.pushable().next().unwrap();
            task.entity().affinity().store(&CpuMask::single(4, cpu(3)));
        },
        |rq, domain| {
            let taken = pull::commit(rq, cpu(2), Level::IDLE);
            assert!(matches!(taken, pull::Outcome::Moved(_)));
            let _ = rq.publish(domain);
        },
    ];
    for change in changes {
        let (mut rq, domain) = busy(task(80), vec![task(40)], 99);
        let _ = domain.cpupri.set(cpu(1), level(10));
        let plan = push::plan(&rq, &domain).expect("CPU 1 is lower than 40");
        change(&mut rq, &domain);
        assert!(matches!(
            push::commit(&mut rq, &domain, plan),
            push::Outcome::Stale
        ));
    }
}

#[test]
fn an_arrival_goes_beside_a_held_current_task_if_a_cpu_is_lower() {
    let (mut rq, domain) = busy(held(50), vec![], 60);
    assert!(matches!(
        arrive(&mut rq, &domain, task(80), Place::Tail),
        Next::Done
    ));
    let (mut rq, domain) = busy(held(50), vec![], 40);
    let next = arrive(&mut rq, &domain, task(80), Place::Tail);
    assert!(matches!(next, Next::Send(task, Place::Tail, to) if task.body == 80 && to != cpu(0)));
}
