//! The priority that a user gives to a task.

use core::fmt;

use corelane_sched::Prio;

/// A real-time priority, 1..=99; greater is more urgent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(Prio);

impl Priority {
    /// The least urgent real-time priority, 1.
    pub const MIN: Priority = Priority(Prio::MIN);
    /// The most urgent priority, 99.
    pub const MAX: Priority = Priority(Prio::MAX);

    /// The priority `value`.
    ///
    /// ```
    /// use corelane::Priority;
    /// const CONTROL: Priority = match Priority::new(80) {
    ///     Ok(priority) => priority,
    ///     Err(_) => panic!("80 is a priority"),
    /// };
    /// assert!(CONTROL > Priority::MIN);
    /// assert!(Priority::new(0).is_err() && Priority::new(100).is_err());
    /// ```
    ///
    /// # Errors
    /// If `value` is not in 1..=99. Priority 0 is the background class: see `Runtime::spawn_background`.
    pub const fn new(value: u8) -> Result<Priority, PriorityError> {
        match Prio::new(value) {
            Some(prio) => Ok(Priority(prio)),
            None => Err(PriorityError { value }),
        }
    }

    /// The priority as a number, 1..=99.
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    pub(crate) const fn prio(self) -> Prio {
        self.0
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Priority({})", self.get())
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

impl TryFrom<u8> for Priority {
    type Error = PriorityError;

    fn try_from(value: u8) -> Result<Priority, PriorityError> {
        Priority::new(value)
    }
}

/// A number that is not a real-time priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PriorityError {
    value: u8,
}

impl fmt::Display for PriorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is not a priority: choose 1 (least urgent) to 99",
            self.value
        )?;
        if self.value == 0 {
            write!(
                f,
                "; for work below every real-time task use spawn_background"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for PriorityError {}
