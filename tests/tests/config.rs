//! Configuration files: served, checked, refused with the place and the remedy; root given up.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use blackbox::client::Client;
use blackbox::folder::Folder;
use blackbox::process::Process;
use blackbox::proxy::{Anteroom, binary, command};
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::pause;

/// What every file here begins with.
fn top() -> String {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    format!("io = \"{io}\"\nadmin = \"127.0.0.1:0\"\n")
}

/// A listener at a free port that leads to this upstream.
fn listen(upstream: &str, more: &str) -> String {
    format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nproxy = \"http\"\nupstream = \"{upstream}\"\n{more}\n"
    )
}

/// A group of one server.
fn group(name: &str, upstream: &Upstream, more: &str) -> String {
    let address = upstream.address();
    format!("[[upstream]]\nname = \"{name}\"\nservers = [\"{address}\"]\n{more}\n")
}

/// A server that says its own name.
fn named(name: &'static str) -> Upstream {
    Upstream::http(move |_, _, stream| {
        respond(stream, 200, name.as_bytes())?;
        Ok(Next::Keep)
    })
}

/// Runs a command to its end: the code and what it said.
fn ran(command: &mut Command) -> (Option<i32>, String) {
    let mut process = Process::start(command);
    let code = process.wait(Duration::from_secs(10)).code();
    pause(50);
    (code, process.output())
}

/// `anteroom check` on a file with this content.
fn check(content: impl AsRef<[u8]>) -> (Option<i32>, String) {
    let folder = Folder::new();
    let file = folder.write("app.toml", content);
    ran(&mut command(&["check", &file]))
}

#[test]
fn listeners_lead_to_their_own_upstreams_with_their_own_limits() {
    let (pages, api) = (named("pages"), named("api"));
    let folder = Folder::new();
    let content = [
        top(),
        "workers = 1\n".to_owned(),
        listen("pages", "max_body = 100"),
        listen("api", "max_target = 100"),
        group("pages", &pages, "connections = 3"),
        group("api", &api, "connections = 5\npersistent = false"),
    ];
    let proxy = Anteroom::run(&folder.write("two.toml", content.concat()));
    let client = |place: usize| Client::new(&proxy.addresses()[place]);
    let long = format!("/{}", "x".repeat(200));
    for _ in 0..3 {
        assert_eq!(client(0).get("/").text(), "pages");
        assert_eq!(client(1).get("/").text(), "api");
    }
    assert_eq!(client(0).post("/", &[b'x'; 101]).status, 413);
    assert_eq!(client(1).post("/", &[b'x'; 101]).text(), "api");
    assert_eq!(client(0).get(&long).text(), "pages");
    assert_eq!(client(1).get(&long).status, 414);
    assert_eq!((pages.accepted(), api.accepted()), (1, 4), "one is kept open, the other is not");
    let metrics = proxy.quiet();
    for (name, most, connects) in [("pages", 3.0, 1.0), ("api", 5.0, 4.0)] {
        let sum = |metric| metrics.sum(metric, &[("upstream", name)]);
        assert!((sum("anteroom_upstream_connections_max") - most).abs() < f64::EPSILON);
        assert!((sum("anteroom_upstream_connects_total") - connects).abs() < f64::EPSILON);
    }
    let status = proxy.ask("/status").text();
    assert!(status.contains("\"upstream\":\"pages\""), "{status}");
    proxy.finish();
}

