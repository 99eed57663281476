//! What the program asks of its host, in the two forms that it is shown in.

use corelane_os::host::{Asked, LockMemory, Property, Verdict};
use serde::Serialize;

/// The highest level that a runtime of the default configuration uses: the worker's, and two above
/// it for native parts and fiber growth.
pub(crate) const FIFO_LEVEL_MAX: u8 = 22;

const STACK_BYTES: usize = 256 * 1024;

/// Everything that a real-time program wants.
pub(crate) fn asked() -> Asked {
    Asked {
        fifo_level: FIFO_LEVEL_MAX,
        lock_memory: LockMemory::OnFault,
        prefault_stack_bytes: STACK_BYTES,
    }
}

/// A property as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct PropertyJson {
    name: &'static str,
    asked: String,
    verdict: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl From<&Property> for PropertyJson {
    fn from(property: &Property) -> PropertyJson {
        let (detail, remedy) = match &property.verdict {
            Verdict::Granted { detail } | Verdict::NotAsked { detail } => (detail, None),
            Verdict::Refused { reason, remedy } => (reason, Some(remedy.clone())),
            Verdict::Unknown { reason } => (reason, None),
        };
        PropertyJson {
            name: property.name,
            asked: property.asked.clone(),
            verdict: word(&property.verdict),
            detail: detail.clone(),
            remedy,
        }
    }
}

/// The verdict in a word or two.
pub(crate) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Granted { .. } => "granted",
        Verdict::Refused { .. } => "refused",
        Verdict::NotAsked { .. } => "not asked",
        Verdict::Unknown { .. } => "unknown",
    }
}
