//! What is going on, on standard error while it goes on.

use std::io::{self, IsTerminal, Write};

use super::scenario::Scenario;

/// A line that changes in a terminal; one line per scenario elsewhere.
pub(super) struct Progress {
    changes_in_place: bool,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            changes_in_place: io::stderr().is_terminal(),
        }
    }

    /// A round begins; `round` counts from 0.
    pub(super) fn round(&self, scenario: Scenario, round: u32, rounds: u32) {
        let name = scenario.name();
        if self.changes_in_place {
            say(&format!("\r\x1b[K{name}: round {} of {rounds}", round + 1));
        } else if round == 0 {
            say(&format!("measuring {name}\n"));
        }
    }

    /// All is measured.
    pub(super) fn done(&self) {
        if self.changes_in_place {
            say("\r\x1b[K");
        }
    }
}

/// Says something to whoever watches; without a standard error nobody does.
pub(super) fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}
