//! One ordering less: the question whether a model would notice.
//!
//! A model that passes may have looked at nothing. So each ordering that a model meets is taken away once,
//! alone, and the model has to fail. A *site* is a line of the product and what it does to an atomic there;
//! a *weakening* takes one property from one site:
//!
//! | property | acquire, release | AcqRel, SeqCst exchange | SeqCst fence |
//! |---|---|---|---|
//! | [`Loss::Acquire`] | relaxed | release | |
//! | [`Loss::Release`] | relaxed | acquire | |
//! | [`Loss::TotalOrder`] | | | AcqRel fence |
//!
//! The total order of a SeqCst *access* is not on the list, because loom does not model it: such an access
//! loses acquire or release.
//!
//! A process checks under one weakening at most, which its environment names; `control.rs` starts one
//! process for each. Sites are collected in the run without any.

use core::fmt;
use core::panic::Location;
use std::collections::BTreeSet;
use std::string::{String, ToString};
use std::sync::{Mutex, OnceLock};
use std::{env, format};

use super::atomic::Ordering;

/// Names the weakening of a process.
pub(super) const VARIABLE: &str = "CORELANE_LOOM_WEAKENING";

/// What a site does to its atomic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Load,
    Store,
    Exchange,
    FailedExchange,
    Fence,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Load => "load",
            Access::Store => "store",
            Access::Exchange => "exchange",
            Access::FailedExchange => "failed exchange",
            Access::Fence => "fence",
        })
    }
}

/// What a weakening takes away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Loss {
    Acquire,
    Release,
    TotalOrder,
}

/// One property of one site.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weakening {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) access: Access,
    pub(super) loss: Loss,
}

impl fmt::Display for Weakening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Weakening {
            file,
            line,
            column,
            access,
            loss,
        } = self;
        write!(f, "{file}:{line}:{column}:{access}:{loss:?}")
    }
}

static REACHED: Mutex<BTreeSet<Weakening>> = Mutex::new(BTreeSet::new());
static WANTED: OnceLock<Option<String>> = OnceLock::new();

/// Every weakening of the sites that this process has reached.
pub(super) fn reached() -> BTreeSet<Weakening> {
    REACHED.lock().expect("no panic inside").clone()
}

/// The ordering that an access gets: what the product asked for, or what a control leaves of it.
pub(super) fn ordered(
    site: &'static Location<'static>,
    access: Access,
    order: Ordering,
) -> Ordering {
    let weakening = |loss| Weakening {
        file: site.file().to_string(),
        line: site.line(),
        column: site.column(),
        access,
        loss,
    };
    let possible = losses(access, order);
    let Some(wanted) = WANTED.get_or_init(|| env::var(VARIABLE).ok()) else {
        let mut reached = REACHED.lock().expect("no panic inside");
        reached.extend(possible.iter().map(|loss| weakening(*loss)));
        return order;
    };
    let is_wanted = |loss: &&Loss| format!("{}", weakening(**loss)) == *wanted;
    possible
        .iter()
        .find(is_wanted)
        .map_or(order, |loss| left(access, order, *loss))
}

/// What can be taken from an access.
fn losses(access: Access, order: Ordering) -> &'static [Loss] {
    use Ordering::*;
    match (access, order) {
        (Access::Fence, SeqCst) => &[Loss::TotalOrder],
        (Access::Load | Access::FailedExchange, Acquire | SeqCst) => &[Loss::Acquire],
        (Access::Store, Release | SeqCst) => &[Loss::Release],
        (Access::Exchange, Acquire) => &[Loss::Acquire],
        (Access::Exchange, Release) => &[Loss::Release],
        (Access::Exchange, AcqRel | SeqCst) => &[Loss::Acquire, Loss::Release],
        _ => &[],
    }
}

/// What remains of `order` without `loss`.
fn left(access: Access, order: Ordering, loss: Loss) -> Ordering {
    match (access, order, loss) {
        (Access::Fence, ..) => Ordering::AcqRel,
        (Access::Exchange, Ordering::AcqRel | Ordering::SeqCst, Loss::Acquire) => Ordering::Release,
        (Access::Exchange, Ordering::AcqRel | Ordering::SeqCst, Loss::Release) => Ordering::Acquire,
        _ => Ordering::Relaxed,
    }
}
