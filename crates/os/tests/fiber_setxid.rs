//! A process-wide credential change reaches every kernel thread through a signal that glibc keeps
//! for itself. Alone in its binary, because the change waits for bodies that run carried elsewhere
//! in the process.

mod common;

use common::{backends, resume, spawn};
use corelane_os::fiber::Resumed;

#[test]
fn a_credential_change_reaches_parked_lenders_and_spares_their_bodies() {
    let mut fibers = Vec::new();
    for backend in backends() {
        let mut fiber = spawn(backend, |suspender| {
            let kept = std::hint::black_box([3u8; 8192]);
            // SAFETY: this thread's own errno, looked up anew on each side.
            unsafe { *libc::__errno_location() = 99 };
            suspender.suspend();
            // SAFETY: as above.
            assert_eq!(unsafe { *libc::__errno_location() }, 99);
            assert!(kept.iter().all(|&byte| byte == 3));
        });
        assert_eq!(resume(&mut fiber), Resumed::Suspended);
        fibers.push(fiber);
    }
    // SAFETY: changes the group to what it is, which everybody may.
    let changed = unsafe { libc::setgid(libc::getgid()) };
    assert_eq!(changed, 0);
    for mut fiber in fibers {
        assert_eq!(resume(&mut fiber), Resumed::Finished);
        fiber.finish().expect("a finished body ends");
    }
}
