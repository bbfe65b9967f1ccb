//! Why `io_uring` cannot be had, and what helps.

use std::fmt;

use rustix::io::Errno;

/// Where the kernel says whether it lets anybody use `io_uring`.
const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// Why `io_uring` cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UringRefusal {
    /// The administrator has switched it off for the machine (`kernel.io_uring_disabled`).
    SwitchedOff,
    /// This process may not use it: a container's seccomp profile, as a rule (EPERM).
    Forbidden,
    /// The kernel has none (ENOSYS).
    Absent,
    /// The kernel's is older than Linux 6.1 (EINVAL).
    TooOld,
    /// The kernel has no memory or descriptor for it, or a server's path is too long.
    Other(Errno),
}

impl UringRefusal {
    /// What the kernel's refusal to set a ring up means.
    pub(super) fn of(error: Errno) -> Self {
        match error {
            Errno::PERM | Errno::ACCESS if is_switched_off() => Self::SwitchedOff,
            Errno::PERM | Errno::ACCESS => Self::Forbidden,
            Errno::NOSYS => Self::Absent,
            Errno::INVAL => Self::TooOld,
            error => Self::Other(error),
        }
    }
}

impl fmt::Display for UringRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff => f.write_str(
                "io_uring is switched off on this machine: set the sysctl \
                 kernel.io_uring_disabled to 0, or use epoll",
            ),
            Self::Forbidden => f.write_str(
                "io_uring is forbidden to this process (EPERM), as by a container's seccomp \
                 profile: allow io_uring_setup, io_uring_enter and io_uring_register, or use epoll",
            ),
            Self::Absent => f.write_str(
                "this kernel has no io_uring (ENOSYS): use Linux 6.1 or newer, or use epoll",
            ),
            Self::TooOld => f.write_str(
                "this kernel's io_uring is too old (EINVAL): use Linux 6.1 or newer, or use epoll",
            ),
            Self::Other(error) => {
                let error = std::io::Error::from(*error);
                write!(f, "io_uring cannot be had: {error}: use epoll")
            }
        }
    }
}

impl std::error::Error for UringRefusal {}

/// Whether the switch is off for this process: 1 keeps all but privileged ones from it, 2 all.
fn is_switched_off() -> bool {
    std::fs::read_to_string(SWITCH).is_ok_and(|switch| switch.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_remedy() {
        for error in [Errno::PERM, Errno::NOSYS, Errno::INVAL, Errno::NOMEM, Errno::MFILE] {
            let told = UringRefusal::of(error).to_string();
            assert!(told.ends_with("use epoll"), "{told}");
        }
    }
}
