//! Ctrl-C ends a run cleanly.
//!
//! Every step runs in a process group of its own, so that it can be killed as a whole; for the same
//! reason the terminal's Ctrl-C does not reach it. If this process simply died, a real-time test
//! would go on in the background, without a watchdog. So the signal only sets a flag, the watchdog
//! sees it, kills the step and fails.
//!
//! Raw here: the registration of the handler. The handler does one atomic store.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::watched::Failure;

static ASKED_TO_STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: c_int) {
    // Relaxed: the flag publishes nothing but itself.
    ASKED_TO_STOP.store(true, Relaxed);
}

/// From now on SIGINT, SIGTERM and SIGHUP set the flag.
pub(super) fn install() -> Result<(), String> {
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler is async-signal-safe; it stores to a lock-free atomic and calls
        // nothing.
        unsafe { sigaction(signal, &action) }
            .map_err(|error| format!("ci: cannot handle {signal}: {error}"))?;
    }
    Ok(())
}

/// Whether one of the signals has arrived.
pub(super) fn is_asked() -> bool {
    // Relaxed: see `note`.
    ASKED_TO_STOP.load(Relaxed)
}

/// A failure if one of the signals has arrived.
pub(super) fn check() -> Result<(), Failure> {
    if is_asked() {
        Err(Failure::new("cargo xtask ci", "stopped by a signal"))
    } else {
        Ok(())
    }
}
