//! One runtime after the other: built, churned, judged, ended, and everything counted.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use corelane::{Builder, Cpus, Idle, JoinHandle, Runtime, task};
use corelane_sim::Oracle;

use crate::act::Joining;
use crate::arguments::Arguments;
use crate::cast::Cast;
use crate::count::{Token, add, get};
use crate::crowd::Crowd;
use crate::footprint::Footprint;
use crate::report::{Load, Sums};
use crate::supervisor::Board;
use crate::watch::{Rest, Watch};

const LINE_EVERY: Duration = Duration::from_secs(10);
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);
const LOAD_EVERY: Duration = Duration::from_millis(100);
/// Runtimes after which the process is as large as it gets: arenas and caches are there.
const WARM_UP: u64 = 2;
const CPU_PERCENT_HIGH: u64 = 60;
const CPU_PERCENT_LOW: u64 = 40;
const PAUSE_US_MAX: u32 = 500;

struct Soak {
    sums: Sums,
    board: Board,
    choices: Oracle,
    start: Instant,
    last_line: Instant,
    end: Instant,
    load: Load,
    line_load: Load,
    pause_us: u32,
    before: Option<Footprint>,
    /// What the last runtime seems to have left behind.
    left_behind: Option<String>,
}

/// Soaks until the time is over; the exit code says whether anything was violated.
pub(crate) fn run(arguments: &Arguments, board: Board) -> ExitCode {
    let (now, cpus) = (Instant::now(), corelane_os::topology::Topology::discover());
    let cpus = cpus.map_or(1, |topology| topology.cpus().len());
    let mut soak = Soak {
        sums: Sums::default(),
        board,
        choices: Oracle::new(arguments.seed),
        start: now,
        last_line: now,
        end: now + arguments.duration,
        load: Load::new(cpus),
        line_load: Load::new(cpus),
        pause_us: 20,
        before: None,
        left_behind: None,
    };
    println!("soak: {:?}, seed {}", arguments.duration, arguments.seed);
    while Instant::now() < soak.end {
        if let Err(message) = soak.live_once() {
            soak.object(&message);
            break;
        }
    }
    for name in soak.sums.missing(arguments.duration) {
        soak.object(&format!("nothing was judged: no {name}"));
    }
    println!("{}", soak.sums.summary());
    match soak.sums.violations {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

impl Soak {
    /// Shows a violation that is counted elsewhere.
    fn show(&self, what: &str) {
        println!("VIOLATION in runtime {}: {what}", self.sums.runtimes);
    }

    fn object(&mut self, what: &str) {
        self.sums.violations += 1;
        self.show(what);
    }

    fn builder(&mut self) -> Builder {
        let choices = &mut self.choices;
        // A small ring overflows: then the oracles must notice and start anew.
        let events = if choices.chance(6) { 1 << 9 } else { 1 << 16 };
        let idle = match choices.below(3) {
            0 => Idle::Park,
            _ => Idle::SpinThenPark { spin_ns: 20_000 },
        };
        let builder = Runtime::builder()
            .events(events)
            .idle(idle)
            .fibers(1 + choices.below(30));
        match choices.below(6) {
            0 => builder.cpus(Cpus::Count(1)),
            _ => builder,
        }
    }

    fn live_once(&mut self) -> Result<(), String> {
        let builder = self.builder();
        let runtime = builder.build().map_err(|error| error.to_string())?;
        let seed = self.choices.next_word();
        let entries = 4 + self.choices.below(24);
        let cast = Cast::new(runtime.cpus(), entries, seed);
        cast.pause_us.store(self.pause_us, Relaxed); // Relaxed: advice.
        let crowd = Crowd::gather(&cast, &runtime.build_task());
        let mut watch = Watch::new(runtime.cpus());
        let life = Duration::from_millis(300 + self.choices.below(2_000) as u64);
        let until = (Instant::now() + life).min(self.end);
        let mut background = Vec::new();
        while Instant::now() < until {
            background.push(background_task(&runtime, &cast));
            self.churn(&runtime, &cast, &mut watch);
            self.judge_rest(&runtime, &cast, &mut watch);
        }
        let is_orderly = self.choices.chance(75);
        if is_orderly {
            self.end_tasks(&runtime, &cast, &mut watch);
        }
        background.into_iter().for_each(|handle| {
            let tally = Joining::begin(&cast);
            if !matches!(handle.join(), Ok(7)) {
                cast.counts
                    .object("join: a background task's value is lost".into());
            }
            tally.answered();
        });
        self.end_runtime(runtime, &cast, crowd, watch, is_orderly);
        self.sums.runtimes += 1;
        self.compare_footprint();
        Ok(())
    }

    fn churn(&mut self, runtime: &Runtime, cast: &Cast, watch: &mut Watch) {
        let until = Instant::now() + Duration::from_millis(5 + self.choices.below(40) as u64);
        while Instant::now() < until {
            sleep(Duration::from_millis(1));
            watch.look(runtime, cast);
        }
        self.regulate(cast);
        self.tell(runtime, watch, "churn");
    }

    /// Keeps the use of the CPUs in bounds, or the kernel's fair server takes part.
    fn regulate(&mut self, cast: &Cast) {
        let Some(percent) = self.load.percent(LOAD_EVERY) else {
            return;
        };
        self.pause_us = match percent {
            CPU_PERCENT_HIGH.. => (self.pause_us * 5 / 4 + 5).min(PAUSE_US_MAX),
            ..CPU_PERCENT_LOW => self.pause_us * 9 / 10,
            _ => self.pause_us,
        };
        cast.pause_us.store(self.pause_us, Relaxed); // Relaxed: advice.
    }

    fn judge_rest(&mut self, runtime: &Runtime, cast: &Cast, watch: &mut Watch) {
        cast.hush.store(true, SeqCst);
        let board = &mut self.board;
        let rest = watch.judge_rest(runtime, cast, |why| {
            board.write(&format!("waits for the promise: {why}"));
        });
        match rest {
            Rest::Kept { runnable } => {
                self.sums.rests += 1;
                self.sums.contended += u64::from(runnable > runtime.cpus());
            }
            Rest::Unjudged => self.sums.unjudged += 1,
            Rest::Broken(why) => {
                let (words, snapshot) = (watch.last_words(), runtime.snapshot());
                self.object(&format!("at rest: {why}\n{snapshot:?}\n{words}"));
            }
        }
        cast.hush.store(false, SeqCst);
    }

    /// Writes the board, and a line now and then.
    fn tell(&mut self, runtime: &Runtime, watch: &Watch, doing: &str) {
        let tally = watch.stream.tally();
        let (runtimes, words) = (self.sums.runtimes, watch.last_words());
        let (stats, snapshot) = (runtime.stats(), runtime.snapshot());
        self.board.write(&format!(
            "runtime {runtimes}, {doing}: {tally:?}\n{stats:?}\n{snapshot:?}\nlast events:\n{words}"
        ));
        if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let percent = self.line_load.percent(Duration::ZERO).unwrap_or(0);
            println!("{}", self.sums.line(self.start.elapsed(), percent));
        }
    }

    /// Lets every task end by itself; parked ones get their permits.
    fn end_tasks(&mut self, runtime: &Runtime, cast: &Arc<Cast>, watch: &mut Watch) {
        cast.over.store(true, SeqCst);
        let mut told = Instant::now();
        loop {
            let mut has_woken = false;
            for index in 0..cast.entries.len() {
                has_woken |= cast.wake(index);
            }
            watch.look(runtime, cast);
            let spawned = get(&cast.counts.spawned);
            if !has_woken && runtime.stats().finished == spawned {
                break;
            }
            // A board that no longer changes is a hang: that nothing ends is told once only.
            if told.elapsed() < Duration::from_secs(2) {
                self.tell(runtime, watch, "ending");
            }
            if has_woken {
                told = Instant::now();
            }
            sleep(Duration::from_micros(500));
        }
    }

    fn end_runtime(
        &mut self,
        runtime: Runtime,
        cast: &Arc<Cast>,
        crowd: Crowd,
        mut watch: Watch,
        is_orderly: bool,
    ) {
        let spawned = get(&cast.counts.spawned);
        let all_ended = is_orderly && runtime.stats().finished == spawned;
        watch.look(&runtime, cast);
        watch.look(&runtime, cast);
        let dropped = runtime.stats().events_dropped;
        // A straggler of the crowd may have spawned one more meanwhile.
        let all_ended = all_ended && get(&cast.counts.spawned) == spawned;
        if all_ended && watch.stream.is_complete() && watch.stream.live() > 0 {
            let live = watch.stream.live();
            self.object(&format!("{live} tasks have ended, but not in the record"));
        }
        cast.closing.store(true, SeqCst);
        let report = runtime.shutdown(SHUTDOWN_MAX);
        cast.over.store(true, SeqCst);
        crowd.disperse(cast);
        if !report.abandoned.is_empty() {
            self.object(&format!("tasks were abandoned: {:?}", report.abandoned));
        }
        cast.counts.settle(report.finished);
        for wrong in cast.counts.take_wrong() {
            self.object(&wrong);
        }
        for objection in watch.stream.objections() {
            self.show(objection);
        }
        self.sums.dropped += dropped;
        self.sums.add_stream(watch.stream.tally());
        self.sums.add_counts(&cast.counts, report.finished);
        self.board.write("between two runtimes");
    }

    /// What is left behind counts when it is still there after the next runtime: the C library has been seen
    /// to hold back the stack of a joined thread until another thread ends.
    fn compare_footprint(&mut self) {
        if self.sums.runtimes < WARM_UP {
            return;
        }
        let before = *self.before.get_or_insert_with(Footprint::now);
        let grown = Footprint::grown_since(before);
        if let (Some(_), Some(grown)) = (&self.left_behind, &grown) {
            self.object(&format!("left behind: {grown}"));
            self.before = Some(Footprint::now());
        }
        self.left_behind = grown;
    }
}

fn background_task(runtime: &Runtime, cast: &Arc<Cast>) -> JoinHandle<u64> {
    let token = Token::new(&cast.counts);
    add(&cast.counts.spawned);
    runtime.spawn_background(move || {
        let _token = token;
        task::sleep(Duration::from_micros(100));
        let _guard = corelane::migrate_disable();
        task::yield_now();
        7
    })
}
