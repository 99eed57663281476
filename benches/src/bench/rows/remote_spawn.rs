//! Handing jobs to another CPU from an ordinary thread.
//!
//! A thread that is no part of the runtime (a driver, an audio callback) produces jobs; a worker on
//! another CPU runs them. Ours: `Runtime::spawn`, and the handle dropped. The peer is what a program of
//! threads does: boxed closures through a bounded crossbeam channel to a FIFO thread.
//!
//! Equal work: in both arms the producer is the same kind of thread on the same CPU and level, the
//! consumer has the other CPU at the same level, a job counts one shared counter up, and the producer
//! hands over a batch and waits for its end before the next. What a task has beyond a closure in a
//! channel (a priority, a name, a join handle, a stack of its own if it waits) is ours to pay for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};

use corelane::{Priority, Runtime};
use corelane_benches::{Block, Claim, Need, Seat, Stopwatch, involuntary_switches, run_both};

use crate::rows::Row;
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "remote_spawn",
    about: "jobs from an ordinary thread to another CPU: crossbeam-channel to a FIFO thread",
    compare,
};

/// Jobs on their way at most.
const BATCH: u64 = 256;
const NEEDS: &[Need] = &[Need::TwoCpus, Need::Fifo];

type Job = Box<dyn FnOnce() + Send>;

fn compare(run: &mut Run) {
    let claim = Claim::contended("crossbeam-channel to a FIFO thread");
    if run.leaves_out(core::slice::from_ref(&claim), NEEDS) {
        return;
    }
    let [from, to] = run.site.pair();
    let (producer, consumer) = (run.site.seat(from, 0), run.site.seat(to, 0));
    let runtime = run.site.runtime(&[to]).build();
    let runtime = Arc::new(runtime.expect("a runtime on one CPU"));
    let mut ours = |jobs| corelane(&runtime, producer, jobs);
    let mut peer = |jobs| channel(producer, consumer, jobs);
    run.compare(claim, NEEDS, &mut ours, &mut peer);
}

fn corelane(runtime: &Arc<Runtime>, producer: Seat, jobs: u64) -> Block {
    let worker_switches = || {
        let task = runtime.spawn(Priority::MIN, involuntary_switches);
        task.join().expect("a task that reads a counter returns")
    };
    let before = worker_switches();
    let block = producer.run({
        let runtime = runtime.clone();
        move || {
            produce(jobs, |done| {
                drop(runtime.spawn(Priority::MIN, move || done.count()));
            })
        }
    });
    Block {
        interruptions: block.interruptions + worker_switches() - before,
        ..block
    }
}

fn channel(producer: Seat, consumer: Seat, jobs: u64) -> Block {
    let (sender, receiver) = crossbeam_channel::bounded::<Job>(BATCH as usize);
    // The producer begins when the consumer has its seat: a start would count as a hand-over.
    let [produced, consumed] = run_both([producer, consumer], move |one| match one {
        0 => produce(jobs, |done| {
            let job: Job = Box::new(move || done.count());
            sender.send(job).expect("the consumer is there");
        }),
        _ => {
            let watch = Stopwatch::start();
            receiver.iter().take(jobs as usize).for_each(|job| job());
            watch.throughput(jobs)
        }
    });
    Block {
        interruptions: produced.interruptions + consumed.interruptions,
        ..produced
    }
}

/// Hands over so many jobs in batches, on the calling thread.
fn produce(jobs: u64, hand_over: impl Fn(Arc<Done>)) -> Block {
    let done = Arc::new(Done::default());
    let watch = Stopwatch::start();
    let mut handed_over = 0;
    while handed_over < jobs {
        let batch = BATCH.min(jobs - handed_over);
        (0..batch).for_each(|_| hand_over(done.clone()));
        handed_over += batch;
        done.wait_for(handed_over);
    }
    watch.throughput(jobs)
}

/// How many jobs have run, on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Done(AtomicU64);

impl Done {
    fn count(&self) {
        self.0.fetch_add(1, Relaxed); // Relaxed: a count.
    }

    fn wait_for(&self, jobs: u64) {
        while self.0.load(Relaxed) < jobs {
            // Relaxed: the count alone is what is waited for.
            core::hint::spin_loop();
        }
    }
}
