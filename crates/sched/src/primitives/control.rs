//! Running a model, and running it so that it must fail.
//!
//! [`check`] runs a model in every interleaving with at most [`PREEMPTIONS_MAX`] preemptions; the
//! environment variable `LOOM_MAX_PREEMPTIONS` overrides that, and a number that no run reaches makes the
//! search exhaustive. [`every_ordering_matters`] then takes from the sites that the models of a protocol
//! reach one property at a time (`weakening.rs`) and demands that one of the models fails.
//! [`must_fail`] is for the controls that no ordering expresses: two steps in the wrong order.
//!
//! A failed model may abort the process, because destructors run in an execution that is over. So
//! whatever must fail runs in a process of its own: this test executable again, with one test selected.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::{env, fs, println, thread};

use super::weakening;

/// The bound on preemptions unless the environment sets another.
///
/// A preemption is a switch away from a thread that could go on. Threads that wait do not count, and
/// neither does the choice of the store that a load returns. Two reach every losing race that the pages
/// describe, as the controls show, and let all models and controls end within minutes.
pub const PREEMPTIONS_MAX: usize = 2;

/// Set in a process that prints the weakenings of the sites it reached.
const LIST: &str = "CORELANE_LOOM_LIST";
/// Set in a process in which [`must_fail`] runs its model.
const FAIL: &str = "CORELANE_LOOM_FAIL";
const LISTED: &str = "reached ";

/// A weakening that no model of the protocol notices, and why that is right.
pub struct Unnoticed {
    /// `file function access loses property`, as the control prints it.
    pub weakening: &'static str,
    /// Why nothing can break, or why loom cannot show it.
    pub why: &'static str,
}

/// A protocol: its models, and the files whose orderings they answer for.
pub struct Protocol<'a> {
    /// `module_path!()` of the models.
    pub module: &'a str,
    /// The names of the tests that call [`check`].
    pub models: &'a [&'a str],
    /// Files of the product, and the functions there, or none for all of the file.
    pub sites: &'a [(&'a str, &'a [&'a str])],
    /// What the models do not notice.
    pub unnoticed: &'a [Unnoticed],
}

/// Runs `model` in every interleaving.
///
/// # Panics
/// If the model does, in any of them.
pub fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS_MAX));
    builder.max_branches = 10_000;
    builder.check(model);
    if env::var_os(LIST).is_some() {
        for weakening in weakening::reached() {
            println!("\n{LISTED}{weakening}");
        }
    }
}

