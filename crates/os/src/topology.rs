//! Which CPUs this process has, and what they share.
//!
//! A balancer that moves a task wants the nearest CPU: the sibling of the same core, then one
//! behind the same last-level cache, then one of the same memory node. Counting CPUs and guessing
//! their neighbours from their numbers fails on the first host with hyper-threads, and under any
//! cpuset. The CPUs come from the affinity mask of the calling thread, and what they share from
//! sysfs.
//!
//! Containers and virtual machines leave files out. A missing file costs a rank, not the topology:
//! the value falls back to one that is safe to be wrong about, and [`TopologyCpu::fallbacks`] says
//! which.

use crate::cpuset::{KernelCpu, KernelCpuSet};
use crate::sysfs;
use crate::thread::{self, Tid};
use core::fmt;
use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// The rank of two CPUs that share nothing that sysfs tells of.
pub const DISTANCE_MAX: u8 = 5;

/// Caches of one CPU; x86 has four, no host has more than a handful.
const CACHES_MAX: usize = 16;

/// Which facts of a CPU are assumed because sysfs does not tell them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// Assumed: a core of its own.
    pub core: bool,
    /// Assumed: package 0.
    pub package: bool,
    /// Assumed: node 0.
    pub node: bool,
    /// Assumed: one last-level cache per package.
    pub llc: bool,
}

/// One CPU, and the groups that it belongs to. A group is named by a number that is unique on the
/// host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopologyCpu {
    /// The kernel's number.
    pub kernel: KernelCpu,
    /// The lowest CPU of its core.
    pub core: u32,
    /// Its package (socket).
    pub package: u32,
    /// Its NUMA node.
    pub node: u32,
    /// The lowest CPU behind its last-level cache.
    pub llc: u32,
    /// Which of these are assumptions.
    pub fallbacks: Fallbacks,
}

impl TopologyCpu {
    /// The rank of `other` as seen from here: same CPU 0, same core 1, same last-level cache 2,
    /// same node 3, same package 4, else [`DISTANCE_MAX`].
    pub fn distance(&self, other: &TopologyCpu) -> u8 {
        let shared = [
            self.kernel == other.kernel,
            self.core == other.core,
            self.llc == other.llc,
            self.node == other.node,
            self.package == other.package,
        ];
        shared
            .iter()
            .position(|&same| same)
            .map_or(DISTANCE_MAX, |rank| rank as u8)
    }
}

/// Why the topology is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopologyError {
    /// The affinity mask could not be read.
    Affinity(Errno),
    /// The affinity mask is empty.
    NoCpu,
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopologyError::Affinity(errno) => {
                write!(
                    f,
                    "the affinity mask could not be read: {errno}; does a seccomp filter forbid sched_getaffinity?"
                )
            }
            TopologyError::NoCpu => {
                f.write_str("the affinity mask is empty; give the process a CPU (taskset, cpuset)")
            }
        }
    }
}

impl std::error::Error for TopologyError {}

/// The CPUs that the process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cpus: Vec<TopologyCpu>,
}

impl Topology {
    /// The CPUs of the calling thread's affinity mask; call it before anything is pinned.
    ///
    /// # Errors
    /// When there is no mask to go by; a guess would pin workers where they may not run.
    pub fn discover() -> Result<Topology, TopologyError> {
        let allowed = thread::affinity(Tid(0)).map_err(TopologyError::Affinity)?;
        Topology::read(Path::new("/sys/devices/system"), &allowed)
    }

    /// The topology of the CPUs `allowed`, from a directory that is laid out like
    /// `/sys/devices/system`.
    ///
    /// # Errors
    /// When `allowed` is empty.
    pub fn read(system: &Path, allowed: &KernelCpuSet) -> Result<Topology, TopologyError> {
        if allowed.is_empty() {
            return Err(TopologyError::NoCpu);
        }
        let nodes = nodes(system);
        Ok(Topology {
            cpus: allowed
                .iter()
                .map(|cpu| read_cpu(system, &nodes, cpu))
                .collect(),
        })
    }

