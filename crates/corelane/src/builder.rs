//! Configuring and building a runtime.

use std::sync::Arc;

use corelane_os::cpuset::KernelCpu;
use corelane_os::fiber::{Backend, NativeReason, detect_backend};
use corelane_os::host::{self, Asked};
use corelane_os::memory;
use corelane_os::topology::{DISTANCE_MAX, Topology, TopologyCpu};
use corelane_sched::{CpuId, CpuMask, Neighbours, RootDomain};

use crate::carriers::{self, CARRIER_STACK_PREFAULT_BYTES, Carriers, Starting};
use crate::claims::Claims;
use crate::config::{Config, Cpus, Idle, LEVELS_ABOVE_BASE, LockMemory, Preemption, Realtime};
use crate::cpu::Cpu;
use crate::current::Fiber;
use crate::error::BuildError;
use crate::fibers::FiberPool;
use crate::last_words;
use crate::runtime::{Runtime, Shared};
use crate::status::{CpuStatus, Grant, Status};

/// Configures a [`Runtime`].
#[must_use]
#[derive(Clone, Debug)]
pub struct Builder(Config);

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder(Config::default())
    }

    /// Which CPUs it uses; [`Cpus::All`] unless set.
    pub fn cpus(mut self, cpus: Cpus) -> Builder {
        self.0.cpus = cpus;
        self
    }

    /// The SCHED_FIFO level of its workers, 1..=96; 20 unless set. It uses two levels above as well.
    /// Stay below the kernel's interrupt threads (50) unless you know why.
    pub fn fifo_priority(mut self, level: u8) -> Builder {
        self.0.fifo_level = level;
        self
    }

    /// How a running task is preempted; [`Preemption::SafePoints`] is what there is.
    pub fn preemption(mut self, preemption: Preemption) -> Builder {
        self.0.preemption = preemption;
        self
    }

    /// What a worker does with nothing to run; 50 us of polling, then sleep, unless set.
    pub fn idle(mut self, idle: Idle) -> Builder {
        self.0.idle = idle;
        self
    }

    /// How many tasks can have started without having ended before the pool must grow; 64 unless set.
    pub fn fibers(mut self, fibers: usize) -> Builder {
        self.0.fibers = fibers;
        self
    }

    /// Bytes of stack per fiber; 256 KiB unless set.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.0.stack_bytes = bytes;
        self
    }

    /// Whether the process's memory is locked; [`LockMemory::No`] unless set.
    pub fn lock_memory(mut self, lock_memory: LockMemory) -> Builder {
        self.0.lock_memory = lock_memory;
        self
    }

    /// What happens when the host refuses; [`Realtime::BestEffort`] unless set.
    pub fn realtime(mut self, realtime: Realtime) -> Builder {
        self.0.realtime = realtime;
        self
    }

    /// Room for so many events per CPU; 0 (no recording) unless set. 24 bytes each.
    pub fn events(mut self, capacity: usize) -> Builder {
        self.0.events = capacity;
        self
    }

    /// Runs every task on its fiber's own kernel thread, as on hosts where thread pointers cannot be
    /// carried. For tests of that fallback; correct, and slower by two kernel switches.
    #[doc(hidden)]
    pub fn native_fibers(mut self) -> Builder {
        self.0.native_only = true;
        self
    }

    /// Builds the runtime: starts its threads, fills its pool, asks the host for what it wants.
    ///
    /// # Errors
    /// Bad configuration, a CPU in use by another runtime, a thread that cannot be created, and with
    /// [`Realtime::Required`] whatever the host refuses. Nothing is left behind.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let config = self.0;
        config.validate()?;
        if Fiber::current().is_some() {
            return Err(BuildError::Nested);
        }
        let topology =
            Topology::discover().map_err(|error| BuildError::Topology(error.to_string()))?;
        let chosen = choose(&config.cpus, &topology)?;
        let kernels: Vec<KernelCpu> = chosen.iter().map(|cpu| cpu.kernel).collect();
        let claims = Claims::take(&kernels)?;
        last_words::name_tasks_in_last_words();
        let memory = lock_memory(&config)?;
        let workers = start_workers(&config, &kernels)?;
        let cpus = cpu_status(&workers, &kernels);
        require(&config, &cpus)?;
        let fifo_granted = cpus.iter().all(|cpu| cpu.fifo.is_granted());
        let shared = share(&config, &chosen, fifo_granted);
        let others = prepare(&config, &kernels, &shared).inspect_err(|_| {
            shared.fibers.finish(&shared);
        })?;
        let backend = shared.fibers.backend();
        let properties = host::examine(&asked(&config));
        let status = Status::new(&config, cpus, memory, backend, properties);
        // The workers last: one that only ever spins would keep this thread from its CPU.
        let threads = others.into_iter().chain(workers);
        let threads = threads.map(|thread| thread.start(&shared)).collect();
        Ok(Runtime {
            shared,
            carriers: Some(Carriers { threads, claims }),
            status,
        })
    }
}

fn asked(config: &Config) -> Asked {
    Asked {
        fifo_level: config.fifo_level + LEVELS_ABOVE_BASE,
        lock_memory: match config.lock_memory {
            LockMemory::No => host::LockMemory::No,
            LockMemory::OnFault => host::LockMemory::OnFault,
        },
        prefault_stack_bytes: CARRIER_STACK_PREFAULT_BYTES,
    }
}

