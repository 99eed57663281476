//! Order among equals: first in, first out; who may keep a place and who loses it.
//!
//! Everything here happens on one CPU, below a conductor at priority 99 that arranges the queue while
//! nobody else runs. So each order is exact.

mod common;
#[path = "common/kit.rs"]
mod kit;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Exclusive, prio};
use corelane::{Cpus, EventKind, JoinHandle, Policy, Task, task};
use kit::{Rng, occupy_until};

fn one_cpu() -> Exclusive {
    common::builder()
        .events(1 << 16)
        .map(|builder| builder.cpus(Cpus::Count(1)))
        .build()
        .unwrap()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, word: impl Into<String>) {
        self.0.lock().unwrap().push(word.into());
    }

    fn words(&self) -> String {
        self.0.lock().unwrap().join(" ")
    }
}

/// Runs `conduct` at priority 99 on the one CPU, then everything it left behind; returns the log.
fn conduct(conduct: impl FnOnce(&Log) -> Vec<JoinHandle<()>> + Send + 'static) -> String {
    let (runtime, log) = (one_cpu(), Log::default());
    let conductors = log.clone();
    let left = runtime
        .spawn(prio(99), move || conduct(&conductors))
        .join()
        .unwrap();
    left.into_iter().for_each(|handle| handle.join().unwrap());
    // Below all others: what is not in the list has run by then.
    runtime.spawn(prio(1), || ()).join().unwrap();
    log.words()
}

/// Spawns a task that logs its name, gives way, and so on.
fn chant(log: &Log, name: &str, value: u8, verses: usize) -> JoinHandle<()> {
    let (log, name) = (log.clone(), name.to_owned());
    task::spawn(prio(value), move || {
        for verse in 0..verses {
            if verse > 0 {
                task::yield_now();
            }
            log.add(&name);
        }
    })
}

#[test]
fn equals_run_in_the_order_in_which_they_were_spawned() {
    let words = conduct(|log| {
        ["a", "b", "c", "d"]
            .map(|name| chant(log, name, 50, 1))
            .into()
    });
    assert_eq!(words, "a b c d");
}

#[test]
fn equals_run_in_the_order_in_which_they_were_woken() {
    let words = conduct(|log| {
        let sleeper = |name: &'static str| {
            let log = log.clone();
            task::spawn(prio(50), move || {
                task::park();
                log.add(name);
            })
        };
        let handles = ["a", "b", "c", "d"].map(sleeper);
        task::sleep(Duration::from_millis(1)); // they park
        let tasks = handles.each_ref().map(JoinHandle::task);
        while tasks
            .iter()
            .any(|task| task.state() != corelane::TaskState::Waiting)
        {
            task::sleep(Duration::from_millis(1));
        }
        [2, 0, 3, 1].iter().for_each(|index| tasks[*index].unpark());
        handles.into()
    });
    assert_eq!(words, "c a d b");
}

#[test]
fn a_yield_goes_to_the_tail_of_its_own_level() {
    let words = conduct(|log| {
        let low = chant(log, "low", 40, 1);
        let equals = ["a", "b", "c"].map(|name| chant(log, name, 50, 3));
        equals.into_iter().chain([low]).collect()
    });
    assert_eq!(words, "a b c a b c a b c low");
}

#[test]
fn a_yield_alone_at_its_level_goes_on() {
    let runtime = one_cpu();
    let handle = runtime.spawn(prio(99), || {
        let low = task::spawn(prio(40), || ());
        let alone = task::spawn(prio(50), || (0..100).for_each(|_| task::yield_now()));
        (alone.task().id(), low, alone)
    });
    let (alone, low, handle) = handle.join().unwrap();
    handle.join().unwrap();
    low.join().unwrap();
    let gave_way = |kind| matches!(kind, EventKind::Yield { task, .. } if task == alone);
    assert!(!runtime.events().iter().any(|event| gave_way(event.kind)));
}

