//! Files that may change while the process runs.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::thread::words;

/// Which content of a file it was: another file in its place has another stamp, and so has one that
/// was written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp(Option<[i64; 6]>);

impl Stamp {
    /// The stamp of what stands at `path` now, if anything does.
    fn of(path: &Path) -> Self {
        let numbers = |about: Metadata| {
            let signed = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
            let file = [signed(about.dev()), signed(about.ino()), signed(about.size())];
            [file[0], file[1], file[2], about.mtime(), about.mtime_nsec(), about.ctime_nsec()]
        };
        Self(path.metadata().ok().map(numbers))
    }
}

/// Some files that are read together, and which content of theirs is known.
#[derive(Clone, Debug)]
pub struct FileSet {
    files: Vec<(PathBuf, Stamp)>,
    /// Stamps that were seen once: what is still being written is not read.
    fresh: Option<Vec<Stamp>>,
}

impl FileSet {
    /// These files as they are now. To be called before they are read, so that no change after that
    /// is missed.
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamped = |path: PathBuf| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        };
        Self { files: files.into_iter().map(stamped).collect(), fresh: None }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Those that are there and that we may not read.
    pub fn shut(&self) -> impl Iterator<Item = &Path> {
        let denied = |path: &Path| {
            let tried = std::fs::File::open(path);
            tried.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
        };
        self.files.iter().map(|(path, _)| path.as_path()).filter(move |path| denied(path))
    }

    /// Whether their content is another one than is known, and has been the same for two looks. It
    /// is known from then on.
    pub fn look(&mut self) -> bool {
        let now = self.now();
        if self.files.iter().map(|(_, stamp)| stamp).eq(&now) {
            self.fresh = None;
            return false;
        }
        if self.fresh.as_ref() != Some(&now) {
            self.fresh = Some(now);
            return false;
        }
        self.know(now);
        true
    }

    /// What they hold now is known from here on, whatever was.
    pub fn note(&mut self) {
        let now = self.now();
        self.know(now);
    }

    /// Nothing is known of what they hold: what is there changed, to the next looks.
    pub fn forget(&mut self) {
        let nothing = self.files.iter().map(|_| Stamp::default()).collect();
        self.know(nothing);
    }

    fn now(&self) -> Vec<Stamp> {
        self.files.iter().map(|(path, _)| Stamp::of(path)).collect()
    }

    fn know(&mut self, stamps: Vec<Stamp>) {
        for ((_, stamp), now) in self.files.iter_mut().zip(stamps) {
            *stamp = now;
        }
        self.fresh = None;
    }
}

/// The thread that looks after files. It ends when this is dropped.
#[derive(Debug)]
pub struct FileWatch {
    _until_dropped: oneshot::Sender<()>,
}

/// Looks after sets of files, each every `pause`, on a thread of its own, and calls `tell` there
/// with the number of a set whose content changed; again after a while for as long as it answers that
/// the content could not be read. It asks for what stands at each path, so that it does not matter how
/// it came there: written, renamed, or mounted. `mourn` is told what `tell` said when it panicked: what a
/// set holds then is known, and the others are looked after as before.
///
/// # Errors
/// When the system grants no thread or what a runtime needs.
pub fn watch_files(
    mut sets: Vec<FileSet>,
    pause: Duration,
    mut tell: impl FnMut(usize) -> bool + Send + 'static,
    mourn: impl Fn(&str) + Send + 'static,
) -> std::io::Result<FileWatch> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (watch, dropped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("files".to_owned());
    thread.spawn(move || {
        runtime.block_on(async move {
            let look = async move {
                loop {
                    sleep(pause).await;
                    for (number, set) in sets.iter_mut().enumerate() {
                        if !set.look() {
                            continue;
                        }
                        match catch_unwind(AssertUnwindSafe(|| tell(number))) {
                            Ok(true) => {}
                            Ok(false) => set.forget(),
                            Err(panic) => mourn(words(panic.as_ref())),
                        }
                    }
                }
            };
            // Nothing is ever sent: it ends with its other end.
            tokio::select! {
                () = look => {}
                _ = dropped => {}
            }
        });
    })?;
    Ok(FileWatch { _until_dropped: watch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc::channel;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("anteroom-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_change_is_told_once_it_is_over() {
        let folder = folder("look");
        let (one, two) = (folder.join("one"), folder.join("two"));
        fs::write(&one, "1").unwrap();
        let mut set = FileSet::new([one.clone(), two.clone()]);
        assert!(!set.look() && !set.look(), "nothing changed");
        fs::write(&one, "12").unwrap();
        assert!(!set.look(), "it may still be written");
        fs::write(&one, "123").unwrap();
        assert!(!set.look());
        assert!(set.look() && !set.look(), "told once");
        // One that was not there, one that takes another's place, and one that goes.
        fs::write(&two, "1").unwrap();
        assert!(!set.look() && set.look());
        fs::write(folder.join("new"), "123").unwrap();
        fs::rename(folder.join("new"), &one).unwrap();
        assert!(!set.look() && set.look());
        fs::remove_file(&two).unwrap();
        assert!(!set.look() && set.look() && !set.look());
        // What is as it was before nobody needs to read.
        fs::rename(&one, &two).unwrap();
        assert!(!set.look());
        fs::rename(&two, &one).unwrap();
        let _ = set.look();
        fs::write(&one, "1234").unwrap();
        set.note();
        assert!(!set.look() && !set.look(), "it was read in between");
        set.forget();
        assert!(!set.look() && set.look() && !set.look());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_nobody_can_read_does_not_end_the_thread() {
        let folder = folder("mourn");
        let files = [folder.join("a"), folder.join("b")];
        let sets = files.iter().map(|file| FileSet::new([file.clone()])).collect();
        let (tell, told) = channel();
        let mourned = tell.clone();
        let pause = Duration::from_millis(5);
        let reread = move |number: usize| {
            assert!(number != 0, "this one panics");
            tell.send(number.to_string()).is_ok()
        };
        let mourn = move |why: &str| drop(mourned.send(why.to_owned()));
        let _watch = watch_files(sets, pause, reread, mourn).unwrap();
        let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
        fs::write(&files[0], "1").unwrap();
        assert_eq!(next(), "this one panics");
        fs::write(&files[1], "1").unwrap();
        assert_eq!(next(), "1", "another is read, and what is known is not read again");
        fs::write(&files[0], "12").unwrap();
        assert_eq!(next(), "this one panics", "it is read again when it changes");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_thread_tells_which_set_it_was_and_ends() {
        let folder = folder("watch");
        let files = [folder.join("a"), folder.join("b")];
        let sets = files.iter().map(|file| FileSet::new([file.clone()])).collect();
        let (tell, told) = channel();
        let pause = Duration::from_millis(5);
        let mut reads = 0;
        let reread = move |number| {
            reads += 1;
            let _ = tell.send(number);
            reads > 2
        };
        let watch = watch_files(sets, pause, reread, |why| panic!("{why}")).unwrap();
        fs::write(&files[1], "1").unwrap();
        // It could be read the third time.
        for _ in 0..3 {
            assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(1));
        }
        assert!(told.recv_timeout(20 * pause).is_err(), "and is known then");
        drop(watch);
        assert!(told.recv_timeout(Duration::from_secs(20)).is_err(), "its end is dropped");
        fs::remove_dir_all(folder).unwrap();
    }
}
