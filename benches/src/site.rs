//! The CPUs of a run and what the host grants on them.

use core::fmt;

use corelane::Cpus;
use corelane_os::cpuset::KernelCpu;
use corelane_os::thread::{self, Tid};

use crate::{Seat, Stamp};

/// The level of the runtime's workers, and of the peer that stands against them: above the default of
/// other runtimes on the host, which would share the CPU in whole turns, and below interrupt threads.
const LEVEL: u8 = 40;

/// How many levels a seat may be above them.
const ABOVE_MAX: u8 = 1;

/// What a comparison cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A peer whose point is the real-time class.
    Fifo,
    /// A waker and a woken that run at once.
    TwoCpus,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Fifo => {
                let level = LEVEL + ABOVE_MAX;
                write!(
                    f,
                    "needs SCHED_FIFO {level} (CAP_SYS_NICE or RLIMIT_RTPRIO)"
                )
            }
            Need::TwoCpus => f.write_str("needs two CPUs in the affinity mask"),
        }
    }
}

/// Where a run takes place.
#[derive(Clone, Debug)]
pub struct Site {
    cpus: Vec<KernelCpu>,
    fifo: bool,
    /// The timestamps of every arm.
    pub stamp: Stamp,
}

impl Site {
    /// Looks at the affinity mask of the process and tries what is granted.
    ///
    /// # Panics
    /// If the kernel does not tell the process its own affinity mask.
    pub fn survey() -> Site {
        let mask = thread::affinity(Tid(0)).expect("a process may read its own mask");
        let cpus: Vec<KernelCpu> = mask.iter().collect();
        // The highest that a row asks for: a limit may lie between two levels.
        let probe = Seat {
            cpu: cpus[0],
            level: Some(LEVEL + ABOVE_MAX),
        };
        let granted = std::thread::spawn(move || probe.take().is_ok()).join();
        Site {
            cpus,
            fifo: granted.unwrap_or(false),
            stamp: Stamp::choose(),
        }
    }

    /// Whether the real-time class is granted.
    pub fn has_fifo(&self) -> bool {
        self.fifo
    }

    /// How many CPUs the process may use.
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// The first of `needs` that the host does not meet.
    pub fn lacks(&self, needs: &[Need]) -> Option<Need> {
        let met = |need: &&Need| match need {
            Need::Fifo => self.fifo,
            Need::TwoCpus => self.cpus.len() > 1,
        };
        needs.iter().find(|need| !met(need)).copied()
    }

    /// Every CPU that the process may use.
    pub fn all(&self) -> Vec<KernelCpu> {
        self.cpus.clone()
    }

    /// The CPU of comparisons that need one: the last, since the first usually serves interrupts.
    pub fn cpu(&self) -> KernelCpu {
        *self.cpus.last().expect("a process may run somewhere")
    }

    /// Two CPUs.
    ///
    /// # Panics
    /// If there are fewer; see [`Need::TwoCpus`].
    pub fn pair(&self) -> [KernelCpu; 2] {
        *self
            .cpus
            .last_chunk()
            .expect("the comparison needs two CPUs")
    }

    /// The CPUs of a comparison with such needs.
    pub fn involved(&self, needs: &[Need]) -> Vec<KernelCpu> {
        match needs.contains(&Need::TwoCpus) {
            true => self.pair().to_vec(),
            false => vec![self.cpu()],
        }
    }

    /// The workers' level on `cpu`, `above` levels higher; an ordinary seat where the class is
    /// refused.
    ///
    /// # Panics
    /// If that is higher than the survey has tried.
    pub fn seat(&self, cpu: KernelCpu, above: u8) -> Seat {
        assert!(above <= ABOVE_MAX, "the survey tried no level as high");
        Seat {
            cpu,
            level: self.fifo.then_some(LEVEL + above),
        }
    }

    /// A runtime on `cpus`, configured like the peers' seats.
    pub fn runtime(&self, cpus: &[KernelCpu]) -> corelane::Builder {
        let kernel = cpus.iter().map(|cpu| cpu.0 as usize).collect();
        corelane::Runtime::builder()
            .cpus(Cpus::Kernel(kernel))
            .fifo_priority(LEVEL)
            .fibers(8)
    }
}
