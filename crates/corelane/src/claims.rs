//! Which kernel CPUs have a worker of this process.
//!
//! Two workers on one CPU at the same FIFO level would take it from each other, each believing that it
//! keeps its promise. So a CPU is claimed before its worker starts and given back after it has ended.

use std::collections::BTreeSet;

use corelane_os::cpuset::KernelCpu;
use parking_lot::Mutex; // not through `primitives`: a checker has no locks in statics

use crate::BuildError;

crate::primitives::global! {
    static CLAIMED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
}

/// CPUs claimed by one runtime; given back on drop.
#[derive(Debug)]
pub(crate) struct Claims(Vec<KernelCpu>);

impl Claims {
    /// Claims all of `cpus` or none.
    pub(crate) fn take(cpus: &[KernelCpu]) -> Result<Claims, BuildError> {
        let mut claimed = CLAIMED.lock();
        if let Some(cpu) = cpus.iter().find(|cpu| claimed.contains(&cpu.0)) {
            return Err(BuildError::CpuInUse {
                cpu: cpu.0 as usize,
            });
        }
        claimed.extend(cpus.iter().map(|cpu| cpu.0));
        Ok(Claims(cpus.to_vec()))
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let mut claimed = CLAIMED.lock();
        self.0.iter().for_each(|cpu| {
            claimed.remove(&cpu.0);
        });
    }
}