#[test]
fn a_preempted_task_goes_on_before_its_equals() {
    let words = conduct(|log| {
        let (inner, outer) = (log.clone(), log.clone());
        let first = task::spawn(prio(50), move || {
            outer.add("a1");
            let (once, twice) = (inner.clone(), inner.clone());
            task::spawn(prio(80), move || once.add("h1"));
            outer.add("a2");
            task::spawn(prio(80), move || twice.add("h2"));
            outer.add("a3");
        });
        vec![first, chant(log, "b", 50, 1), chant(log, "c", 50, 1)]
    });
    assert_eq!(words, "a1 h1 a2 h2 a3 b c");
}

#[test]
fn nested_preemptions_unwind_in_order_at_every_level() {
    let words = conduct(|log| {
        let l = log.clone();
        let first = task::spawn(prio(50), move || {
            l.add("a1");
            let (m, late) = (l.clone(), l.clone());
            task::spawn(prio(60), move || {
                m.add("m1");
                chant(&m, "n", 60, 1); // an equal of m comes before m is preempted
                let h = m.clone();
                task::spawn(prio(70), move || {
                    h.add("h");
                    chant(&late, "d", 50, 1); // an equal of a comes while a is preempted
                });
                m.add("m2");
            });
            l.add("a2");
        });
        vec![first, chant(log, "b", 50, 1)]
    });
    assert_eq!(words, "a1 m1 h m2 n a2 b d");
}

#[test]
fn a_raised_task_goes_behind_its_new_equals() {
    let words = conduct(|log| {
        let raised = chant(log, "x", 50, 1);
        let equals = ["a", "b"].map(|name| chant(log, name, 60, 1));
        raised.task().set_priority(prio(60)).unwrap();
        equals
            .into_iter()
            .chain([raised, chant(log, "c", 60, 1)])
            .collect()
    });
    assert_eq!(words, "a b x c");
}

#[test]
fn a_lowered_task_goes_before_its_new_equals() {
    let words = conduct(|log| {
        let equals = ["a", "b"].map(|name| chant(log, name, 50, 1));
        let lowered = ["x", "y"].map(|name| chant(log, name, 60, 1));
        lowered
            .iter()
            .for_each(|handle| handle.task().set_priority(prio(50)).unwrap());
        equals.into_iter().chain(lowered).collect()
    });
    assert_eq!(words, "y x a b");
}

#[test]
fn a_task_that_was_lowered_yields_like_any_other() {
    let words = conduct(|log| {
        let equals = ["a", "b"].map(|name| chant(log, name, 50, 2));
        let lowered = chant(log, "x", 60, 2);
        lowered.task().set_priority(prio(50)).unwrap();
        let late = chant(log, "c", 50, 1);
        equals.into_iter().chain([lowered, late]).collect()
    });
    assert_eq!(words, "x a b c x a b");
}

#[test]
fn a_running_task_that_lowers_itself_goes_on_before_its_new_equals() {
    let words = conduct(|log| {
        let equals = ["a", "b"].map(|name| chant(log, name, 50, 1));
        let log = log.clone();
        let lowered = task::spawn(prio(60), move || {
            task::current().unwrap().set_priority(prio(50)).unwrap();
            log.add("x");
        });
        equals.into_iter().chain([lowered]).collect()
    });
    assert_eq!(words, "x a b");
}

#[test]
fn a_change_to_the_same_priority_keeps_the_place() {
    let words = conduct(|log| {
        let handles = ["a", "b", "c"].map(|name| chant(log, name, 50, 1));
        handles[1].task().set_priority(prio(50)).unwrap();
        handles.into()
    });
    assert_eq!(words, "a b c");
}

