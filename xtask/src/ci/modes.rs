//! The conditions under which tests run again.
//!
//! A developer is often root, on a large machine, with unlimited locked memory; a user in a
//! container is none of that. Each mode takes one thing away with an ordinary tool of util-linux,
//! put in front of the executable. Whether the host can do that is tried out first with `true`; if
//! it cannot, the mode is skipped with the reason.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, geteuid};

use super::watched::{self, Deadline};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// With whatever the caller has.
    AsWeAre,
    /// As a user and group without any privilege.
    Unprivileged,
    /// On the first CPU of the affinity mask.
    OneCpu,
    /// Unprivileged, and `mlock` fails beyond 64 KiB.
    SmallMemlock,
}

const NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];
const MEMLOCK_64_KIB: [&str; 2] = ["prlimit", "--memlock=65536:65536"];

/// What the modes depend on.
pub(super) struct Host {
    is_root: bool,
    first_cpu: usize,
}

impl Host {
    pub(super) fn look() -> Result<Self, String> {
        let mask = sched_getaffinity(Pid::from_raw(0))
            .map_err(|error| format!("ci: cannot read the affinity mask: {error}"))?;
        let allowed = |cpu: &usize| mask.is_set(*cpu).unwrap_or(false);
        let first_cpu = (0..CpuSet::count())
            .find(allowed)
            .ok_or("ci: the affinity mask is empty")?;
        Ok(Self {
            is_root: geteuid().is_root(),
            first_cpu,
        })
    }

    /// `program` in the given mode.
    pub(super) fn command(&self, mode: Mode, program: &Path) -> Command {
        let mut words = self.wrapper(mode).into_iter();
        match words.next() {
            None => Command::new(program),
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
        }
    }

    /// Whether this host can run something in the given mode; otherwise the reason, with what to
    /// do.
    pub(super) fn offers(&self, mode: Mode, deadline: Deadline) -> Result<(), String> {
        if mode == Mode::Unprivileged && !self.is_root {
            return Err("not root, so the run as we are was unprivileged already".into());
        }
        let mut probe = self.command(mode, Path::new("true"));
        watched::shown(probe.stdout(Stdio::null()), deadline).map_err(|failure| {
            let refusal = failure.in_short();
            format!("install util-linux or allow it on this host, {refusal}")
        })
    }

    fn wrapper(&self, mode: Mode) -> Vec<String> {
        let nobody: &[&str] = if self.is_root { &NOBODY } else { &[] };
        match mode {
            Mode::AsWeAre => Vec::new(),
            Mode::Unprivileged => owned(nobody),
            Mode::OneCpu => vec!["taskset".into(), "-c".into(), self.first_cpu.to_string()],
            Mode::SmallMemlock => owned(&[&MEMLOCK_64_KIB, nobody].concat()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_root {
            true => write!(
                f,
                "root, so privileged and unprivileged runs are both tested"
            ),
            false => write!(
                f,
                "NOT ROOT: only the unprivileged behaviour is tested here"
            ),
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use nix::sched::CpuSet;

    use super::{Host, Mode};
    use crate::ci::watched::Deadline;

    fn words(host: &Host, mode: Mode) -> String {
        let command = host.command(mode, Path::new("prog"));
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn root_gives_up_its_privilege() {
        let host = Host {
            is_root: true,
            first_cpu: 3,
        };
        assert_eq!(words(&host, Mode::AsWeAre), "prog");
        assert_eq!(
            words(&host, Mode::Unprivileged),
            "setpriv --reuid=65534 --regid=65534 --clear-groups prog"
        );
        assert_eq!(words(&host, Mode::OneCpu), "taskset -c 3 prog");
        assert_eq!(
            words(&host, Mode::SmallMemlock),
            "prlimit --memlock=65536:65536 setpriv --reuid=65534 --regid=65534 --clear-groups prog"
        );
    }

    #[test]
    fn others_have_no_privilege_to_give_up() {
        let host = Host {
            is_root: false,
            first_cpu: 0,
        };
        assert_eq!(
            words(&host, Mode::SmallMemlock),
            "prlimit --memlock=65536:65536 prog"
        );
    }

    #[test]
    fn a_mode_that_needs_no_tool_is_always_offered() {
        let soon = Deadline::after(Duration::from_secs(60), "the limit of the test");
        let host = Host {
            is_root: false,
            first_cpu: 0,
        };
        assert_eq!(host.offers(Mode::AsWeAre, soon), Ok(()));
        assert!(
            host.offers(Mode::Unprivileged, soon)
                .unwrap_err()
                .starts_with("not root")
        );
    }

    #[test]
    fn a_mode_that_the_host_refuses_is_not_offered_and_the_reason_is_one_line() {
        let soon = Deadline::after(Duration::from_secs(60), "the limit of the test");
        let host = Host {
            is_root: true,
            first_cpu: CpuSet::count() + 1,
        };
        let reason = host.offers(Mode::OneCpu, soon).unwrap_err();
        assert!(
            reason.contains("`taskset -c") && reason.lines().count() == 1,
            "{reason}"
        );
    }

    #[test]
    fn the_first_cpu_is_one_that_we_may_use() {
        let host = Host::look().unwrap();
        let mask = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
        assert!(mask.is_set(host.first_cpu).unwrap());
    }
}
