//! What is measured, and what each scenario needs of the host.

/// A kind of wake or release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scenario {
    WakeIdleSpin,
    WakeIdlePark,
    WakeBusy,
    WakeLocal,
    Periodic,
}

impl Scenario {
    /// All scenarios, in the order in which they run.
    pub(super) const ALL: [Scenario; 5] = [
        Scenario::WakeIdleSpin,
        Scenario::WakeIdlePark,
        Scenario::WakeBusy,
        Scenario::WakeLocal,
        Scenario::Periodic,
    ];

    /// The name in the table and the JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Scenario::WakeIdleSpin => "wake-idle-spin",
            Scenario::WakeIdlePark => "wake-idle-park",
            Scenario::WakeBusy => "wake-busy",
            Scenario::WakeLocal => "wake-local",
            Scenario::Periodic => "periodic",
        }
    }

    /// What happens in each arm, in a line.
    pub(super) fn page(self) -> &'static str {
        match self {
            Scenario::WakeIdleSpin => {
                "another CPU wakes a task (thread) on an idle CPU; the executor's idle worker spins"
            }
            Scenario::WakeIdlePark => "the same; the executor's idle worker sleeps in the kernel",
            Scenario::WakeBusy => {
                "the same, over a lower task (thread) that computes; the task has a safe point each us"
            }
            Scenario::WakeLocal => "a task (thread) wakes a higher one on its own CPU",
            Scenario::Periodic => {
                "release error of a 1 ms period: task::sleep_until, clock_nanosleep in a thread"
            }
        }
    }

    /// Why a host with so many CPUs cannot run it.
    pub(super) fn missing(self, cpus: usize) -> Option<String> {
        let needs_two = !matches!(self, Scenario::WakeLocal | Scenario::Periodic);
        (needs_two && cpus < 2).then(|| {
            "it needs two CPUs, one for the waker and one for the target, and the affinity mask has one"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Scenario;

    #[test]
    fn one_cpu_is_enough_for_what_stays_on_it() {
        let possible = |cpus| {
            let all = Scenario::ALL.into_iter();
            all.filter(|scenario| scenario.missing(cpus).is_none())
                .collect::<Vec<_>>()
        };
        assert_eq!(possible(1), [Scenario::WakeLocal, Scenario::Periodic]);
        assert_eq!(possible(2), Scenario::ALL);
    }
}