#[test]
fn round_robin_peers_take_turns_also_around_preemptions() {
    let (runtime, over) = (one_cpu(), Arc::new(AtomicBool::new(false)));
    let until = over.clone();
    let conductor = runtime.spawn(prio(99), move || {
        let peer = |_| {
            let over = until.clone();
            let policy = Policy::RoundRobin { slice_ns: 300_000 };
            let peer = task::build().priority(prio(50)).policy(policy);
            peer.spawn(move || occupy_until(|| over.load(SeqCst)))
        };
        let peers: Vec<_> = (0..3).map(peer).collect();
        let over = until.clone();
        let tick = task::spawn(prio(80), move || {
            while !over.load(SeqCst) {
                task::sleep(Duration::from_micros(700));
            }
        });
        (peers, tick)
    });
    let (peers, tick) = conductor.join().unwrap();
    let ids: Vec<u64> = peers.iter().map(|peer| peer.task().id()).collect();
    let (mut turns, mut preemptions) = (Vec::new(), 0);
    let start = std::time::Instant::now();
    while turns.len() < 60 || preemptions < 5 {
        assert!(
            start.elapsed().as_secs() < 20,
            "{} turns, {preemptions} preemptions",
            turns.len()
        );
        for event in runtime.events() {
            match event.kind {
                EventKind::Switch { task, .. }
                    if ids.contains(&task) && turns.last() != Some(&task) =>
                {
                    turns.push(task);
                }
                EventKind::Preempt { task, .. } => preemptions += u32::from(ids.contains(&task)),
                _ => {}
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    over.store(true, SeqCst);
    peers
        .into_iter()
        .chain([tick])
        .for_each(|handle| handle.join().unwrap());
    assert_eq!(runtime.stats().events_dropped, 0);
    for (turn, task) in turns.iter().enumerate() {
        assert_eq!(*task, ids[turn % 3], "turn {turn} of {ids:?}: {turns:?}");
    }
}

/// What a task of the random test does at a step after it was picked.
#[derive(Clone, Copy, Debug)]
enum Step {
    Yield,
    Wake(usize),
}

/// The same as the scheduler should do, with plain lists.
struct Naive {
    levels: BTreeMap<u8, VecDeque<usize>>,
    prios: Vec<u8>,
    queued: Vec<bool>,
}

impl Naive {
    fn wake(&mut self, task: usize) {
        if !self.queued[task] {
            self.queued[task] = true;
            self.levels
                .entry(self.prios[task])
                .or_default()
                .push_back(task);
        }
    }

    fn set_priority(&mut self, task: usize, prio: u8) {
        let before = std::mem::replace(&mut self.prios[task], prio);
        if !self.queued[task] || before == prio {
            return;
        }
        self.levels
            .get_mut(&before)
            .unwrap()
            .retain(|other| *other != task);
        let level = self.levels.entry(prio).or_default();
        if prio > before {
            level.push_back(task)
        } else {
            level.push_front(task)
        }
    }

    fn top(&self) -> Option<u8> {
        self.levels
            .iter()
            .rev()
            .find(|(_, level)| !level.is_empty())
            .map(|(prio, _)| *prio)
    }

    /// Everything that is queued runs its script; returns the log.
    fn run(&mut self, mut scripts: Vec<Vec<Step>>) -> Vec<(usize, usize)> {
        let (mut log, mut at) = (Vec::new(), vec![0; scripts.len()]);
        while let Some(prio) = self.top() {
            let task = self.levels.get_mut(&prio).unwrap().pop_front().unwrap();
            loop {
                log.push((task, at[task]));
                let Some(step) = scripts[task].get(at[task]).copied() else {
                    (at[task], self.queued[task]) = (0, false);
                    scripts[task].clear();
                    break;
                };
                at[task] += 1;
                match step {
                    Step::Yield if self.top() == Some(prio) => {
                        self.levels.get_mut(&prio).unwrap().push_back(task);
                        break;
                    }
                    Step::Yield => {}
                    Step::Wake(other) => {
                        self.wake(other);
                        if self.top() > Some(prio) {
                            self.levels.get_mut(&prio).unwrap().push_front(task);
                            break;
                        }
                    }
                }
            }
        }
        log
    }
}

struct Shared {
    tasks: Mutex<Vec<Task>>,
    scripts: Mutex<Vec<Vec<Step>>>,
    log: Mutex<Vec<(usize, usize)>>,
    over: AtomicBool,
    parked: AtomicU64,
}

/// Logs each of its steps, then parks; again and again.
fn perform(shared: &Shared, me: usize) {
    loop {
        shared.parked.fetch_or(1 << me, SeqCst);
        task::park();
        if shared.over.load(SeqCst) {
            return;
        }
        // A script is performed once; woken again in the same round, the task only logs.
        let script = std::mem::take(&mut shared.scripts.lock().unwrap()[me]);
        for at in 0..=script.len() {
            shared.log.lock().unwrap().push((me, at));
            match script.get(at) {
                Some(Step::Yield) => task::yield_now(),
                Some(Step::Wake(other)) => wake(shared, *other),
                None => {}
            }
        }
    }
}

/// One permit at most: a task that is queued already is not woken twice.
fn wake(shared: &Shared, index: usize) {
    if shared.parked.fetch_and(!(1 << index), SeqCst) >> index & 1 == 1 {
        let task = shared.tasks.lock().unwrap()[index].clone();
        task.unpark();
    }
}

const ACTORS: usize = 10;

#[test]
fn random_wakes_yields_and_changes_keep_the_order_of_plain_lists() {
    let runtime = one_cpu();
    let conductor = runtime.spawn(prio(99), || {
        let shared = Arc::new(Shared {
            tasks: Mutex::default(),
            scripts: Mutex::default(),
            log: Mutex::default(),
            over: AtomicBool::new(false),
            parked: AtomicU64::new(0),
        });
        let actor = |me| {
            let shared = shared.clone();
            task::spawn(prio(50), move || perform(&shared, me))
        };
        let handles: Vec<_> = (0..ACTORS).map(actor).collect();
        *shared.tasks.lock().unwrap() = handles.iter().map(JoinHandle::task).collect();
        let mut naive = Naive {
            levels: BTreeMap::new(),
            prios: vec![50; ACTORS],
            queued: vec![false; ACTORS],
        };
        for round in 0..400 {
            rest(); // until everybody is parked
            rehearse(&shared, &mut naive, round);
        }
        rest();
        shared.over.store(true, SeqCst);
        let tasks = shared.tasks.lock().unwrap().clone();
        tasks.iter().for_each(Task::unpark);
        handles
    });
    conductor
        .join()
        .unwrap()
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
}

/// Returns when nothing above priority 1 is runnable.
fn rest() {
    task::spawn(prio(1), || ()).join().unwrap();
}

/// One round: random changes of the queue by the conductor, then the comparison.
fn rehearse(shared: &Shared, naive: &mut Naive, round: u64) {
    let mut rng = Rng::new(round);
    let step = |rng: &mut Rng| match rng.below(2) {
        0 => Step::Yield,
        _ => Step::Wake(rng.below(ACTORS)),
    };
    let script = |_| (0..rng.below(4)).map(|_| step(&mut rng)).collect();
    let scripts: Vec<Vec<Step>> = (0..ACTORS).map(script).collect();
    *shared.scripts.lock().unwrap() = scripts.clone();
    let tasks = shared.tasks.lock().unwrap().clone();
    for _ in 0..30 {
        let index = rng.below(ACTORS);
        if rng.below(2) == 0 {
            wake(shared, index);
            naive.wake(index);
        } else {
            let value = 50 + rng.below(3) as u8;
            tasks[index].set_priority(prio(value)).unwrap();
            naive.set_priority(index, value);
        }
    }
    let wanted = naive.run(scripts.clone());
    rest();
    let log = std::mem::take(&mut *shared.log.lock().unwrap());
    assert_eq!(log, wanted, "round {round}, scripts {scripts:?}");
}
