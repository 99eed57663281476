//! No thread can be made any more: a typed error at build or at join, no hang, and recovery afterwards.

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::{End, LIMIT, Running, command, is_root, skipped, victim};

/// A user of whom no other process is.
const STRANGER: &str = "64321";

/// Where root would not be limited: the words that make it somebody else.
fn as_stranger() -> Vec<String> {
    let words = [
        "setpriv",
        "--reuid",
        STRANGER,
        "--regid",
        STRANGER,
        "--clear-groups",
    ];
    words
        .iter()
        .filter(|_| is_root())
        .map(|word| (*word).to_owned())
        .collect()
}

/// The victim under a soft limit of `threads` more threads than its user has.
fn limited(folder: &common::Folder, threads: u64, arguments: &[&str]) -> Command {
    let mut words = as_stranger();
    let others = if is_root() { 0 } else { threads_of_this_user() };
    words.push("prlimit".into());
    words.push(format!("--nproc={}:", others + threads));
    words.push(folder.0.join("limited").display().to_string());
    let mut command = command(&words[0], &[]);
    command.args(&words[1..]).args(arguments);
    command
}

/// A folder with a copy of the victim that a stranger may execute; removed at the end.
fn folder(test: &str) -> common::Folder {
    let folder = common::Folder::new(test);
    std::fs::copy(victim("limited"), folder.0.join("limited")).expect("a copy");
    folder
}

fn threads_of_this_user() -> u64 {
    // SAFETY: takes nothing.
    let own = unsafe { libc::getuid() }.to_string();
    let processes = std::fs::read_dir("/proc")
        .expect("procfs is mounted")
        .flatten();
    let threads = |process: std::fs::DirEntry| {
        let status = std::fs::read_to_string(process.path().join("status")).ok()?;
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next().map(str::to_owned)
        };
        (value("Uid:")? == own).then(|| value("Threads:")?.parse::<u64>().ok())?
    };
    processes.filter_map(threads).sum()
}

fn is_typed(end: &End) -> bool {
    let built = end.out.contains("limited: ran") && end.out.contains("ended");
    let refused = end.out.contains("not built: a ") && end.out.contains("could not be created");
    built || refused
}

#[test]
fn whatever_the_limit_of_threads_the_build_or_the_join_says_so() {
    let folder = folder("limits");
    let (mut built, mut not_built) = (0, 0);
    for threads in (1..24).chain([40, 70]) {
        let end = common::finish(&mut limited(&folder, threads, &["crowd=60"])).succeeded();
        assert!(is_typed(&end), "{threads} threads: {end:#?}");
        built += u32::from(end.out.contains("limited: ran"));
        not_built += u32::from(end.out.contains("not built"));
    }
    assert!(
        built > 0 && not_built > 0,
        "the limits are on both sides: {built}, {not_built}"
    );
}

#[test]
fn tasks_that_the_pool_cannot_grow_for_are_refused_and_run_once_the_limit_is_lifted() {
    let folder = folder("lifted");
    for fallback in [
        &["crowd=60", "recovers"][..],
        &["crowd=60", "recovers", "native"],
    ] {
        let mut victim = Running::start(&mut limited(&folder, 30, fallback));
        victim.wait_for("lift the limit");
        lift(victim.id());
        victim.write("lifted\n");
        let end = victim.finish().succeeded();
        assert!(
            !end.out.contains("refused 0"),
            "the limit was felt: {end:#?}"
        );
        end.says(&[
            "no fiber could be created",
            "check RLIMIT_NPROC",
            "lifted: (60, 0)",
        ]);
    }
}

/// Raises the soft limit of a running process to its hard one, as its own user may.
fn lift(process: i32) {
    let mut words = as_stranger();
    let own = std::fs::read_to_string(format!("/proc/{process}/limits")).expect("it runs");
    let line = own
        .lines()
        .find(|line| line.starts_with("Max processes"))
        .expect("a line");
    let hard = line
        .split_whitespace()
        .nth(3)
        .expect("soft, then hard")
        .to_owned();
    words.extend([
        "prlimit".into(),
        format!("--pid={process}"),
        format!("--nproc={hard}:"),
    ]);
    let mut lift = command(&words[0], &[]);
    common::finish(lift.args(&words[1..])).succeeded();
}

/// A cgroup that limits threads; removed at the end.
struct PidsGroup(PathBuf);

impl PidsGroup {
    /// One for this process, below the hierarchy's root; or the reason why not.
    fn new() -> Result<PidsGroup, String> {
        let name = format!("corelane-attacks-{}", std::process::id());
        let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        for folder in roots.map(|root| PathBuf::from(root).join(&name)) {
            if std::fs::create_dir(&folder).is_ok() {
                let group = PidsGroup(folder);
                if group.0.join("pids.max").exists() {
                    return Ok(group);
                }
            }
        }
        Err("no cgroup with pids.max can be made here".into())
    }

    fn set(&self, max: &str) {
        std::fs::write(self.0.join("pids.max"), max).expect("the limit is ours");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"",
            self.0.display()
        );
        let mut command = command("sh", &["-c", &enter]);
        command.arg(victim("limited")).args(arguments);
        command
    }
}

impl Drop for PidsGroup {
    fn drop(&mut self) {
        let began = std::time::Instant::now();
        while std::fs::remove_dir(&self.0).is_err() && began.elapsed() < LIMIT / 10 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn a_pids_limit_of_the_cgroup_is_a_typed_error_too_and_lifting_it_helps() {
    let group = match PidsGroup::new() {
        Ok(group) => group,
        Err(why) => return skipped(&why),
    };
    for max in ["2", "5", "9"] {
        group.set(max);
        let end = common::finish(&mut group.command(&["crowd=60"])).succeeded();
        assert!(is_typed(&end), "pids.max {max}: {end:#?}");
    }
    group.set("30");
    let mut victim = Running::start(&mut group.command(&["crowd=60", "recovers"]));
    victim.wait_for("lift the limit");
    group.set("max");
    victim.write("lifted\n");
    victim
        .finish()
        .succeeded()
        .says(&["the pids limit of the cgroup", "lifted: (60, 0)"]);
}
