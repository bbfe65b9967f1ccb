//! What a source file may contain.

use std::fs;
use std::path::Path;

use crate::run::Runner;

/// Most lines of a file.
const LINES: usize = 700;
/// Crates that do no I/O, and show it.
const NO_STD: [&str; 7] = ["base", "pool", "spool", "wire", "exchange", "proxies", "bus"];
/// Crates some of whose files may be unsafe, and those files.
const UNSAFE: [(&str, &str); 3] =
    [("pool", "src/region.rs"), ("driver", "src/uring/ring.rs"), ("driver", "src/sockets/room.rs")];
/// Words that stand for work not done. Written apart, so that this file does not contain them.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("WI", "P"),
];

/// A Rust file: its crate, its path within the crate, its text.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    path: String,
    text: String,
}

impl Source {
    fn is_root(&self) -> bool {
        matches!(self.path.as_str(), "src/lib.rs" | "src/main.rs")
    }

    fn says(&self, what: &str) -> String {
        format!("{}/{}: {what}", self.name, self.path)
    }

    /// The code of each line, comments left out, with its number.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = (1..).zip(self.text.lines());
        numbered.map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }
}

/// Every Rust file of the house, of the tests, of what measures, and of these commands.
pub(crate) fn read(runner: &Runner) -> Vec<Source> {
    let mut all = Vec::new();
    for entry in fs::read_dir(runner.path("crates")).into_iter().flatten().flatten() {
        gather(&entry.file_name().to_string_lossy(), &entry.path(), &entry.path(), &mut all);
    }
    for name in ["xtask", "tests", "bench", "fuzz"] {
        gather(name, &runner.path(name), &runner.path(name), &mut all);
    }
    all.sort_by(|one, two| (&one.name, &one.path).cmp(&(&two.name, &two.path)));
    all
}

fn gather(name: &str, top: &Path, folder: &Path, all: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(name, top, &path, all);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let path = path.strip_prefix(top).unwrap_or(&path).display().to_string();
            all.push(Source { name: name.to_owned(), path, text });
        }
    }
}

/// A crate's root forbids unsafe code, or denies it where some files are allowed it; the lower
/// floors are `no_std`.
pub(crate) fn attributes(source: &Source) -> Vec<String> {
    if !source.is_root() {
        return Vec::new();
    }
    let has = |attribute: &str| source.text.lines().any(|line| line.trim() == attribute);
    let mut found = Vec::new();
    let some_unsafe = UNSAFE.iter().any(|(name, _)| *name == source.name);
    let denied = some_unsafe && has("#![deny(unsafe_code)]");
    if !denied && !has("#![forbid(unsafe_code)]") {
        found.push(source.says("must begin with #![forbid(unsafe_code)]"));
    }
    if NO_STD.contains(&source.name.as_str()) && !has("#![no_std]") {
        found.push(source.says("must begin with #![no_std]"));
    }
    found
}

/// `unsafe` stands where it may.
pub(crate) fn unsafe_code(source: &Source) -> Vec<String> {
    let allowed = |(name, path): &(&str, &str)| source.name == *name && source.path == *path;
    if UNSAFE.iter().any(allowed) {
        return Vec::new();
    }
    let lines = source.code().filter(|(_, code)| is_unsafe(code));
    lines.map(|(number, _)| source.says(&format!("unsafe code in line {number}"))).collect()
}

/// Whether the keyword opens a block or begins an item.
fn is_unsafe(code: &str) -> bool {
    let code = code.trim_start();
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"].iter().any(
        |opening| {
            code.find(opening).is_some_and(|at| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"')
            })
        },
    )
}

/// A file is short enough to be read in one sitting.
pub(crate) fn length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines > LINES { vec![source.says(&format!("{lines} lines"))] } else { Vec::new() }
}

/// Nothing says that it is not done.
pub(crate) fn words(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        let mut written = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = written.find(|word| UNFINISHED.contains(word)) {
            found.push(source.says(&format!("`{word}` in line {number}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, path: &str, text: &str) -> Source {
        Source { name: name.to_owned(), path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn unsafe_is_found_outside_its_files() {
        let block = concat!("let x = uns", "afe { y() };");
        assert_eq!(unsafe_code(&source("bus", "src/group.rs", block)).len(), 1);
        assert_eq!(unsafe_code(&source("pool", "src/chain.rs", block)).len(), 1);
        assert!(unsafe_code(&source("pool", "src/region.rs", block)).is_empty());
        assert_eq!(unsafe_code(&source("driver", "src/epoll.rs", block)).len(), 1);
        assert!(unsafe_code(&source("driver", "src/uring/ring.rs", block)).is_empty());
        assert!(unsafe_code(&source("bus", "src/group.rs", "// unsafe { }")).is_empty());
        assert!(unsafe_code(&source("bus", "src/lib.rs", "#![forbid(unsafe_code)]")).is_empty());
    }

    #[test]
    fn roots_say_what_they_are() {
        let forbids = "#![forbid(unsafe_code)]";
        assert!(attributes(&source("worker", "src/lib.rs", forbids)).is_empty());
        for name in NO_STD {
            assert_eq!(attributes(&source(name, "src/lib.rs", forbids)).len(), 1, "{name}");
        }
        assert_eq!(attributes(&source("worker", "src/lib.rs", "")).len(), 1);
        assert_eq!(attributes(&source("worker", "src/lib.rs", "#![deny(unsafe_code)]")).len(), 1);
        let pool = "#![no_std]\n#![deny(unsafe_code)]";
        assert!(attributes(&source("pool", "src/lib.rs", pool)).is_empty());
        assert!(attributes(&source("worker", "src/other.rs", "")).is_empty());
    }

    #[test]
    fn long_files_and_unfinished_work_are_found() {
        assert_eq!(length(&source("bus", "src/a.rs", &"\n".repeat(LINES + 1))).len(), 1);
        assert!(length(&source("bus", "src/a.rs", &"\n".repeat(LINES))).is_empty());
        let comment = concat!("// TO", "DO later");
        assert_eq!(words(&source("bus", "src/a.rs", comment)).len(), 1);
        let longer_word = concat!("// the toddler's TO", "DOS_");
        assert!(words(&source("bus", "src/a.rs", longer_word)).is_empty());
    }
}
