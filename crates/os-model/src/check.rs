//! Running a model: how many schedules, of which kind, on what host.
//!
//! Two schedulers look for different bugs. The random one switches everywhere and finds what needs many
//! switches; PCT lets threads run on and switches at a few places, and finds what needs a thread to be
//! stopped for long at just the wrong place. Seeds are fixed: a model that passed passes again.

use std::path::{Path, PathBuf};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use corelane_os::fiber::{Backend, FsBase, NativeReason};

use crate::machine::Settings;
use crate::sabotage::Sabotage;
use crate::scheduler::{Rarely, Replayed, Timed};

/// A model: its host, and how long it is searched.
#[derive(Clone, Debug)]
#[must_use]
pub struct Model {
    settings: Settings,
    schedules: usize,
    jumps: Option<Rarely>,
}

const SEED: u64 = 0xC04E_1A4E;
/// Places at which PCT stops the running thread.
const PCT_DEPTH: usize = 4;
/// More steps than any execution takes that gets anywhere.
const STEPS_MAX: usize = 400_000;
/// Room for a task of a model and for the formatting of a panic.
const STACK_BYTES: usize = 256 * 1024;

impl Model {
    /// A model of a host with two CPUs, on which time jumps only when nobody can run.
    pub fn new() -> Model {
        Model {
            settings: Settings {
                cpus: 2,
                fibers_max: usize::MAX,
                backend: Backend::Carried(FsBase::Instruction),
                sabotage: None,
            },
            schedules: 100,
            jumps: None,
        }
    }

    /// How many CPUs the host has.
    pub fn cpus(mut self, cpus: u32) -> Model {
        self.settings.cpus = cpus;
        self
    }

    /// How many fibers the host grants at one time.
    pub fn fibers_max(mut self, fibers_max: usize) -> Model {
        self.settings.fibers_max = fibers_max;
        self
    }

    /// Runs every body on its own thread, as on a host that cannot carry thread pointers.
    pub fn native(mut self) -> Model {
        self.settings.backend = Backend::Native(NativeReason::Asked);
        self
    }

    /// Lets deadlines pass while others could still run.
    pub fn hasty(mut self) -> Model {
        self.jumps = Some(Rarely(100));
        self
    }

    /// How many schedules of each kind are drawn.
    pub fn schedules(mut self, schedules: usize) -> Model {
        self.schedules = schedules;
        self
    }

    /// Runs `f` under all schedules, or under the one that `CORELANE_MODEL_REPLAY` names.
    ///
    /// # Panics
    /// If an execution panics, deadlocks, or takes more steps than any that gets anywhere; the schedule is
    /// printed.
    pub fn check(&self, f: fn()) {
        match std::env::var("CORELANE_MODEL_REPLAY") {
            Ok(path) => self.replay(Path::new(&path), f),
            Err(_) => self.search(FailurePersistence::Print, f),
        }
    }

    /// Runs `f` under the one schedule that the file holds.
    fn replay(&self, file: &Path, f: fn()) {
        let mut replay = ReplayScheduler::new_from_file(file).expect("a schedule to replay");
        replay.set_allow_incomplete(); // what follows the failure is not in the schedule
        run(
            Replayed::new(replay, self.settings.clone()),
            FailurePersistence::None,
            f,
        );
    }

    /// Breaks the runtime or its host, and shows that `f` notices under some schedule.
    ///
    /// # Panics
    /// If it does not.
    pub fn catches(&self, how: Sabotage, f: fn()) {
        let mut broken = self.clone();
        broken.settings.sabotage = Some(how);
        assert!(broken.finds_fault(f), "the model does not notice {how:?}");
    }

    /// Whether `f` fails under some schedule, as a control of a model expects.
    #[must_use]
    pub fn finds_fault(&self, f: fn()) -> bool {
        self.fails(move |model| model.search(FailurePersistence::None, f))
    }

    /// Whether `f` fails, and fails again under the schedules that were then written to `directory`.
    #[must_use]
    pub fn finds_and_repeats_fault(&self, directory: &Path, f: fn()) -> bool {
        let written = FailurePersistence::File(Some(directory.to_owned()));
        let is_found = self.fails(move |model| model.search(written, f));
        let schedules = std::fs::read_dir(directory).expect("a directory for schedules");
        let repeats = |file: PathBuf| self.fails(move |model| model.replay(&file, f));
        let mut files = schedules.map(|entry| entry.expect("a directory for schedules").path());
        is_found && files.any(repeats)
    }

    /// On a thread of its own, which an abandoned execution may leave in any state.
    fn fails(&self, run: impl FnOnce(&Model) + Send + 'static) -> bool {
        let model = self.clone();
        std::thread::spawn(move || run(&model)).join().is_err()
    }

    fn search(&self, persistence: FailurePersistence, f: fn()) {
        let schedules = self.schedules * times();
        let random = RandomScheduler::new_from_seed(SEED, schedules);
        let pct = PctScheduler::new_from_seed(SEED, PCT_DEPTH, schedules);
        run(self.timed(random), persistence.clone(), f);
        run(self.timed(pct), persistence, f);
    }

    fn timed<S>(&self, inner: S) -> Timed<S> {
        Timed::new(inner, self.settings.clone(), self.jumps)
    }
}

impl Default for Model {
    fn default() -> Model {
        Model::new()
    }
}

/// How many times as many schedules as usual.
fn times() -> usize {
    let times = std::env::var("CORELANE_MODEL_TIMES");
    times.map_or(1, |times| {
        times.parse().expect("CORELANE_MODEL_TIMES is a number")
    })
}

fn run(scheduler: impl Scheduler + 'static, persistence: FailurePersistence, f: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.failure_persistence = persistence;
    config.silence_warnings = true; // weak memory is the other checker's part
    Runner::new(scheduler, config).run(f);
}