#[test]
fn each_group_has_its_own_bound_and_its_own_queue() {
    let slow = || {
        Upstream::http(|_, _, stream| {
            pause(300);
            respond(stream, 200, b"done")?;
            Ok(Next::Keep)
        })
    };
    let (one, other) = (slow(), slow());
    let folder = Folder::new();
    let content = [
        top(),
        "workers = 2\n".to_owned(),
        listen("one", ""),
        listen("other", ""),
        group("one", &one, "connections = 1\nqueue = { length = 2 }"),
        group("other", &other, "connections = 4"),
    ];
    let proxy = Anteroom::run(&folder.write("two.toml", content.concat()));
    let ask = |place: usize| -> Vec<u16> {
        let clients: Vec<Client> = (0..8)
            .map(|_| {
                let mut client = Client::new(&proxy.addresses()[place]);
                client.send(blackbox::client::get("/"));
                client
            })
            .collect();
        clients.into_iter().map(|mut client| client.response().status).collect()
    };
    let statuses = ask(0);
    assert!(statuses.contains(&503), "the short queue is full: {statuses:?}");
    assert!(statuses.contains(&200), "and yet some are served: {statuses:?}");
    assert_eq!(ask(1), [200; 8], "the other queue is long");
    assert_eq!(one.most_open(), 1);
    assert!((2..=4).contains(&other.most_open()), "{}", other.most_open());
    proxy.finish();
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_ends_with_2() {
    let folder = Folder::new();
    let content =
        "memroy = \"1GiB\"\n[[listen]]\naddress = \":8080\"\n\n[[upstream]]\nservers = []\n";
    let file = folder.write("bad.toml", content);
    for subcommand in ["check", "run"] {
        let (code, said) = ran(&mut command(&[subcommand, &file]));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("{file}:1:1: error: unknown key `memroy`")), "{said}");
        assert!(
            said.contains("did you mean `memory`?\n   |\n 1 | memroy = \"1GiB\"\n   | ^^^^^^\n")
        );
        assert!(said.contains(&format!("{file}:6:11: error: `servers` is empty")), "{said}");
        assert!(!said.contains("can be served"), "{said}");
    }
}

#[test]
fn files_that_are_none_end_with_2() {
    let folder = Folder::new();
    let nowhere = folder.file("nowhere.toml");
    let (code, said) = ran(&mut command(&["run", &nowhere]));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nowhere.toml") && said.contains("check --defaults"), "{said}");
    let (code, said) = ran(&mut command(&["check", &folder.path().display().to_string()]));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("name the file in it"), "{said}");
    let (code, said) = check(b"memory = \"\xff\"\n");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("app.toml:1:11: error: byte 0xff is no UTF-8"), "{said}");
    let (code, said) = check("");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no [[listen]]") && said.contains("no [[upstream]]"), "{said}");
    let (code, said) = ran(&mut command(&["run"]));
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn check_prints_the_budget() {
    let content = "memory = \"8MiB\"\nworkers = 2\nmax_clients = 1000\n[[listen]]\n\
                   address = \":8080\"\n[[upstream]]\nservers = [\":9\"]\n";
    let (code, said) = check(content);
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "can be served",
        "buffers of the pools",
        "4,096 =",
        "clients",
        "exchanges",
        "ready queues",
        "worst case in total",
        "(1,000 for clients, ",
        "the limit is",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
}

#[test]
fn check_refuses_more_clients_than_descriptors() {
    let folder = Folder::new();
    let file = folder.write(
        "app.toml",
        "max_clients = 1000\n[[listen]]\naddress = \":80\"\n[[upstream]]\nservers = [\":9\"]\n",
    );
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 900; exec \"$0\" check \"$1\""]).arg(binary()).arg(&file);
    let (code, said) = ran(&mut limited);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(":1:15: error: max_clients = 1000"), "{said}");
    assert!(said.contains("ulimit -n "), "{said}");
}

#[test]
fn warnings_do_not_keep_it_from_serving() {
    let pages = Upstream::pages();
    let folder = Folder::new();
    let content = [
        top(),
        listen("pages", ""),
        group("pages", &pages, ""),
        group("spare", &Upstream::pages(), ""),
    ];
    let file = folder.write("app.toml", content.concat());
    let (code, said) = ran(&mut command(&["check", &file]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning: no [[listen]] leads to the upstream \"spare\""), "{said}");
    let mut proxy = Anteroom::run(&file);
    assert!(proxy.process().output().contains("warning: no [[listen]] leads"));
    assert_eq!(proxy.client().get("/").status, 200);
    proxy.finish();
}

#[test]
fn the_printed_defaults_pass_the_check() {
    let mut process = Process::start(&mut command(&["check", "--defaults"]));
    assert_eq!(process.wait(Duration::from_secs(10)).code(), Some(0));
    pause(50);
    let defaults = process.output();
    for key in ["memory = \"64MiB\"", "first_byte = \"60s\"", "connections = 8", "# max_clients"] {
        assert!(defaults.contains(key), "no {key} in {defaults}");
    }
    let (code, said) = check(defaults);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn every_example_passes_the_check() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files = std::fs::read_dir(examples).expect("the examples").flatten();
    let files: Vec<PathBuf> = files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let (code, said) = ran(&mut command(&["check", &file.display().to_string()]));
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("warning"), "{said}");
    }
}

