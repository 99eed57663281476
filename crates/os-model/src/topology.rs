//! The CPUs of the modelled host: cores of their own behind one cache.

use crate::cpuset::KernelCpu;
use crate::machine;

pub use corelane_os::topology::{DISTANCE_MAX, Fallbacks, TopologyCpu, TopologyError};

/// The CPUs that the process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cpus: Vec<TopologyCpu>,
}

impl Topology {
    /// As many CPUs as the model says.
    ///
    /// # Errors
    /// None on this host.
    pub fn discover() -> Result<Topology, TopologyError> {
        let cpu = |number| TopologyCpu {
            kernel: KernelCpu(number),
            core: number,
            package: 0,
            node: 0,
            llc: 0,
            fallbacks: Fallbacks::default(),
        };
        let cpus = machine::with(|machine| machine.settings.cpus);
        Ok(Topology {
            cpus: (0..cpus).map(cpu).collect(),
        })
    }

    /// The CPUs in ascending order of their kernel numbers.
    pub fn cpus(&self) -> &[TopologyCpu] {
        &self.cpus
    }
}