fn choose(cpus: &Cpus, topology: &Topology) -> Result<Vec<TopologyCpu>, BuildError> {
    let all = topology.cpus();
    let allowed = || {
        all.iter()
            .map(|cpu| cpu.kernel.0 as usize)
            .collect::<Vec<usize>>()
    };
    let chosen: Vec<TopologyCpu> = match cpus {
        Cpus::All => all.to_vec(),
        Cpus::Count(asked) if *asked > all.len() => {
            return Err(BuildError::TooManyCpus {
                asked: *asked,
                allowed: allowed(),
            });
        }
        Cpus::Count(count) => all[..*count].to_vec(),
        Cpus::Kernel(numbers) => {
            let find = |number: &usize| {
                let found = all
                    .iter()
                    .find(|cpu| cpu.kernel.0 as usize == *number)
                    .cloned();
                found.ok_or_else(|| BuildError::ForeignCpu {
                    cpu: *number,
                    allowed: allowed(),
                })
            };
            let mut numbers = numbers.clone();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.iter().map(find).collect::<Result<_, _>>()?
        }
    };
    match chosen.len() {
        0 => Err(BuildError::NoCpus),
        asked if asked > CpuId::CPUS_MAX => Err(BuildError::TooManyCpus {
            asked,
            allowed: allowed(),
        }),
        _ => Ok(chosen),
    }
}

fn lock_memory(config: &Config) -> Result<Grant, BuildError> {
    if config.lock_memory == LockMemory::No {
        return Ok(Grant::NotAsked);
    }
    match memory::lock_on_fault() {
        Ok(_) => Ok(Grant::Granted),
        Err(refused) if config.realtime == Realtime::Required => Err(BuildError::NotRealtime {
            property: "the memory lock",
            reason: refused.reason,
            remedy: refused.remedy.into(),
        }),
        Err(refused) => Ok(Grant::Refused {
            reason: refused.to_string(),
        }),
    }
}

fn start_workers(config: &Config, kernels: &[KernelCpu]) -> Result<Vec<Starting>, BuildError> {
    let start = |(slot, kernel): (usize, &KernelCpu)| {
        carriers::start_worker(CpuId::new(slot), *kernel, config.fifo_level)
    };
    kernels.iter().enumerate().map(start).collect()
}

fn cpu_status(workers: &[Starting], kernels: &[KernelCpu]) -> Vec<CpuStatus> {
    let status = |(slot, (worker, kernel)): (usize, (&Starting, &KernelCpu))| CpuStatus {
        cpu: CpuId::new(slot),
        kernel_cpu: kernel.0 as usize,
        fifo: worker.grants.fifo.clone(),
        pin: worker.grants.pin.clone(),
    };
    workers
        .iter()
        .zip(kernels)
        .enumerate()
        .map(status)
        .collect()
}

fn require(config: &Config, cpus: &[CpuStatus]) -> Result<(), BuildError> {
    if config.realtime == Realtime::BestEffort {
        return Ok(());
    }
    for cpu in cpus {
        if let Grant::Refused { reason } = &cpu.fifo {
            return Err(BuildError::NotRealtime {
                property: "SCHED_FIFO",
                reason: reason.clone(),
                remedy: "grant CAP_SYS_NICE or raise RLIMIT_RTPRIO (ulimit -r)".into(),
            });
        }
        if let Grant::Refused { reason } = &cpu.pin {
            return Err(BuildError::NotRealtime {
                property: "the pin of a worker",
                reason: reason.clone(),
                remedy: "widen the cpuset or the affinity mask".into(),
            });
        }
    }
    Ok(())
}

fn share(config: &Config, chosen: &[TopologyCpu], fifo_granted: bool) -> Arc<Shared> {
    let cpu = |(slot, cpu): (usize, &TopologyCpu)| {
        Cpu::new(CpuId::new(slot), cpu.kernel, chosen.len(), config.events)
    };
    let cpus: Box<[Cpu]> = chosen.iter().enumerate().map(cpu).collect();
    let domain = RootDomain::new(neighbours(chosen));
    cpus.iter().for_each(|cpu| {
        let _ = cpu.core.lock().rq.publish(&domain);
    });
    let backend = match config.native_only {
        true => Backend::Native(NativeReason::Asked),
        false => detect_backend(),
    };
    let fibers = FiberPool::new(backend, config.stack_bytes);
    Arc::new(Shared::new(domain, cpus, fibers, config, fifo_granted))
}

/// For each CPU the groups around it: all CPUs within distance 1, within 2, and so on.
fn neighbours(chosen: &[TopologyCpu]) -> Box<[Neighbours]> {
    let around = |from: &TopologyCpu| {
        let within = |distance: u8| {
            let mut mask = CpuMask::empty(chosen.len());
            for (slot, to) in chosen.iter().enumerate() {
                if from.distance(to) <= distance {
                    mask.insert(CpuId::new(slot));
                }
            }
            mask
        };
        Neighbours((1..=DISTANCE_MAX).map(within).collect())
    };
    chosen.iter().map(around).collect()
}

/// Fills the pool and starts the threads that are not workers.
fn prepare(
    config: &Config,
    kernels: &[KernelCpu],
    shared: &Arc<Shared>,
) -> Result<Vec<Starting>, BuildError> {
    let grown = shared.fibers.grow(shared, config.fibers);
    grown.map_err(BuildError::Fiber)?;
    let mut threads = vec![
        carriers::start_growth(config.fifo_level)?,
        carriers::start_housekeeping()?,
    ];
    for (slot, kernel) in kernels.iter().enumerate() {
        threads.push(carriers::start_lane(CpuId::new(slot), *kernel)?);
    }
    Ok(threads)
}
