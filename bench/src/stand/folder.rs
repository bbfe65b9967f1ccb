//! A folder for the files of one measurement, gone when it ends.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Outcome, While};

/// A folder that is removed with all it holds when it is dropped.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes one among the temporary files.
    pub(crate) fn new() -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("anteroom-bench-{}", std::process::id()));
        fs::create_dir_all(&path).doing(&path.display().to_string())?;
        Ok(Self { path })
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file into it; gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).doing(&path.display().to_string())?;
        Ok(path)
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
