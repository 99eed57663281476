//! Time and cycles.

use corelane_os::clock::{Tsc, now_ns};

#[test]
fn monotonic_time_does_not_go_back() {
    let mut last_ns = now_ns();
    for _ in 0..100_000 {
        let ns = now_ns();
        assert!(ns >= last_ns);
        last_ns = ns;
    }
}

#[test]
fn it_is_the_clock_of_the_kernel() {
    let mut kernels = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let before_ns = now_ns();
    // SAFETY: fills a live timespec; the call that bypasses the vDSO.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut kernels) };
    let after_ns = now_ns();
    let kernels_ns = kernels.tv_sec as u64 * 1_000_000_000 + kernels.tv_nsec as u64;
    assert!((before_ns..=after_ns).contains(&kernels_ns));
}

#[test]
fn cycles_convert_by_the_measured_rate() {
    let tsc = Tsc::calibrate();
    assert!(tsc.frequency_hz() > 100_000_000, "{tsc:?}");
    assert_eq!(tsc.to_ns(0), 0);
    let second_ns = tsc.to_ns(tsc.frequency_hz());
    assert!(
        (999_999_000..=1_000_000_000).contains(&second_ns),
        "{second_ns}"
    );
    assert!(
        tsc.to_ns(u64::MAX) > tsc.to_ns(u64::MAX / 2),
        "no overflow at the end"
    );
    let before = tsc.now();
    assert!(tsc.now() >= before);
}
