//! The promise: once nothing changes any more, the N most urgent runnable tasks run on the N CPUs.

use corelane::{Idle, JoinHandle, Runtime, task};
use corelane_os_model::Model;

use crate::kit::{Busy, builder, comes, end, join, only, prio, thread};

/// The numbers of the tasks that run, in ascending order.
fn running(runtime: &Runtime) -> Vec<u64> {
    let snapshot = runtime.snapshot();
    let running = snapshot.cpus.iter().filter_map(|cpu| cpu.running);
    let mut ids: Vec<u64> = running.map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids
}

pub(crate) fn await_running(runtime: &Runtime, tasks: &[&Computing]) {
    let mut ids: Vec<u64> = tasks.iter().map(|task| task.handle.task().id()).collect();
    ids.sort_unstable();
    let most_urgent_run = comes(|| running(runtime) == ids);
    assert!(
        most_urgent_run,
        "{ids:?} do not come to run: {:?}",
        runtime.snapshot()
    );
}

/// A task that computes until it is stopped.
pub(crate) struct Computing {
    busy: Busy,
    pub(crate) handle: JoinHandle<()>,
}

impl Computing {
    pub(crate) fn start(builder: corelane::TaskBuilder, parks_first: bool) -> Computing {
        let busy = Busy::default();
        let own = busy.clone();
        let handle = builder.spawn(move || {
            if parks_first {
                task::park();
            }
            own.compute();
        });
        Computing { busy, handle }
    }

    pub(crate) fn spawn(runtime: &Runtime, priority: u8) -> Computing {
        Computing::start(runtime.build_task().priority(prio(priority)), false)
    }

    /// Stops them all before any is joined: a less urgent one may not get to run until the others end.
    pub(crate) fn stop_all(tasks: impl IntoIterator<Item = Computing>) {
        let tasks: Vec<Computing> = tasks.into_iter().collect();
        tasks.iter().for_each(|task| task.busy.stop());
        tasks.into_iter().for_each(Computing::stop);
    }

    pub(crate) fn stop(self) {
        self.busy.stop();
        self.handle.join().unwrap();
    }
}

/// More tasks than CPUs, spawned from two threads; then the most urgent ends.
fn spawned_at_once(idle: Idle) {
    let runtime = builder().idle(idle).build().unwrap();
    let builder = runtime.build_task();
    let other = thread(move || {
        [10, 40].map(|p| Computing::start(builder.clone().priority(prio(p)), false))
    });
    let [second, third] = [30, 20].map(|p| Computing::spawn(&runtime, p));
    let [last, first] = join(other);
    await_running(&runtime, &[&first, &second]);
    first.stop();
    await_running(&runtime, &[&second, &third]);
    second.stop();
    await_running(&runtime, &[&third, &last]);
    Computing::stop_all([third, last]);
    end(runtime);
}

pub(crate) fn spawned_on_sleeping_cpus() {
    spawned_at_once(Idle::Park);
}

#[test]
fn the_most_urgent_run_however_they_were_spawned() {
    Model::new().schedules(150).check(spawned_on_sleeping_cpus);
}

#[test]
fn the_most_urgent_run_on_cpus_that_only_spin() {
    Model::new()
        .schedules(15)
        .check(|| spawned_at_once(Idle::Spin));
}

/// Parked tasks that are woken from two threads while others compute.
pub(crate) fn woken_at_once() {
    let runtime = builder().build().unwrap();
    let computing = [15, 25].map(|p| Computing::spawn(&runtime, p));
    let parked = |p| Computing::start(runtime.build_task().priority(prio(p)), true);
    let [urgent, middle] = [35, 20].map(parked);
    let wake = urgent.handle.task();
    let other = thread(move || wake.unpark());
    middle.handle.task().unpark();
    join(other);
    let [least, second] = computing;
    await_running(&runtime, &[&urgent, &second]);
    urgent.stop();
    await_running(&runtime, &[&second, &middle]);
    second.stop();
    await_running(&runtime, &[&middle, &least]);
    Computing::stop_all([middle, least]);
    end(runtime);
}

#[test]
fn the_most_urgent_run_however_they_were_woken() {
    Model::new().schedules(150).check(woken_at_once);
}

/// Three CPUs, tasks of which one is bound: whoever can move makes room.
fn with_a_bound_task() {
    let runtime = builder().fibers(6).build().unwrap();
    let free = [50, 40, 30].map(|p| Computing::spawn(&runtime, p));
    let bound = runtime.build_task().affinity(only(1)).priority(prio(45));
    let bound = Computing::start(bound, false);
    let [first, third, last] = free;
    await_running(&runtime, &[&first, &bound, &third]);
    first.stop();
    await_running(&runtime, &[&bound, &third, &last]);
    Computing::stop_all([bound, third, last]);
    end(runtime);
}

#[test]
fn a_bound_task_gets_its_cpu_from_a_free_one() {
    Model::new().cpus(3).schedules(80).check(with_a_bound_task);
}

/// A task wakes a more urgent one that is bound to its CPU: it makes room and goes on elsewhere.
pub(crate) fn displaced_by_its_own_wake() {
    let runtime = builder().build().unwrap();
    let least = Computing::spawn(&runtime, 10);
    let bound = runtime.build_task().affinity(only(0)).priority(prio(40));
    let bound = Computing::start(bound, true);
    let (urgent, busy) = (bound.handle.task(), Busy::default());
    let own = busy.clone();
    let handle = runtime.spawn(prio(30), move || {
        urgent.unpark();
        own.compute();
    });
    let waker = Computing { busy, handle };
    await_running(&runtime, &[&waker, &bound]);
    Computing::stop_all([bound, waker, least]);
    end(runtime);
}

#[test]
fn a_task_that_wakes_a_bound_one_goes_on_elsewhere() {
    Model::new().schedules(150).check(displaced_by_its_own_wake);
}
