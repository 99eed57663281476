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
    /// Counts instructions, where the host has valgrind.
    Callgrind,
    /// Builds test executables and keeps those of the named packages (folders below the root) for
    /// [`Action::RunTests`].
    BuildTests {
        arguments: &'static [&'static str],
        packages: &'static [&'static str],
    },
    /// Builds programs that tests run, and places each under its name and this suffix, where
    /// [`Action::RunTests`] lets the tests find them.
    BuildVictims {
        arguments: &'static [&'static str],
        suffix: &'static str,
    },
    /// Runs the kept test executables.
    RunTests(Mode),
    /// Builds a program and keeps it for [`Action::RunProgram`], in place of the one before.
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

const fn victims(
    name: &'static str,
    arguments: &'static [&'static str],
    suffix: &'static str,
) -> Step {
    Step {
        name,
        limit: Duration::from_secs(400),
        action: Action::BuildVictims { arguments, suffix },
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
const SOAK: &[&str] = &["--minutes", "0.2"];
const SIM: &[&str] = &[
    "sim", "--cpus", "16", "--seed", "1", "--events", "20000", "--json", "-",
];
const SIM_OTHER_SEED: &[&str] = &[
    "sim", "--cpus", "16", "--seed", "2", "--events", "20000", "--json", "-",
];
/// Whether they run at all; a machine that runs checks is no machine to judge a ratio on.
const BENCH: &[&str] = &[
    "yield_now",
    "wake_spinning",
    "fiber_cost",
    "--quick",
    "--json",
    "-",
];

/// Another compilation of everything, optimised a little, because it runs millions of steps.
const MODEL_CHECKED: &[(&str, &str)] = &[
    ("RUSTFLAGS", "--cfg shuttle -D warnings"),
    ("CARGO_TARGET_DIR", "target/shuttle"),
    ("CARGO_PROFILE_DEV_OPT_LEVEL", "1"),
    ("CORELANE_MODEL_TIMES", "3"),
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
            "--exclude",
            "corelane-attacks",
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
        limit: Duration::from_secs(600),
        action: Action::BuildTests {
            arguments: &["test", "--workspace", "--no-run"],
            packages: &["crates/os", "crates/corelane", "attacks"],
        },
    },
    victims(
        "build the victims of attacks",
        &["build", "--package", "corelane-attacks"],
        "",
    ),
    victims(
        "build a victim that cannot unwind",
        &[
            "build",
            "--package",
            "corelane-attacks",
            "--no-default-features",
            "--profile",
            "abort",
            "--bin",
            "last_words",
        ],
        "-abort",
    ),
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
    cargo("machine code of the hot paths", 300, &["xtask", "hotpath"]),
    Step {
        name: "instructions of the hot paths",
        limit: Duration::from_secs(120),
        action: Action::Callgrind,
    },
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
    Step {
        name: "the runtime under a model checker",
        limit: Duration::from_secs(600),
        action: Action::Cargo {
            arguments: &["test", "--package", "corelane", "--test", "shuttle"],
            environment: MODEL_CHECKED,
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
    Step {
        name: "build the benches",
        limit: Duration::from_secs(400),
        action: Action::BuildProgram {
            arguments: &["build", "--release", "--package", "corelane-benches"],
            name: "corelane-bench",
        },
    },
    program("benches", Mode::AsWeAre, BENCH, Expect::Filled("lines")),
    program(
        "benches, unprivileged",
        Mode::Unprivileged,
        BENCH,
        Expect::Filled("lines"),
    ),
    program(
        "benches, on one CPU",
        Mode::OneCpu,
        BENCH,
        Expect::Filled("lines"),
    ),
    program(
        "benches, unknown row",
        Mode::AsWeAre,
        &["no-such-row"],
        Expect::UsageError,
    ),
    Step {
        name: "build the soak",
        limit: Duration::from_secs(400),
        action: Action::BuildProgram {
            arguments: &["build", "--release", "--package", "corelane-soak"],
            name: "corelane-soak",
        },
    },
    program("soak", Mode::AsWeAre, SOAK, Expect::Success),
    program(
        "soak, unprivileged",
        Mode::Unprivileged,
        SOAK,
        Expect::Success,
    ),
    program(
        "soak, bad minutes",
        Mode::AsWeAre,
        &["--minutes", "none"],
        Expect::UsageError,
    ),
];
