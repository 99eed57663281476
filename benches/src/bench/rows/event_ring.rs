//! The same yields with the event ring on and off.
//!
//! A yield writes two events, each a clock read and four stores. A ring that is off costs a test of its
//! length. Both arms run the yields in stretches that fit the ring, and take the events out between two
//! stretches, outside the time that counts, so that no event of the arm that records is dropped; a
//! dropped one would be cheaper than a recorded one. A CPU has one runtime at a time, so each block
//! builds its own and warms it up with a stretch that does not count.

use corelane_benches::{Block, Claim, Site};

use crate::one_cpu::OneCpu;
use crate::rows::{Row, yield_now};
use crate::run::Run;

pub(crate) const ROW: Row = Row {
    name: "event_ring",
    about: "yields while events are recorded: the same with the ring off",
    compare,
};

/// Room for the events of a stretch: two for each yield, and a few for starts and ends.
const EVENTS: usize = 1 << 15;
const STRETCH: u64 = 1 << 13;

fn compare(run: &mut Run) {
    let site: Site = run.site.clone();
    let claim = Claim::throughput("the same with the ring off");
    let mut ours = |count| yields(&site, EVENTS, count);
    let mut peer = |count| yields(&site, 0, count);
    run.compare(claim, &[], &mut ours, &mut peer);
}

/// So many yields, rounded up to stretches, with room for so many events.
fn yields(site: &Site, events: usize, count: u64) -> Block {
    let cpu = OneCpu::with(site, |builder| builder.events(events));
    let stretch = || {
        let block = yield_now::corelane(&cpu, STRETCH);
        let taken = cpu.runtime().events().len() as u64;
        assert!(events == 0 || taken > STRETCH, "a yield is recorded");
        block
    };
    stretch();
    let stretches = count.div_ceil(STRETCH);
    let (mut length_ns, mut interruptions) = (0, 0);
    for block in (0..stretches).map(|_| stretch()) {
        length_ns += block.length_ns;
        interruptions += block.interruptions;
    }
    let dropped = cpu.runtime().stats().events_dropped;
    assert_eq!(dropped, 0, "the ring holds the events of a stretch");
    Block::of_throughput(stretches * STRETCH, length_ns, interruptions)
}
