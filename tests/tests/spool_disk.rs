//! Disks that cannot be had, fail or hang: who needs them is told, nobody else notices.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use blackbox::folder::Folder;
use blackbox::large::{
    Content, MIB, assert_prompt, assert_spool_empty, download, patient, server, tight, upload,
};
use blackbox::proxy::{Anteroom, Setup, command};
use blackbox::tools::skip;
use blackbox::wait::{eventually, pause};

#[test]
fn a_spool_that_cannot_be_had_stops_the_start_if_it_was_asked_for() {
    let run = |arguments: &[&str]| {
        let basic = ["proxy", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9"];
        let start = Instant::now();
        let done = command(&[&basic[..], arguments].concat()).output().expect("it runs");
        assert!(start.elapsed() < Duration::from_secs(5), "{arguments:?}: {:?}", start.elapsed());
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, told) = run(&["--spool-size", "32TiB"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("make the spool smaller or name another directory"), "{told}");
    assert!(told.contains("/var/tmp"), "{told}");
    if std::path::Path::new("/dev/shm").is_dir() {
        let (code, told) = run(&["--spool", "/dev/shm"]);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains("lies in memory"), "{told}");
    }
}

/// Whether this process may mount something, as root in most containers may not.
fn may_mount() -> bool {
    let mut attempt = std::process::Command::new("unshare");
    attempt.args(["--mount", "mount", "-t", "tmpfs", "none", "/var/tmp"]);
    let may = attempt.output().is_ok_and(|done| done.status.success());
    if !may {
        skip("a spool's default directory that will not do: nothing can be mounted here");
    }
    may
}

#[test]
fn a_default_directory_that_will_not_do_is_done_without() {
    if !may_mount() {
        return;
    }
    let content = Arc::new(Content::new());
    let (upstream, _) = server(&content);
    for options in ["ro", "rw"] {
        let prelude = format!("mount -t tmpfs -o {options} none /var/tmp");
        let mut proxy = Setup::new(upstream.address()).in_namespace(&prelude).start();
        assert!(proxy.process().output().contains("warning: no spool"), "it says so");
        let mut client = patient(&proxy);
        assert_eq!(client.get("/100000").body.len(), 100_000);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
        assert_eq!(client.response().status, 413);
        proxy.finish();
    }
}

/// Starts a proxy whose long reads or writes at an offset fail with EIO.
#[expect(clippy::unwrap_used, reason = "a filter that is known to be sound")]
fn on_a_failing_disk(setup: Setup, write: bool) -> Anteroom {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter,
    };
    let [pread, pwrite] = if cfg!(target_arch = "x86_64") { [17, 18] } else { [67, 68] };
    // What the loader reads is short.
    let long = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ge, 2000).unwrap();
    let rules = [(if write { pwrite } else { pread }, vec![SeccompRule::new(vec![long]).unwrap()])];
    let fails = SeccompAction::Errno(5);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules.into(), SeccompAction::Allow, fails, architecture);
    let filter = BpfProgram::try_from(filter.unwrap()).unwrap();
    // A filter binds the thread that applies it and what that starts.
    let start = move || {
        apply_filter(&filter).unwrap();
        setup.start()
    };
    std::thread::spawn(start).join().unwrap()
}

#[test]
fn a_disk_that_cannot_write_refuses_uploads_and_harms_nobody() {
    let content = Arc::new(Content::new());
    let (upstream, _) = server(&content);
    let mut proxy = on_a_failing_disk(tight(&upstream), true);
    let refused = |proxy: &Anteroom| {
        let mut client = patient(proxy);
        let _ = upload(&mut client, &content, "/up", 3 * MIB);
        assert_eq!(client.response().status, 507);
    };
    refused(&proxy);
    let failures = || proxy.figure("anteroom_spool_failures_total", &[]);
    let first = failures();
    assert!(first > 0.0);
    assert_prompt(&proxy);
    // For a while nothing is tried again.
    refused(&proxy);
    assert!(failures() <= first, "it was tried again");
    // A response waits for its client in the pool, and is whole.
    let mut slow = download(patient(&proxy), 16 * MIB);
    pause(300);
    content.check(0, 16 * MIB, &mut slow).expect("all of it");
    drop(slow);
    eventually("the operator to be told", || {
        proxy.process().output().contains("warning: the spool's disk failed").then_some(())
    });
    assert_spool_empty(&proxy);
    proxy.finish();
}

#[test]
fn a_disk_that_cannot_read_refuses_what_it_lost_and_harms_nobody() {
    let content = Arc::new(Content::new());
    let (upstream, _) = server(&content);
    let proxy = on_a_failing_disk(tight(&upstream), false);
    let mut client = patient(&proxy);
    let _ = upload(&mut client, &content, "/up", 3 * MIB);
    assert_eq!(client.response().status, 507);
    assert!(proxy.figure("anteroom_spool_failures_total", &[]) > 0.0);
    assert_prompt(&proxy);
    assert_spool_empty(&proxy);
    proxy.finish();
}

/// A file system of its own that can be made to hang.
struct Frozen {
    folder: Folder,
    at: String,
}

impl Frozen {
    fn new() -> Option<Self> {
        let folder = Folder::new();
        let (image, at) = (folder.file("image"), folder.file("disk"));
        let done = |program: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(program);
            let path = std::env::var("PATH").unwrap_or_default();
            command.args(arguments).env("PATH", format!("{path}:/usr/sbin:/sbin"));
            command.output().is_ok_and(|done| done.status.success())
        };
        std::fs::create_dir(&at).expect("a directory");
        let there = done("truncate", &["-s", "96M", &image])
            && done("mkfs.ext4", &["-q", "-F", &image])
            && done("mount", &["-o", "loop", &image, &at]);
        if !there {
            skip("a disk that hangs: no file system of its own can be mounted here");
            return None;
        }
        Some(Self { folder, at })
    }

    fn freeze(&self, how: &str) {
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = std::process::Command::new("fsfreeze");
        let _ = command.args([how, &self.at]).env("PATH", path).output();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.freeze("--unfreeze");
        // A process that has just ended may hold it for a moment.
        for _ in 0..100 {
            let mut command = std::process::Command::new("umount");
            if command.arg(&self.at).output().is_ok_and(|done| done.status.success()) {
                break;
            }
            pause(20);
        }
        let _ = self.folder.path();
    }
}

#[test]
fn a_disk_that_hangs_keeps_only_those_who_need_it() {
    let Some(disk) = Frozen::new() else { return };
    let content = Arc::new(Content::new());
    let (upstream, deeds) = server(&content);
    let proxy = Setup::new(upstream.address())
        .with("--workers", 1)
        .with("--spool", &disk.at)
        .with("--spool-size", "64MiB")
        .start();
    disk.freeze("--freeze");
    let mut slow = download(patient(&proxy), 24 * MIB);
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| {
            let mut client = patient(&proxy);
            upload(&mut client, &content, "/up", 32 * MIB).expect("it is taken in the end");
            client.response().status
        });
        proxy.until("the disk to be awaited", |m| m.sum("anteroom_spool_waits_total", &[]) > 0.0);
        assert_prompt(&proxy);
        assert_eq!(deeds.right.load(SeqCst), 0);
        disk.freeze("--unfreeze");
        assert_eq!(upload.join().expect("it went well"), 200);
    });
    content.check(0, 24 * MIB, &mut slow).expect("all of it");
    drop(slow);
    assert_spool_empty(&proxy);
    proxy.finish();
}
