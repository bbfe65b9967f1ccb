//! The access log and events: every exchange told once, nothing forged, nothing lost when files
//! are turned, and nobody held up by a log that nobody reads.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use blackbox::client::{Client, get};
use blackbox::folder::Folder;
use blackbox::process::Process;
use blackbox::proxy::{Anteroom, Setup, command};
use blackbox::upstream::Upstream;
use blackbox::wait::{eventually, pause, within};

/// A file that serves `pages` and logs as `log` says.
fn file(folder: &Folder, pages: &Upstream, log: &str) -> String {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let content = format!(
        "io = \"{io}\"\nworkers = 2\nadmin = \"127.0.0.1:0\"\nlog = {{ {log} }}\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nproxy = \"http\"\n\
         [[upstream]]\nname = \"app\"\nservers = [\"{}\"]\n",
        pages.address()
    );
    folder.write("app.toml", content)
}

fn lines(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// Every whole line as an object.
fn objects(text: &str) -> Vec<Value> {
    let whole = text.split_inclusive('\n').filter(|line| line.starts_with('{'));
    whole
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Waits until so many lines are there.
fn wait_lines(path: &str, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines in {path}"), || {
        Some(lines(path)).filter(|lines| lines.len() >= count)
    })
}

fn run_code(arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = Process::start(&mut command(arguments));
    let code = process.wait(Duration::from_secs(10)).code();
    pause(50);
    (code, process.output())
}

#[test]
fn json_on_standard_output() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let log = "access = \"stdout\", format = \"json\"";
    let mut proxy = Anteroom::run(&file(&folder, &pages, log));
    let mut client = proxy.client();
    let request = "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test/1\r\n\
                   Authorization: Basic c2VjcmV0\r\nCookie: secret=1\r\nReferer: http://r/\r\n\r\n";
    let response = client.send(request).response();
    assert_eq!(response.status, 200);
    assert_eq!(client.send("BAD\r\n\r\n").response().status, 400);
    let told = eventually("two lines", || {
        Some(objects(&proxy.process().output())).filter(|told| told.len() == 2)
    });
    let first = &told[0];
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("listener", proxy.address()),
        ("method", "GET"),
        ("target", "/a?b=c"),
        ("protocol", "HTTP/1.1"),
        ("host", "example.org"),
        ("upstream", "app"),
        ("server", pages.address()),
        ("user_agent", "test/1"),
        ("referer", "http://r/"),
    ] {
        assert_eq!(first[key], value, "{first}");
    }
    assert_eq!((&first["status"], &first["retries"]), (&200.into(), &0.into()), "{first}");
    assert_eq!(first["bytes_received"], request.len(), "{first}");
    assert!(first["bytes_sent"].as_u64().unwrap() > response.body.len() as u64, "{first}");
    let seconds = |key: &str| first[key].as_f64().unwrap_or_else(|| panic!("{key}: {first}"));
    assert!(seconds("request_seconds") >= seconds("upstream_seconds"), "{first}");
    assert!(first["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24));
    let second = &told[1];
    assert_eq!((&second["status"], &second["refusal"]), (&400.into(), &"malformed".into()));
    assert!(second["detail"].is_string() && second.get("server").is_none(), "{second}");
    assert!(!proxy.process().output().contains("c2VjcmV0"));
    assert!(!proxy.process().output().contains("secret"));
    proxy.finish();
}

#[test]
fn the_combined_format_in_a_file_and_no_forged_line() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let path = folder.file("access.log");
    let setup = Setup::new(pages.address()).with("--access-log", &path);
    let proxy = setup.with("--log-format", "common").start();
    let mut client = proxy.client();
    let forged = "x\" 200 1 \"-\" \"-\"";
    client.send(format!(
        "GET /\"a\\b HTTP/1.1\r\nHost: h\r\nUser-Agent: {forged}\u{e9}\r\nReferer: \"\t\"\r\n\r\n"
    ));
    assert_eq!(client.response().status, 200);
    client.get("/plain");
    let all = wait_lines(&path, 2);
    let (start, rest) = all[0].split_once(" [").unwrap();
    assert_eq!(start, "127.0.0.1 - -");
    let (time, rest) = rest.split_once("] ").unwrap();
    assert_eq!(
        (time.len(), &time[2..3], &time[21..]),
        ("26/Nov/2026:13:19:59 +0000".len(), "/", "+0000")
    );
    assert!(rest.starts_with("\"GET /\\x22a\\x5Cb HTTP/1.1\" 200 "), "{rest}");
    assert!(rest.contains("\"\\x22\\x09\\x22\" \"x\\x22 200 1 \\x22-\\x22"), "{rest}");
    assert!(rest.is_ascii() && rest.matches('"').count() == 6, "{rest}");
    assert!(all[1].contains("\"GET /plain HTTP/1.1\" 200 "), "{}", all[1]);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    proxy.finish();
    assert_eq!(lines(&path).len(), 2);
}

