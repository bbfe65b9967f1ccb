//! What stands in a file that an operator wrote: all of it, if it is as short as it should be.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::quantity::Size;

/// Why a file cannot be read: what is wrong, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) why: String,
    /// Whether nothing was seen of what a file holds: it may be read the next time as it is.
    pub(crate) passes: bool,
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Self { why, passes: false }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// What stands in a file of at most so many bytes.
///
/// # Errors
/// What is wrong, without the file's name.
pub(crate) fn content(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    let told = |error: io::Error| {
        let (why, passes) = match error.kind() {
            io::ErrorKind::NotFound => {
                ("there is no such file: create it, or name another".to_owned(), false)
            }
            io::ErrorKind::PermissionDenied => {
                ("it may not be read: change its mode".to_owned(), false)
            }
            _ => (format!("it cannot be read: {error}"), true),
        };
        Unread { why, passes }
    };
    // A pipe would be waited for.
    if !path.metadata().map_err(told)?.is_file() {
        return Err("this is no file: name one".to_owned().into());
    }
    let mut content = Vec::new();
    let file = File::open(path).map_err(told)?;
    file.take(most + 1).read_to_end(&mut content).map_err(told)?;
    if content.len() as u64 > most {
        return Err(format!("it has more than {}: name another", Size(most)).into());
    }
    Ok(content)
}
