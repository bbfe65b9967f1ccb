//! What is asked for of the logs.

use std::fmt;
use std::path::PathBuf;

use base::limits;
use clap::ValueEnum;

use crate::settings::Tongue;

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file that is appended to, and opened again on SIGUSR1.
    File(PathBuf),
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line
    Json,
    /// The combined log format of Apache and nginx
    Common,
}

/// The logs of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// A line for each exchange, if there is to be one.
    pub(crate) access: Option<Destination>,
    /// Notes, warnings and errors.
    pub(crate) events: Destination,
    pub(crate) format: Format,
    /// Bytes of each worker's ring.
    pub(crate) buffer: u32,
    /// Bytes of what is kept of each request's head.
    pub(crate) line: u32,
    /// How it was asked for.
    pub(crate) tongue: Tongue,
}

impl LogSettings {
    /// What holds when nothing is asked for: no access log, events on standard error.
    pub(crate) const fn unasked(tongue: Tongue) -> Self {
        Self {
            access: None,
            events: Destination::Stderr,
            format: Format::Json,
            buffer: limits::LOG_BUFFER,
            line: limits::LOG_LINE,
            tongue,
        }
    }
}

/// Reads a destination. A file is told by its slash, so that no misspelt word becomes one.
///
/// # Errors
/// The remedy.
pub(crate) fn destination(text: &str) -> Result<Destination, String> {
    match text {
        "stdout" => Ok(Destination::Stdout),
        "stderr" => Ok(Destination::Stderr),
        path if path.contains('/') && !path.contains('\0') => Ok(Destination::File(path.into())),
        _ => {
            Err("write stdout, stderr or a file's path with a slash, as in ./access.log".to_owned())
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Destination {
    /// Why the file can be written neither now nor later, as far as that can be told without
    /// opening it: the remedy.
    pub(crate) fn fault(&self) -> Option<String> {
        let Self::File(path) = self else { return None };
        if path.is_dir() {
            return Some("this is a directory: name a file in it".to_owned());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
        (!folder.is_dir()).then(|| format!("there is no directory {}: create it", folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_word_or_a_path() {
        for text in ["stdout", "stderr", "./a.log", "/var/log/a.log", "logs/a"] {
            assert_eq!(destination(text).unwrap().to_string(), text);
        }
        for text in ["stdot", "", "a.log", "std/\0"] {
            assert!(destination(text).unwrap_err().contains("./access.log"), "{text}");
        }
        let fault = |text| destination(text).unwrap().fault();
        assert!(fault("/tmp/").unwrap().contains("name a file in it"));
        assert!(fault("/no-such-directory/a.log").unwrap().contains("create it"));
        assert_eq!((fault("stdout"), fault("/tmp/a.log")), (None, None));
    }
}