#[test]
fn a_taken_address_ends_with_1() {
    let holder = Upstream::pages();
    let folder = Folder::new();
    let content = format!(
        "[[listen]]\naddress = \"{}\"\nproxy = \"http\"\n[[upstream]]\nservers = [\":1\"]\n",
        holder.address()
    );
    let (code, said) = ran(&mut command(&["run", &folder.write("app.toml", content)]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(holder.address()), "it names the address: {said}");
}

/// The user and the group that everybody has who has no name.
const NOBODY: [u32; 2] = [65_534, 65_534];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// One line of each thread's status, its name left out.
fn of_every_thread(process: u32, line: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("the threads");
    let read = |thread: std::fs::DirEntry| {
        let status = std::fs::read_to_string(thread.path().join("status")).expect("a status");
        let found = status.lines().find_map(|it| it.strip_prefix(line));
        found.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    threads.flatten().map(read).collect()
}

/// Only root can show it; `cargo xtask test` runs as root where it installs what it needs.
#[test]
fn root_is_given_up_once_the_addresses_are_bound() {
    if !is_root() {
        blackbox::tools::skip("only root can give root up");
        return;
    }
    let pages = Upstream::pages();
    let folder = Folder::new();
    let [user, group_id] = NOBODY;
    let content = [
        top(),
        format!("workers = 2\nuser = \"{user}\"\ngroup = \"{group_id}\"\n"),
        // A port that only root may bind, on an address that nobody else uses.
        "[[listen]]\naddress = \"127.83.11.7:80\"\nupstream = \"pages\"\n".to_owned(),
        group("pages", &pages, ""),
    ];
    let mut proxy = Anteroom::run(&folder.write("app.toml", content.concat()));
    assert_eq!(proxy.address(), "127.83.11.7:80");
    assert_eq!(proxy.client().get("/").status, 200);
    let process = proxy.process().id();
    let users = of_every_thread(process, "Uid:");
    assert!(users.len() >= 3, "the master and two workers: {users:?}");
    assert!(users.iter().all(|ids| *ids == format!("{user} {user} {user} {user}")), "{users:?}");
    let groups = of_every_thread(process, "Gid:");
    let expected = [group_id; 4].map(|id| id.to_string()).join(" ");
    assert!(groups.iter().all(|ids| *ids == expected), "{groups:?}");
    for more in of_every_thread(process, "Groups:") {
        assert!(!more.split(' ').any(|group| group == "0"), "root's groups are kept: {more}");
    }
    for capabilities in of_every_thread(process, "CapEff:") {
        assert_eq!(capabilities, "0000000000000000", "no privilege is left");
    }
    proxy.finish();
}

/// A copy of the binary that everybody can start.
fn shared_binary(folder: &Folder) -> PathBuf {
    let path = folder.path().join("anteroom");
    std::fs::copy(binary(), &path).expect("a copy of the binary");
    let everybody = |path: &Path| {
        let mode = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("permissions");
    };
    everybody(&path);
    everybody(folder.path());
    path
}

/// The same command, as somebody who is not root.
fn as_nobody(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(shared_binary(folder));
    command.args(arguments);
    if is_root() {
        let [user, group] = NOBODY;
        command.uid(user).gid(group);
    }
    ran(&mut command)
}

#[test]
fn who_is_not_root_cannot_become_another() {
    let pages = Upstream::pages();
    let folder = Folder::new();
    let content =
        [top(), "user = \"root\"\n".to_owned(), listen("pages", ""), group("pages", &pages, "")];
    let file = folder.write("app.toml", content.concat());
    let (code, said) = as_nobody(&folder, &["run", &file]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot become the user root: only root can"), "{said}");
    assert!(!said.contains("anteroom ready"), "{said}");
}

#[test]
fn a_file_that_may_not_be_read_ends_with_2() {
    let folder = Folder::new();
    let file = folder.write("app.toml", "");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o000)).expect("permissions");
    let (code, said) = as_nobody(&folder, &["check", &file]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("this user must be able to read it"), "{said}");
}