#[test]
fn the_end_waits_for_every_line() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let path = folder.file("access.log");
    let mut proxy =
        Anteroom::run(&file(&folder, &pages, &format!("access = \"{path}\", buffer = \"8MiB\"")));
    let mut client = proxy.client();
    for round in 0..50 {
        let burst: String = (0..40).map(|number| get(&format!("/{round}-{number}"))).collect();
        client.send(burst);
        for _ in 0..40 {
            assert_eq!(client.response().status, 200);
        }
    }
    proxy.terminate();
    assert_eq!(proxy.wait(Duration::from_secs(10)).code(), Some(0));
    let told = objects(&fs::read_to_string(&path).unwrap());
    let expected: Vec<String> =
        (0..50).flat_map(|round| (0..40).map(move |n| format!("/{round}-{n}"))).collect();
    let targets: Vec<&str> = told.iter().filter_map(|one| one["target"].as_str()).collect();
    assert_eq!(targets, expected);
}

#[test]
fn files_are_turned_under_load_and_nothing_is_lost() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let path = folder.file("access.log");
    let proxy = Anteroom::run(&file(&folder, &pages, &format!("access = \"{path}\"")));
    let ends = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (ends, address) = (Arc::clone(&ends), proxy.address().to_owned());
            std::thread::spawn(move || {
                let (mut connection, mut sent) = (Client::new(&address), 0u32);
                while !ends.load(Ordering::Relaxed) {
                    let target = format!("/{client}/{sent}");
                    assert_eq!(connection.get(&target).status, 200);
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    let turned: Vec<String> =
        (0..6).map(|number| folder.file(&format!("access.{number}"))).collect();
    for (number, old) in turned.iter().enumerate() {
        wait_lines(&path, 20);
        fs::rename(&path, old).unwrap();
        usr1(&proxy);
        // What says so comes when it has taken effect.
        proxy_says(&proxy, "is opened anew", number + 1);
        let length = fs::metadata(old).unwrap().len();
        wait_lines(&path, 20);
        assert_eq!(fs::metadata(old).unwrap().len(), length, "written to after it was turned");
    }
    ends.store(true, Ordering::Relaxed);
    let sent: Vec<u32> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    proxy.finish();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for file in turned.iter().chain([&path]) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.ends_with('\n'), "{file} ends within a line");
        assert_eq!(objects(&text).len(), text.lines().count(), "{file}");
        for told in objects(&text) {
            *seen.entry(told["target"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let expected: BTreeMap<String, u32> = (0..4usize)
        .flat_map(|client| (0..sent[client]).map(move |n| (format!("/{client}/{n}"), 1)))
        .collect();
    assert!(seen == expected, "{} lines for {} requests", seen.len(), expected.len());
}

fn usr1(proxy: &Anteroom) {
    proxy.signal(Signal::USR1);
}

fn proxy_says(proxy: &Anteroom, words: &str, times: usize) {
    eventually(&format!("{words} for the {times}. time"), || {
        (proxy.output().matches(words).count() >= times).then_some(())
    });
}

#[test]
fn a_file_that_cannot_be_opened_anew_is_kept() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let (path, old) = (folder.file("access.log"), folder.file("access.1"));
    let proxy = Anteroom::run(&file(&folder, &pages, &format!("access = \"{path}\"")));
    proxy.client().get("/first");
    wait_lines(&path, 1);
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&path).unwrap();
    usr1(&proxy);
    proxy_says(&proxy, "cannot be opened anew", 1);
    proxy.client().get("/second");
    wait_lines(&old, 2);
    fs::remove_dir(&path).unwrap();
    usr1(&proxy);
    proxy_says(&proxy, "is opened anew", 1);
    proxy.client().get("/third");
    assert!(wait_lines(&path, 1)[0].contains("/third"));
    assert_eq!(lines(&old).len(), 2);
    proxy.finish();
}

#[test]
fn the_signal_harms_nobody_without_logs() {
    let pages = Upstream::pages();
    let proxy = Anteroom::before(pages.address());
    usr1(&proxy);
    pause(100);
    assert_eq!(proxy.client().get("/").status, 200);
    proxy.finish();
}

/// Sends requests until the metrics say that lines were lost for this cause.
fn until_lost(proxy: &Anteroom, cause: &str) -> u32 {
    let (mut client, mut sent) = (proxy.client(), 0);
    let long = "x".repeat(300);
    within(Duration::from_secs(30), "lines to be lost", || {
        for _ in 0..200 {
            assert_eq!(client.get(&format!("/{long}")).status, 200);
            sent += 1;
        }
        (proxy.figure("anteroom_log_dropped_total", &[("cause", cause)]) > 0.0).then_some(())
    });
    sent
}

/// The end comes in order and soon, whatever the log's reader does.
fn ends_soon(mut proxy: Anteroom) {
    proxy.quiet();
    let began = Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait(Duration::from_secs(10)).code(), Some(0), "{}", proxy.output());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_neither_clients_nor_the_end() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let log = "access = \"stdout\", buffer = \"64KiB\"";
    let proxy = Anteroom::run_unread(&file(&folder, &pages, log));
    until_lost(&proxy, "buffer");
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(proxy.client().get("/").status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    proxy_says(&proxy, "raise `log.buffer`", 1);
    ends_soon(proxy);
}

#[test]
fn a_pipe_that_is_closed_and_a_full_disk_cost_lines_and_nothing_else() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let mut proxy = Anteroom::run_unread(&file(&folder, &pages, "access = \"stdout\""));
    proxy.process().hang_up();
    until_lost(&proxy, "write");
    proxy_says(&proxy, "could not be written to stdout: Broken pipe", 1);
    ends_soon(proxy);
    let proxy = Anteroom::run(&file(&folder, &pages, "access = \"/dev/full\""));
    until_lost(&proxy, "write");
    proxy_says(&proxy, "could not be written to /dev/full: No space left", 1);
    ends_soon(proxy);
}

#[test]
fn a_log_that_cannot_be_opened_ends_with_2_and_a_remedy() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let (code, said) = run_code(&["run", &file(&folder, &pages, "access = \"/no-such/a.log\"")]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("app.toml:4:18: error: log.access = \"/no-such/a.log\""), "{said}");
    assert!(said.contains("create it"), "{said}");
    // A pipe without a reader shows only when it is opened.
    let pipe = folder.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (key, set) in [("access", "log.access"), ("events", "log.events")] {
        let config = file(&folder, &pages, &format!("{key} = \"{pipe}\""));
        let (code, said) = run_code(&["run", &config]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("{set} = \"{pipe}\": ")), "{said}");
        assert!(said.contains("name another file") && !said.contains("ready"), "{said}");
    }
    let arguments = ["proxy", "--listen", "127.0.0.1:0", "--upstream", pages.address()];
    let (code, said) = run_code(&[&arguments[..], &["--access-log", &pipe]].concat());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("--access-log {pipe}: ")), "{said}");
}

