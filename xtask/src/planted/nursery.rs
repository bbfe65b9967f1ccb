//! Where bugs are planted: a copy of the sources that are tracked, with a target folder of its
//! own, so that each bug rebuilds only what it changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::planted::plant::{Changed, Plant};
use crate::run::{Done, Runner, cargo};

/// How long one build may take.
const BUILD: Duration = Duration::from_mins(20);

/// The copy.
#[derive(Debug)]
pub(crate) struct Nursery {
    runner: Runner,
    root: PathBuf,
    target: PathBuf,
}

impl Nursery {
    /// Brings the copy to the state of the sources. A file that is the same is not touched, so
    /// that nothing is built anew because of it.
    pub(crate) fn new(source: &Runner) -> io::Result<Self> {
        let home = source.target().join("planted");
        let (root, target) = (home.join("sources"), home.join("target"));
        let files = tracked(&source.path(""))?;
        for file in &files {
            copy(&source.path("").join(file), &root.join(file))?;
        }
        forget_others(&root, &root, &files)?;
        Ok(Self { runner: Runner::new(root.clone()), root, target })
    }

    /// Where its sources are.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Plants a bug until [`clear`](Self::clear).
    pub(crate) fn plant(&self, plant: &Plant) -> Result<Vec<Changed>, String> {
        let changed = plant.changed(&self.root)?;
        for it in &changed {
            self.write(&it.file, &it.after)?;
        }
        Ok(changed)
    }

    /// Takes a bug out again.
    pub(crate) fn clear(&self, changed: &[Changed]) -> Result<(), String> {
        changed.iter().try_for_each(|it| self.write(&it.file, &it.before))
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        fs::write(self.root.join(file), text).map_err(|error| format!("{file}: {error}"))
    }

    /// Builds the simulator.
    pub(crate) fn build(&self) -> Done {
        let arguments =
            ["build", "--quiet", "--profile", "sim", "--package", "sim", "--bin", "sim"];
        let mut build = cargo(&arguments);
        build.env("CARGO_TARGET_DIR", &self.target);
        // What is built once for each bug is built quickly.
        for (key, value) in [("OPT_LEVEL", "1"), ("DEBUG", "0"), ("INCREMENTAL", "true")] {
            build.env(format!("CARGO_PROFILE_SIM_{key}"), value);
        }
        self.runner.quietly(&mut build, BUILD)
    }

    /// Builds the simulator without a bug, and keeps it.
    pub(crate) fn build_healthy(&self) -> Done {
        let mut built = self.build();
        if let Err(error) = fs::copy(self.sim(), self.healthy())
            && built.held
        {
            built = Done { held: false, output: error.to_string() };
        }
        built
    }

    /// Runs the simulator that was built last.
    pub(crate) fn run(&self, arguments: &[&str], limit: Duration) -> Done {
        self.runner.quietly(Command::new(self.sim()).args(arguments), limit)
    }

    /// Runs the one without a bug.
    pub(crate) fn run_healthy(&self, arguments: &[&str], limit: Duration) -> Done {
        self.runner.quietly(Command::new(self.healthy()).args(arguments), limit)
    }

    fn sim(&self) -> PathBuf {
        self.target.join("sim/sim")
    }

    fn healthy(&self) -> PathBuf {
        self.target.join("sim-healthy")
    }
}

/// The files that git knows or would be told of, as they are now.
fn tracked(root: &Path) -> io::Result<Vec<PathBuf>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(arguments).current_dir(root).output()?;
    if !listed.status.success() {
        return Err(io::Error::other("git does not list the sources"));
    }
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    // One that was deleted and not yet told to git is listed, too.
    Ok(files.filter(|file| root.join(file).is_file()).collect())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let text = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, text)
}

/// Removes what is in the copy and not among the sources any more.
fn forget_others(root: &Path, folder: &Path, files: &[PathBuf]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_others(root, &path, files)?;
        } else if path.strip_prefix(root).is_ok_and(|file| !files.iter().any(|it| it == file)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
