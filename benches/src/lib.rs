//! Measuring one operation against a peer on a host that does not hold still.
//!
//! A duration says as much about the host and the minute as about the code: a neighbour, a frequency
//! step or a stolen tick moves it by tens of per cent, and the same binary "improves" by itself. A
//! *ratio* to a peer that ran in the same milliseconds moves far less, so this crate knows nothing
//! but ratios:
//!
//! - [`Duel`] runs two arms in short interleaved blocks (ABBA or BAAB, by a seeded coin) and drops
//!   every round that the host disturbed.
//! - [`Interval`] is a median of the rounds' ratios and its bootstrap 95 % interval.
//! - The same blocks, read as if each arm had been two, are the self-control: an arm against itself
//!   must come out as 1.
//! - [`Claim`] compares all that with a target and answers [`Verdict`]; a run too noisy to judge is
//!   [`Verdict::Inconclusive`], never a pass.
//!
//! [`Site`] and [`Seat`] say where the arms run, [`Disturbance`] what the host did meanwhile, and
//! [`Watchdog`] ends a run that does not end by itself. The rows that use all this are the program
//! `corelane-bench`, in `src/bench`; [`README.md`](../README.md) explains how to read and to add one.
//!
//! | module | noun | unsafe |
//! |---|---|---|
//! | `block` | one block of an arm, the stopwatch | none |
//! | `claim` | a target and the verdict | none |
//! | `count_mask` | the kernel's cpupri scheme, as a peer | none |
//! | `disturbance` | stolen time, involuntary switches | none |
//! | `doorbell` | the smallest wake | none |
//! | `duel` | two arms in rounds | none |
//! | `exchange` | a waker and a woken, with timestamps | none |
//! | `facts` | what of the host bears on a ratio | none |
//! | `interval` | median, bootstrap | none |
//! | `random` | seeded numbers | none |
//! | `seat` | a thread on a CPU at a level | one libc call |
//! | `site` | the CPUs and privileges of a run | none |
//! | `stamp` | timestamps | none |
//! | `table` | rows of a report | none |
//! | `watchdog` | the end of a run that hangs | one fork |

mod block;
mod claim;
mod count_mask;
mod disturbance;
mod doorbell;
mod duel;
mod exchange;
mod facts;
mod interval;
mod random;
mod seat;
mod site;
mod stamp;
mod table;
mod watchdog;

pub use block::{Block, Stopwatch, middle_ns, tail_ns};
pub use claim::{Claim, Doubt, Unit, Verdict};
pub use count_mask::CountMask;
pub use disturbance::{Disturbance, involuntary_switches};
pub use doorbell::Doorbell;
pub use duel::{Arm, Duel, Load, Outcome, Plan};
pub use exchange::{Exchange, GapNs};
pub use facts::{Fact, facts};
pub use interval::Interval;
pub use random::Random;
pub use seat::{Seat, SeatError, run_both, time_both};
pub use site::{Need, Site};
pub use stamp::Stamp;
pub use table::{Line, Table};
pub use watchdog::Watchdog;