#[test]
fn events_go_where_they_are_sent_and_the_ready_line_does_not() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let path = folder.file("events.log");
    let log = format!("access = \"stdout\", events = \"{path}\"");
    let mut proxy = Anteroom::run(&file(&folder, &pages, &log));
    proxy.client().get("/");
    fs::rename(&path, folder.file("events.1")).unwrap();
    usr1(&proxy);
    eventually("the new file", || fs::metadata(&path).ok());
    proxy.quiet();
    proxy.terminate();
    assert_eq!(proxy.wait(Duration::from_secs(10)).code(), Some(0));
    pause(50);
    let output = proxy.output();
    assert!(output.starts_with("anteroom ready: "), "{output}");
    assert!(!output.contains("anteroom: "), "{output}");
    let before = objects(&fs::read_to_string(folder.file("events.1")).unwrap());
    assert!(before[0]["message"].as_str().unwrap().contains("worst case"), "{before:?}");
    let after = objects(&fs::read_to_string(&path).unwrap());
    let last = after.last().unwrap();
    assert!(last["message"].as_str().unwrap().starts_with("draining"), "{after:?}");
    assert_eq!(last["level"], "note");
    // Both on one stream, as text.
    let log = "access = \"stdout\", events = \"stdout\", format = \"common\"";
    let mut proxy = Anteroom::run(&file(&folder, &pages, log));
    proxy.client().get("/x");
    proxy.quiet();
    proxy.terminate();
    proxy.wait(Duration::from_secs(10));
    pause(50);
    let output = proxy.output();
    assert!(output.contains("Z anteroom: draining"), "{output}");
    assert!(output.contains("\"GET /x HTTP/1.1\" 200 "), "{output}");
}

