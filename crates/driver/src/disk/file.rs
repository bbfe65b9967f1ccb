//! The file itself: it has no name, so that it is gone with the process whatever happens.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, StatFs, fallocate, fstatfs, openat, unlinkat,
};
use rustix::io::Errno;

/// What `statfs` calls file systems that live in memory: tmpfs and ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The spool's file, its space set aside.
#[derive(Debug)]
pub struct SpoolFile(pub(crate) File);

/// Why there is no such file.
#[derive(Debug)]
pub enum SpoolError {
    /// No file can be made in the directory.
    Open(PathBuf, io::Error),
    /// The directory is in memory, which is what the spool is to relieve.
    InMemory(PathBuf),
    /// The file system cannot set space aside.
    NoPreallocation(PathBuf),
    /// There are not so many bytes free, or no file there may have so many.
    NoSpace(PathBuf, u64),
    /// Setting the space aside failed.
    Allocate(PathBuf, u64, Errno),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(dir, why) => write!(
                f,
                "no file can be made in {}: {why}; name a directory on a disk",
                dir.display()
            ),
            Self::InMemory(dir) => {
                write!(f, "{} lies in memory (tmpfs): name a directory on a disk", dir.display())
            }
            Self::NoPreallocation(dir) => write!(
                f,
                "the file system of {} cannot set space aside: name another directory",
                dir.display()
            ),
            Self::NoSpace(dir, bytes) => write!(
                f,
                "{} has no room for {bytes} bytes: make the spool smaller or name another \
                 directory",
                dir.display()
            ),
            Self::Allocate(dir, bytes, why) => {
                write!(f, "{bytes} bytes cannot be set aside in {}: {why}", dir.display())
            }
        }
    }
}

impl std::error::Error for SpoolError {}

impl SpoolFile {
    /// Whether [`create`](Self::create) would succeed, as far as that can be seen without
    /// setting anything aside.
    ///
    /// # Errors
    /// See [`SpoolError`]; nothing is left behind.
    pub fn trial(dir: &Path, bytes: u64) -> Result<(), SpoolError> {
        let (_, there) = nameless_on_disk(dir)?;
        let free = there.f_bavail.saturating_mul(u64::try_from(there.f_bsize).unwrap_or(0));
        if free < bytes { Err(SpoolError::NoSpace(dir.to_owned(), bytes)) } else { Ok(()) }
    }

    /// Makes a file of `bytes` bytes in the directory `dir`.
    ///
    /// # Errors
    /// See [`SpoolError`]; nothing is left behind.
    pub fn create(dir: &Path, bytes: u64) -> Result<Self, SpoolError> {
        let (file, _) = nameless_on_disk(dir)?;
        match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                Err(SpoolError::NoPreallocation(dir.to_owned()))
            }
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
                Err(SpoolError::NoSpace(dir.to_owned(), bytes))
            }
            Err(errno) => Err(SpoolError::Allocate(dir.to_owned(), bytes, errno)),
        }
    }
}

/// A file without a name on something that is no memory, and what is known of that.
fn nameless_on_disk(dir: &Path) -> Result<(File, StatFs), SpoolError> {
    let failed = |errno: Errno| SpoolError::Open(dir.to_owned(), errno.into());
    let file = nameless(dir).map_err(failed)?;
    let there = fstatfs(&file).map_err(failed)?;
    if IN_MEMORY.iter().any(|&magic| u64::try_from(there.f_type) == Ok(magic)) {
        return Err(SpoolError::InMemory(dir.to_owned()));
    }
    Ok((file, there))
}

/// A file that never has a name, or, where the file system knows none of those, has it for a
/// moment.
fn nameless(dir: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match openat(CWD, dir, flags | OFlags::TMPFILE, mode) {
        Ok(file) => Ok(file.into()),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let name = dir.join(format!("anteroom-spool-{}", std::process::id()));
            let file = openat(CWD, &name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
            unlinkat(CWD, &name, AtFlags::empty())?;
            Ok(file.into())
        }
        Err(errno) => Err(errno),
    }
}
