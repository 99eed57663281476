//! Policies, masks and pins, as the kernel keeps them. Every attempt has a thread of its own.

use corelane_os::cpuset::{KernelCpu, KernelCpuSet};
use corelane_os::thread::{self, PinError, Policy, Tid};
use nix::errno::Errno;

fn on_a_thread<T: Send>(attempt: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(attempt).join().expect("no panic"))
}

#[test]
fn a_pin_reads_back_on_every_allowed_cpu() {
    let allowed = thread::affinity(Tid(0)).expect("a mask");
    assert!(!allowed.is_empty());
    on_a_thread(|| {
        for cpu in allowed.iter() {
            assert_eq!(thread::pin(cpu), Ok(()));
            assert_eq!(thread::current_cpu(), cpu);
            assert_eq!(thread::affinity(Tid(0)), Ok(KernelCpuSet::single(cpu)));
        }
    });
    assert_eq!(
        thread::affinity(Tid(0)),
        Ok(allowed),
        "another thread's pin is its own"
    );
}

#[test]
fn a_pin_to_a_cpu_that_does_not_exist_is_refused_with_the_errno() {
    let cpu = KernelCpu(60_000);
    let refused = Err(PinError::Refused {
        asked: cpu,
        errno: Errno::EINVAL,
    });
    assert_eq!(on_a_thread(|| thread::pin(cpu)), refused);
}

#[test]
fn fifo_is_set_with_reset_on_fork_or_refused_with_eperm() {
    on_a_thread(|| {
        let own = thread::gettid();
        assert_eq!(thread::policy(own), Ok(Policy::Other));
        let level = Policy::Fifo { level: 3 };
        match thread::set_policy(own, level) {
            Err(errno) => assert_eq!(errno, Errno::EPERM),
            Ok(()) => {
                assert_eq!(thread::policy(own), Ok(level));
                assert_eq!(thread::resets_on_fork(own), Ok(true));
                let childs = on_a_thread(|| thread::policy(Tid(0)));
                assert_eq!(
                    childs,
                    Ok(Policy::Other),
                    "a child starts in the fair class"
                );
                assert_eq!(thread::set_policy(own, Policy::Other), Ok(()));
            }
        }
        assert_eq!(thread::policy(own), Ok(Policy::Other));
    });
}

#[test]
fn levels_outside_the_range_and_foreign_policies_are_invalid() {
    on_a_thread(|| {
        for policy in [
            Policy::Fifo { level: 0 },
            Policy::Fifo { level: 100 },
            Policy::Foreign(6),
        ] {
            assert_eq!(
                thread::set_policy(Tid(0), policy),
                Err(Errno::EINVAL),
                "{policy:?}"
            );
        }
    });
}

#[test]
fn a_thread_that_is_gone_is_esrch() {
    let gone = on_a_thread(thread::gettid);
    // The kernel removes the id a moment after the join.
    while thread::policy(gone) != Err(Errno::ESRCH) {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
    assert_eq!(thread::affinity(gone), Err(Errno::ESRCH));
    assert_eq!(thread::set_policy(gone, Policy::Other), Err(Errno::ESRCH));
}
