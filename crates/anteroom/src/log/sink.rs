//! Where lines go: a standard stream or a file, written without ever taking the process down.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;

use super::choice::Destination;
use crate::identity::Identity;

/// An open destination.
#[derive(Debug)]
pub(crate) struct Sink {
    to: Destination,
    file: File,
    /// The last thing written is the beginning of a line whose rest was lost.
    torn: bool,
}

/// What could not be written.
#[derive(Debug)]
pub(crate) struct Unwritten {
    /// Lines lost, in whole or in part.
    pub(crate) lines: u64,
    pub(crate) error: io::Error,
}

impl Sink {
    /// Opens `to`; a file that is created belongs to `owner`, so that it can be opened again
    /// when root was given up.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(to: Destination, owner: Option<&Identity>) -> io::Result<Self> {
        let file = match &to {
            // Past the library's own buffer, which would keep what could not be written.
            Destination::Stdout => io::stdout().as_fd().try_clone_to_owned()?.into(),
            Destination::Stderr => io::stderr().as_fd().try_clone_to_owned()?.into(),
            Destination::File(path) => open(path, owner)?,
        };
        Ok(Self { to, file, torn: false })
    }

    /// Where it goes.
    pub(crate) const fn destination(&self) -> &Destination {
        &self.to
    }

    /// Opens a file anew under its name, and writes there from now on. Standard streams stay as
    /// they are.
    ///
    /// # Errors
    /// What the system says; the old file is kept then.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        if let Destination::File(path) = &self.to {
            self.file = open(path, None)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Writes whole lines, however long that takes.
    ///
    /// # Errors
    /// What was lost.
    pub(crate) fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let mut left = lines;
        let written = self.write_some(&mut left);
        let lost = || left.split(|byte| *byte == b'\n').skip(1).count() as u64;
        // A line is torn if its end did not follow its beginning.
        let begun = lines.len() - left.len();
        if begun > 0 {
            self.torn = !lines[..begun].ends_with(b"\n");
        }
        written.map_err(|error| Unwritten { lines: lost(), error })
    }

    fn write_some(&mut self, left: &mut &[u8]) -> io::Result<()> {
        // The streams' own locks keep lines of several threads apart.
        let (mut out, mut err);
        match self.to {
            Destination::Stdout => {
                out = io::stdout().lock();
                out.flush()?;
            }
            Destination::Stderr => {
                err = io::stderr().lock();
                err.flush()?;
            }
            Destination::File(_) => {}
        }
        if self.torn {
            self.push(&mut &b"\n"[..])?;
            self.torn = false;
        }
        self.push(left)
    }

    fn push(&mut self, left: &mut &[u8]) -> io::Result<()> {
        while !left.is_empty() {
            match self.file.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => *left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A pipe that somebody made non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Opens a file to append to. A pipe that nobody reads is refused instead of waited for.
fn open(path: &Path, owner: Option<&Identity>) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let options = || {
        let mut options = OpenOptions::new();
        options.append(true).mode(0o640).custom_flags(flags);
        options
    };
    match options().create_new(true).open(path) {
        Ok(file) => {
            if let Some(owner) = owner {
                owner.give(&file)?;
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            options().create(true).open(path)
        }
        Err(error) => Err(error),
    }
}

/// What to do about a file that cannot be opened.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create its directory",
        io::ErrorKind::PermissionDenied => "let the user that anteroom runs as write there",
        io::ErrorKind::IsADirectory => "name a file in it",
        io::ErrorKind::ReadOnlyFilesystem => "name a file elsewhere",
        _ => "name another file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn temporary(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("anteroom-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_file_is_appended_to_and_left_when_it_is_opened_anew() {
        let (path, moved) = (temporary("sink.log"), temporary("sink.log.1"));
        fs::write(&path, "before\n").unwrap();
        let mut sink = Sink::open(Destination::File(path.clone()), None).unwrap();
        sink.write(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        sink.write(b"two\n").unwrap();
        sink.reopen().unwrap();
        sink.write(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "before\none\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(sink.reopen().is_err(), "a directory is in its place");
        fs::remove_dir(&path).unwrap();
        sink.write(b"four\n").unwrap();
        fs::remove_file(moved).unwrap();
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted() {
        let mut sink = Sink::open(Destination::File("/dev/full".into()), None).unwrap();
        let lost = sink.write(b"one\ntwo\nthree\n").unwrap_err();
        assert_eq!((lost.lines, lost.error.kind()), (3, io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_line_that_was_torn_does_not_spoil_the_next() {
        let path = temporary("torn.log");
        let mut sink = Sink::open(Destination::File(path.clone()), None).unwrap();
        sink.write(b"half a li").unwrap();
        sink.write(b"whole\n").unwrap();
        sink.write(b"whole\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "half a li\nwhole\nwhole\n");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_pipe_without_a_reader_is_refused_at_once() {
        let path = temporary("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(Sink::open(Destination::File(path.clone()), None).is_err());
        fs::remove_file(path).unwrap();
    }
}
