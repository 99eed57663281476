//! Priorities and levels: one order of urgency, greater is more urgent.
//!
//! The kernel keeps three number spaces whose orders disagree (`prio`, `rt_priority`, the cpupri
//! index) and glues them with conversions. Here a [`Prio`] is what a user asks for and a [`Level`] is
//! what a CPU publishes; both grow with urgency and one function converts.
//!
//! | level | meaning |
//! |---|---|
//! | 0 | idle |
//! | 1 | background work only |
//! | 2 | unused, so that the numbers match the figures of the classic article |
//! | 3..=101 | priority 1..=99, plus two |
//! | 127 | invalid: the CPU takes no work |

/// The priority of a task: 0 is the background class, 1..=99 are real-time, greater is more urgent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prio(u8);

impl Prio {
    /// The background class, below every real-time priority.
    pub const BACKGROUND: Prio = Prio(0);
    /// The least urgent real-time priority.
    pub const MIN: Prio = Prio(1);
    /// The most urgent priority.
    pub const MAX: Prio = Prio(99);

    /// The real-time priority `value`, or `None` outside 1..=99.
    #[inline]
    pub const fn new(value: u8) -> Option<Prio> {
        if value >= 1 && value <= 99 {
            Some(Prio(value))
        } else {
            None
        }
    }

    /// The priority as a number, 0..=99.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The position of this priority in arrays indexed by priority, 0..=99.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Rebuilds a priority from [`Prio::get`]. Values above 99 are clamped to [`Prio::MAX`].
    #[inline]
    pub(crate) const fn from_raw(raw: u8) -> Prio {
        if raw > 99 { Prio::MAX } else { Prio(raw) }
    }
}

/// What a CPU publishes about the most urgent work it has, 0..=101 or [`Level::INVALID`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Level(u8);

impl Level {
    /// Nothing runnable.
    pub const IDLE: Level = Level(0);
    /// Only background work.
    pub const BACKGROUND: Level = Level(1);
    /// Above every priority: a search below it finds any CPU that takes work.
    pub const ABOVE_ALL: Level = Level(102);
    /// The CPU takes no work; above every level that a search can ask for.
    pub const INVALID: Level = Level(127);

    /// The level of a priority: background is 1, a real-time priority is itself plus two.
    #[inline]
    pub const fn of(prio: Prio) -> Level {
        if prio.0 == 0 {
            Level::BACKGROUND
        } else {
            Level(prio.0 + 2)
        }
    }

    /// The priority behind this level; `None` for idle and invalid.
    #[inline]
    pub const fn prio(self) -> Option<Prio> {
        match self.0 {
            1 => Some(Prio::BACKGROUND),
            3..=101 => Some(Prio(self.0 - 2)),
            _ => None,
        }
    }

    /// The level as a number: the index of the classic article's `pri_active` bitmap.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    #[inline]
    pub(crate) const fn from_raw(raw: u8) -> Level {
        Level(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_to_ninety_nine_are_real_time_priorities() {
        assert!(Prio::new(0).is_none() && Prio::new(100).is_none());
        assert_eq!(Prio::new(1), Some(Prio::MIN));
        assert_eq!(Prio::new(99), Some(Prio::MAX));
    }

    #[test]
    fn levels_keep_the_order_of_priorities_and_convert_back() {
        let mut last = Level::IDLE;
        for value in 0..=99 {
            let level = Level::of(Prio::from_raw(value));
            assert!(level > last && level < Level::ABOVE_ALL);
            assert_eq!(level.prio().map(Prio::get), Some(value));
            last = level;
        }
        assert_eq!(Level::of(Prio::MAX).get(), 101);
        assert_eq!(Level::IDLE.prio(), None);
        assert_eq!(Level::INVALID.prio(), None);
    }
}