    /// The CPUs in ascending order of their kernel numbers.
    pub fn cpus(&self) -> &[TopologyCpu] {
        &self.cpus
    }

    /// The CPU with this kernel number, if the process may use it.
    pub fn cpu(&self, kernel: KernelCpu) -> Option<&TopologyCpu> {
        let index = self
            .cpus
            .binary_search_by_key(&kernel, |cpu| cpu.kernel)
            .ok()?;
        Some(&self.cpus[index])
    }

    /// The rank of `b` as seen from `a`, see [`TopologyCpu::distance`]. A CPU that is not in the
    /// topology is [`DISTANCE_MAX`] away from all others, and 0 from itself.
    pub fn distance(&self, a: KernelCpu, b: KernelCpu) -> u8 {
        match (self.cpu(a), self.cpu(b)) {
            (Some(a), Some(b)) => a.distance(b),
            _ if a == b => 0,
            _ => DISTANCE_MAX,
        }
    }

    /// The CPUs as a set.
    pub fn cpu_set(&self) -> KernelCpuSet {
        self.cpus.iter().map(|cpu| cpu.kernel).collect()
    }
}

fn read_cpu(system: &Path, nodes: &[(u32, KernelCpuSet)], kernel: KernelCpu) -> TopologyCpu {
    let directory = system.join(format!("cpu/cpu{kernel}"));
    let topology = directory.join("topology");
    let core = first_of(topology.join("core_cpus_list"))
        .or_else(|| first_of(topology.join("thread_siblings_list")));
    // The kernel writes -1 where the firmware does not tell.
    let package = sysfs::number::<i64>(topology.join("physical_package_id"))
        .and_then(|id| u32::try_from(id).ok());
    let node = nodes
        .iter()
        .find(|(_, cpus)| cpus.contains(kernel))
        .map(|&(node, _)| node);
    let llc = last_level_cache(&directory);
    let fallbacks = Fallbacks {
        core: core.is_none(),
        package: package.is_none(),
        node: node.is_none(),
        llc: llc.is_none(),
    };
    let package = package.unwrap_or(0);
    // Above every CPU number, so that an assumed group does not meet a real one.
    const ASSUMED: u32 = 1 << 24;
    TopologyCpu {
        kernel,
        core: core.unwrap_or(kernel.0),
        package,
        node: node.unwrap_or(0),
        llc: llc.unwrap_or(ASSUMED + package),
        fallbacks,
    }
}

/// The memory nodes that have CPUs.
fn nodes(system: &Path) -> Vec<(u32, KernelCpuSet)> {
    let Some(online) =
        sysfs::text(system.join("node/online")).and_then(|list| KernelCpuSet::parse_list(&list))
    else {
        return Vec::new();
    };
    let cpus = |node: u32| {
        KernelCpuSet::parse_list(&sysfs::text(
            system.join(format!("node/node{node}/cpulist")),
        )?)
    };
    online
        .iter()
        .filter_map(|node| Some((node.0, cpus(node.0)?)))
        .collect()
}

/// The lowest CPU behind the highest-level cache of a CPU.
fn last_level_cache(cpu: &Path) -> Option<u32> {
    let index = |n: usize| -> PathBuf { cpu.join(format!("cache/index{n}")) };
    (0..CACHES_MAX)
        .map(index)
        .filter_map(|cache| {
            let level: u32 = sysfs::number(cache.join("level"))?;
            Some((level, first_of(cache.join("shared_cpu_list"))?))
        })
        .max_by_key(|&(level, _)| level)
        .map(|(_, first)| first)
}

fn first_of(list: PathBuf) -> Option<u32> {
    KernelCpuSet::parse_list(&sysfs::text(list)?)?
        .first()
        .map(|cpu| cpu.0)
}
