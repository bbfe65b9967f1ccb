//! What a driver says where `io_uring` is forbidden, as under a container's seccomp profile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::{UringDriver, UringRefusal};
use crate::sockets::{SocketConfig, Waker};

/// `io_uring_setup`, the same on every architecture.
const IO_URING_SETUP: i64 = 425;

/// What the attempt comes to on a thread whose calls of `io_uring_setup` fail with `error`.
#[expect(clippy::disallowed_methods, reason = "a test of the driver, which owns the clock")]
fn attempt_under(error: Errno) -> Option<UringRefusal> {
    let forbid = SeccompAction::Errno(error.raw_os_error().unsigned_abs());
    let rules = BTreeMap::from([(IO_URING_SETUP, Vec::new())]);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, forbid, architecture).unwrap();
    let filter = BpfProgram::try_from(filter).unwrap();
    let config = SocketConfig {
        sockets: 1,
        listeners: Vec::new(),
        servers: Vec::new(),
        epoch: std::time::Instant::now(),
        waker: Arc::new(Waker::new().unwrap()),
    };
    // A filter binds the thread that applies it, and no other.
    let attempt = thread::spawn(move || {
        apply_filter(&filter).unwrap();
        UringDriver::new(config).err()
    });
    attempt.join().unwrap()
}

#[test]
fn a_seccomp_profile_that_forbids_it_is_told_with_the_remedy() {
    let refusal = attempt_under(Errno::PERM).expect("forbidden");
    assert!(matches!(refusal, UringRefusal::Forbidden | UringRefusal::SwitchedOff), "{refusal:?}");
    assert!(refusal.to_string().ends_with("use epoll"), "{refusal}");
}

#[test]
fn a_kernel_without_it_or_with_an_old_one_is_told() {
    assert_eq!(attempt_under(Errno::NOSYS), Some(UringRefusal::Absent));
    assert_eq!(attempt_under(Errno::INVAL), Some(UringRefusal::TooOld));
    assert_eq!(attempt_under(Errno::MFILE), Some(UringRefusal::Other(Errno::MFILE)));
}
