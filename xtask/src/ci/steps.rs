//! The list of steps.

use std::time::Duration;

use super::modes::Mode;
use super::smoke::Expect;

/// One line of the list.
pub(super) struct Step {
    pub(super) name: &'static str,
    /// Wall-clock limit for everything the step runs.
    pub(super) limit: Duration,
    pub(super) action: Action,
}

pub(super) enum Action {
    /// One cargo command.
    Cargo {
        arguments: &'static [&'static str],
        environment: &'static [(&'static str, &'static str)],
    },
    /// The rules of `cargo xtask tidy`, in this process.
    Tidy,
    /// Builds test executables and keeps those of the named packages (folders below the root) for
    /// [`Action::RunTests`].
    BuildTests {
        arguments: &'static [&'static str],
        packages: &'static [&'static str],
    },
    /// Runs the kept test executables.
    RunTests(Mode),
    /// Builds a program and keeps it for [`Action::RunProgram`].
    BuildProgram {
        arguments: &'static [&'static str],
        name: &'static str,
    },
    /// Runs the kept program and looks at what it prints.
    RunProgram {
        mode: Mode,
        arguments: &'static [&'static str],
        expect: Expect,
    },
}

const fn cargo(name: &'static str, limit_s: u64, arguments: &'static [&'static str]) -> Step {
    let action = Action::Cargo {
        arguments,
        environment: &[],
    };
    Step {
        name,
        limit: Duration::from_secs(limit_s),
        action,
    }
}

const fn tests(name: &'static str, mode: Mode) -> Step {
    Step {
        name,
        limit: Duration::from_secs(300),
        action: Action::RunTests(mode),
    }
}

const fn program(
    name: &'static str,
    mode: Mode,
    arguments: &'static [&'static str],
    expect: Expect,
) -> Step {
    let action = Action::RunProgram {
        mode,
        arguments,
        expect,
    };
    Step {
        name,
        limit: Duration::from_secs(60),
        action,
    }
}

const LATENCY: &[&str] = &["latency", "--duration", "2s", "--json", "-"];
const SIM: &[&str] = &[
    "sim", "--cpus", "16", "--seed", "1", "--events", "20000", "--json", "-",
];
const SIM_OTHER_SEED: &[&str] = &[
    "sim", "--cpus", "16", "--seed", "2", "--events", "20000", "--json", "-",
];

/// The models, built apart: the flag changes every crate. Bounded in `primitives/control.rs`.
const LOOM: &[&str] = &[
    "test",
    "--release",
    "--lib",
    "--package",
    "corelane-sched",
    "--package",
    "corelane",
    "--target-dir",
    "target/loom",
    "models::",
];

/// Every check, in order.
pub(super) const STEPS: &[Step] = &[
    cargo("format", 60, &["fmt", "--all", "--check"]),
    Step {
        name: "tidy",
        limit: Duration::from_secs(60),
        action: Action::Tidy,
    },
    cargo(
        "clippy",
        400,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    cargo(
        "tests that need no real-time scheduling",
        500,
        &[
            "test",
            "--workspace",
            "--exclude",
            "corelane",
            "--exclude",
            "corelane-os",
        ],
    ),
    Step {
        name: "lock-free protocols under loom",
        limit: Duration::from_secs(500),
        action: Action::Cargo {
            arguments: LOOM,
            environment: &[("RUSTFLAGS", "--cfg loom")],
        },
    },
    Step {
        name: "build the real-time tests",
        limit: Duration::from_secs(400),
        action: Action::BuildTests {
            arguments: &["test", "--workspace", "--no-run"],
            packages: &["crates/os", "crates/corelane"],
        },
    },
    tests("real-time tests, as we are", Mode::AsWeAre),
    cargo(
        "real-time doc tests",
        300,
        &[
            "test",
            "--doc",
            "--package",
            "corelane",
            "--package",
            "corelane-os",
            "--",
            "--test-threads=1",
        ],
    ),
    tests("real-time tests, unprivileged", Mode::Unprivileged),
    tests("real-time tests, on one CPU", Mode::OneCpu),
    tests(
        "real-time tests, unprivileged and with 64 KiB of lockable memory",
        Mode::SmallMemlock,
    ),
    Step {
        name: "documentation",
        limit: Duration::from_secs(300),
        action: Action::Cargo {
            arguments: &["doc", "--workspace", "--no-deps"],
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
        },
    },
    Step {
        name: "build the program",
        limit: Duration::from_secs(400),
        action: Action::BuildProgram {
            arguments: &["build", "--release", "--package", "corelane-cli"],
            name: "corelane",
        },
    },
    program(
        "corelane replay",
        Mode::AsWeAre,
        &["replay", "journal", "--json", "-"],
        Expect::Json,
    ),
    program(
        "corelane sim",
        Mode::AsWeAre,
        SIM,
        Expect::Repeats {
            key: "trace_hash",
            unlike: SIM_OTHER_SEED,
        },
    ),
    program(
        "corelane doctor",
        Mode::AsWeAre,
        &["doctor", "--json", "-"],
        Expect::Json,
    ),
    program(
        "corelane latency",
        Mode::AsWeAre,
        LATENCY,
        Expect::Filled("scenarios"),
    ),
    program(
        "corelane latency, unprivileged",
        Mode::Unprivileged,
        LATENCY,
        Expect::Filled("scenarios"),
    ),
    program(
        "corelane latency, on one CPU",
        Mode::OneCpu,
        LATENCY,
        Expect::Filled("scenarios"),
    ),
    program(
        "corelane, unknown command",
        Mode::AsWeAre,
        &["no-such-command"],
        Expect::UsageError,
    ),
    program(
        "corelane, bad number",
        Mode::AsWeAre,
        &["sim", "--cpus", "many"],
        Expect::UsageError,
    ),
    program(
        "corelane, bad duration",
        Mode::AsWeAre,
        &["latency", "--duration", "soon"],
        Expect::UsageError,
    ),
];