/// Takes each ordering of the protocol away, and demands that a model notices.
///
/// # Panics
/// If none does and the weakening is not listed as unnoticed, or if a listed one is noticed after all.
pub fn every_ordering_matters(protocol: &Protocol<'_>) {
    let weakenings = weakenings(protocol);
    let queue = Mutex::new(weakenings.iter());
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((name, weakening)) = take(&queue) {
            let reason = notices(protocol, weakening);
            let mut outcomes = outcomes.lock().expect("no panic inside");
            outcomes.insert(name.as_str(), reason);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
    judge(protocol, &outcomes.into_inner().expect("no panic inside"));
}

fn take<I: Iterator>(queue: &Mutex<I>) -> Option<I::Item> {
    queue.lock().expect("no panic inside").next()
}

/// What a failing model says under `weakening`; `None` if all models pass.
fn notices(protocol: &Protocol<'_>, weakening: &str) -> Option<String> {
    protocol.models.iter().find_map(|model| {
        let output = run(protocol.module, model, &[(weakening::VARIABLE, weakening)]);
        (!output.status.success()).then(|| format!("{model}: {}", reason(&said(&output))))
    })
}

fn judge(protocol: &Protocol<'_>, outcomes: &BTreeMap<&str, Option<String>>) {
    let mut complaints = vec![];
    for (name, reason) in outcomes {
        let listed = protocol
            .unnoticed
            .iter()
            .find(|entry| entry.weakening == *name);
        match (reason, listed) {
            (Some(reason), None) => println!("{name}\n    {reason}"),
            (None, Some(entry)) => println!("{name}\n    unnoticed: {}", entry.why),
            (Some(reason), Some(_)) => {
                complaints.push(format!("{name}: listed as unnoticed, but {reason}"));
            }
            (None, None) => complaints.push(format!("{name}: no model notices")),
        }
    }
    let stale = |entry: &&Unnoticed| !outcomes.contains_key(entry.weakening);
    for entry in protocol.unnoticed.iter().filter(stale) {
        complaints.push(format!("{}: listed, but not reached", entry.weakening));
    }
    assert!(!outcomes.is_empty(), "the models reach the protocol");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Runs a model that has two steps in the wrong order, and demands that it fails and says `reason`.
///
/// # Panics
/// If it passes, or fails for another reason.
pub fn must_fail(module: &str, test: &str, reason: &str, model: impl Fn() + Sync + Send + 'static) {
    if env::var_os(FAIL).is_some() {
        return check(model);
    }
    let output = run(module, test, &[(FAIL, "1")]);
    assert!(
        !output.status.success(),
        "the model passes, so it does not see that the order is wrong"
    );
    let said = said(&output);
    assert!(
        said.contains(reason),
        "the model fails, but does not say {reason:?}:\n{said}"
    );
}

/// Every weakening of the protocol that its models reach, by the name that lists use.
fn weakenings(protocol: &Protocol<'_>) -> BTreeMap<String, String> {
    let mut reached = BTreeSet::new();
    for model in protocol.models {
        let output = run(protocol.module, model, &[(LIST, "1")]);
        assert!(output.status.success(), "{model}: {}", said(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter_map(|line| line.strip_prefix(LISTED));
        reached.extend(lines.map(|line| Reached::parse(line)));
    }
    let mut named = BTreeMap::new();
    for site in reached.iter().filter(|site| site.belongs_to(protocol)) {
        let mut name = site.name();
        while named.contains_key(&name) {
            name.push_str(", the next");
        }
        named.insert(name, site.weakening.clone());
    }
    named
}

/// A weakening with the place of its site in the source.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Reached {
    file: String,
    line: usize,
    function: String,
    /// What it does, and what it loses.
    what: String,
    weakening: String,
}

impl Reached {
    /// `path:line:column:access:loss`
    fn parse(weakening: &str) -> Reached {
        let mut parts = weakening.split(':');
        let mut part = || parts.next().expect("a weakening has five parts");
        let (path, line) = (part(), part().parse().expect("a line number"));
        let (_column, access, loss) = (part(), part(), part());
        let source = fs::read_to_string(format!("{ROOT}/{path}")).expect("the source is there");
        let file = path.rsplit('/').next().unwrap_or(path).to_string();
        Reached {
            function: function_at(&source, line),
            what: format!("{access} loses {loss}"),
            weakening: weakening.to_string(),
            file,
            line,
        }
    }

    fn name(&self) -> String {
        format!("{} {} {}", self.file, self.function, self.what)
    }

    fn belongs_to(&self, protocol: &Protocol<'_>) -> bool {
        protocol.sites.iter().any(|(file, functions)| {
            *file == self.file
                && (functions.is_empty() || functions.contains(&self.function.as_str()))
        })
    }
}

/// The root of the workspace, to which the compiler's paths are relative.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The name of the function around a line.
fn function_at(source: &str, line: usize) -> String {
    let lines: Vec<&str> = source.lines().take(line).collect();
    let name = |line: &&str| {
        let (_, name) = line.split_once("fn ")?;
        let end = name.find(['(', '<'])?;
        Some(name[..end].to_string())
    };
    lines.iter().rev().find_map(name).unwrap_or_default()
}

/// Runs one test of this executable in a process of its own.
fn run(module: &str, test: &str, environment: &[(&str, &str)]) -> Output {
    let (_crate, path) = module.split_once("::").expect("a module below the root");
    let this = env::current_exe().expect("a test has an executable");
    Command::new(this)
        .args(["--exact", &format!("{path}::{test}"), "--nocapture"])
        .envs(environment.iter().copied())
        .output()
        .expect("a test executable can be started again")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The first message of a panic.
fn reason(said: &str) -> String {
    let mut lines = said
        .lines()
        .skip_while(|line| !line.contains("panicked at"));
    lines.next();
    lines
        .next()
        .unwrap_or("it ended without a panic")
        .to_string()
}
