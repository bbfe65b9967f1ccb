//! Why the program ends other than orderly, and with which exit code.

use std::fmt;
use std::process::ExitCode;

/// What went wrong, in words for the one who started the program, and whose matter it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line asks for what cannot be: exit code 2.
    Usage(String),
    /// The configuration file asks for what cannot be, told line by line: exit code 2.
    Configuration(String),
    /// The machine or another program stood in the way: exit code 1.
    Run(String),
}

impl Failure {
    /// A wrong value: which flag, which value, and the remedy.
    pub(crate) fn value(flag: &str, value: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::Usage(format!("{flag} {value}: {remedy}"))
    }

    /// The exit code of DESIGN.md §5.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Configuration(_) => ExitCode::from(2),
            Self::Run(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Configuration(text) | Self::Run(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}