#[test]
fn a_failure_is_told_in_the_events_file_and_on_standard_error() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let path = folder.file("events.log");
    let config = file(&folder, &pages, &format!("events = \"{path}\""));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replacen("address = \"127.0.0.1:0\"", &format!("address = \"{address}\""), 1);
    fs::write(&config, text).unwrap();
    let (code, said) = run_code(&["run", &config]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("error: ") && said.contains(&address), "{said}");
    let told = objects(&fs::read_to_string(&path).unwrap());
    let last = told.last().unwrap();
    assert_eq!(last["level"], "error", "{told:?}");
    assert!(last["message"].as_str().unwrap().contains(&address), "{told:?}");
}

#[test]
fn events_that_their_file_does_not_take_are_told_on_standard_error() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let mut proxy = Anteroom::run(&file(&folder, &pages, "events = \"/dev/full\""));
    assert_eq!(proxy.client().get("/").status, 200);
    proxy.quiet();
    proxy.terminate();
    assert_eq!(proxy.wait(Duration::from_secs(10)).code(), Some(0));
    pause(50);
    let output = proxy.output();
    assert_eq!(output.matches("events to /dev/full: No space left").count(), 1, "{output}");
    assert!(output.contains("worst case") && output.contains("draining"), "{output}");
}

#[test]
fn after_root_is_given_up_files_can_still_be_turned() {
    if !rustix::process::geteuid().is_root() {
        blackbox::tools::skip("only root can give root up");
        return;
    }
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let path = folder.file("access.log");
    let config = file(&folder, &pages, &format!("access = \"{path}\""));
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("user = \"65534\"\ngroup = \"65534\"\n{text}")).unwrap();
    let proxy = Anteroom::run(&config);
    let owner = |path: &str| fs::metadata(path).unwrap().uid();
    assert_eq!(owner(&path), 65_534);
    // The directory is root's: only a file that is there already can be opened.
    fs::rename(&path, folder.file("access.1")).unwrap();
    usr1(&proxy);
    proxy_says(&proxy, "let the user that anteroom runs as write there", 1);
    fs::write(&path, "").unwrap();
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    usr1(&proxy);
    proxy_says(&proxy, "is opened anew", 1);
    proxy.client().get("/");
    wait_lines(&path, 1);
    proxy.finish();
}

#[test]
fn check_counts_what_the_log_sets_aside() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let (code, said) = run_code(&["check", &file(&folder, &pages, "access = \"stdout\"")]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("rings for the access log") && said.contains("262,144"), "{said}");
    assert!(said.contains("notes for the access log"), "{said}");
    let (_, said) = run_code(&["check", &file(&folder, &pages, "")]);
    assert!(!said.contains("for the access log"), "{said}");
}
