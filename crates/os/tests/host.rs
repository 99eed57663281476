//! What the host tells about itself, and the topology as read from a made-up host.

use corelane_os::cpuset::{KernelCpu, KernelCpuSet};
use corelane_os::host::{Asked, LockMemory, Verdict, examine, stolen_ns};
use corelane_os::thread::{self, Policy, Tid};
use corelane_os::topology::{DISTANCE_MAX, Topology, TopologyError};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_property_has_a_verdict_and_a_name_of_its_own() {
    let asked = Asked {
        fifo_level: 10,
        lock_memory: LockMemory::OnFault,
        prefault_stack_bytes: 64 * 1024,
    };
    let properties = examine(&asked);
    let names: HashSet<_> = properties.iter().map(|property| property.name).collect();
    assert_eq!(names.len(), properties.len());
    for property in &properties {
        println!(
            "{:<26} {:<48} {}",
            property.name, property.asked, property.verdict
        );
        if let Verdict::Refused { reason, remedy } = &property.verdict {
            assert!(!reason.is_empty() && !remedy.is_empty(), "{property:?}");
        }
    }
    assert_eq!(
        thread::policy(Tid(0)),
        Ok(Policy::Other),
        "examining changes nothing"
    );
}

#[test]
fn what_nobody_asked_for_is_not_refused() {
    for property in examine(&Asked::default()) {
        if [
            "fifo policy",
            "fifo levels",
            "memory lock",
            "stack prefault",
        ]
        .contains(&property.name)
        {
            assert!(
                matches!(property.verdict, Verdict::NotAsked { .. }),
                "{property:?}"
            );
        }
    }
}

#[test]
fn a_verdict_on_fifo_is_what_a_thread_gets() {
    let asked = Asked {
        fifo_level: 5,
        ..Asked::default()
    };
    let verdict = examine(&asked).swap_remove(0).verdict;
    let tried = std::thread::spawn(|| thread::set_policy(Tid(0), Policy::Fifo { level: 5 }));
    let tried = tried.join().expect("no panic");
    assert_eq!(
        matches!(verdict, Verdict::Granted { .. }),
        tried.is_ok(),
        "{verdict:?} {tried:?}"
    );
}

#[test]
fn stolen_time_does_not_go_back() {
    if let Some(before_ns) = stolen_ns() {
        assert!(stolen_ns().expect("still told") >= before_ns);
    }
}

#[test]
fn the_topology_is_the_affinity_mask() {
    let topology = Topology::discover().expect("a mask");
    assert_eq!(Ok(topology.cpu_set()), thread::affinity(Tid(0)));
    for a in topology.cpus() {
        assert_eq!(a.distance(a), 0);
        for b in topology.cpus() {
            assert_eq!(a.distance(b), b.distance(a));
            assert_eq!(a.distance(b) == 0, a.kernel == b.kernel);
        }
    }
}

/// A directory laid out like /sys/devices/system, removed at the end.
struct MadeUp(PathBuf);

impl MadeUp {
    fn new(name: &str) -> MadeUp {
        let path = std::env::temp_dir().join(format!("corelane-os-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        MadeUp(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        fs::write(path, format!("{content}\n")).expect("a file");
    }
}

impl Drop for MadeUp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn distances_rank_core_cache_node_package() {
    // Two packages; package 0 has two nodes; CPUs 0 and 1 share a core, 0..=3 a cache, 0..=5 node
    // 0, 6 and 7 node 1.
    let host = MadeUp::new("ranks");
    host.write("node/online", "0-2");
    for (node, cpus) in [(0, "0-5"), (1, "6-7"), (2, "8")] {
        host.write(&format!("node/node{node}/cpulist"), cpus);
    }
    for cpu in 0..=8u32 {
        let core = if cpu < 2 {
            "0-1".to_owned()
        } else {
            cpu.to_string()
        };
        let cache = ["0-3", "0-3", "0-3", "0-3", "4-5", "4-5", "6-7", "6-7", "8"][cpu as usize];
        host.write(&format!("cpu/cpu{cpu}/topology/core_cpus_list"), &core);
        host.write(
            &format!("cpu/cpu{cpu}/topology/physical_package_id"),
            if cpu < 8 { "0" } else { "1" },
        );
        host.write(&format!("cpu/cpu{cpu}/cache/index0/level"), "1");
        host.write(&format!("cpu/cpu{cpu}/cache/index0/shared_cpu_list"), &core);
        host.write(&format!("cpu/cpu{cpu}/cache/index3/level"), "3");
        host.write(&format!("cpu/cpu{cpu}/cache/index3/shared_cpu_list"), cache);
    }
    let allowed = KernelCpuSet::parse_list("0-8").expect("a list");
    let topology = Topology::read(&host.0, &allowed).expect("CPUs");
    let ranks: Vec<u8> = (0..=8)
        .map(|cpu| topology.distance(KernelCpu(0), KernelCpu(cpu)))
        .collect();
    assert_eq!(ranks, [0, 1, 2, 2, 3, 3, 4, 4, DISTANCE_MAX]);
    assert!(
        topology
            .cpus()
            .iter()
            .all(|cpu| cpu.fallbacks == Default::default())
    );
}

#[test]
fn missing_files_fall_back_and_say_so() {
    let host = MadeUp::new("bare");
    let allowed = KernelCpuSet::parse_list("1,3").expect("a list");
    let topology = Topology::read(&host.0, &allowed).expect("CPUs");
    let cpu = topology.cpus()[1];
    assert_eq!(
        (cpu.kernel, cpu.core, cpu.package, cpu.node),
        (KernelCpu(3), 3, 0, 0)
    );
    let assumed = cpu.fallbacks;
    assert!(assumed.core && assumed.package && assumed.node && assumed.llc);
    assert_eq!(topology.distance(KernelCpu(1), KernelCpu(3)), 2);
}

#[test]
fn no_cpu_is_an_error() {
    let none = Topology::read(Path::new("/nonexistent"), &KernelCpuSet::new());
    assert_eq!(none, Err(TopologyError::NoCpu));
}
