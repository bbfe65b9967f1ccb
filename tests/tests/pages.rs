//! Request IDs and error pages, switched on by a file.

use std::fs;

use blackbox::folder::Folder;
use blackbox::process::Process;
use blackbox::proxy::{Anteroom, Setup, command};
use blackbox::upstream::Upstream;
use blackbox::wait::{eventually, pause};

fn file(folder: &Folder, server: &str, top: &str, listen: &str) -> String {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let content = format!(
        "io = \"{io}\"\nworkers = 2\nadmin = \"127.0.0.1:0\"\n{top}\n[[listen]]\n\
         address = \"127.0.0.1:0\"\nproxy = \"http\"\n{listen}\n\
         [[upstream]]\nservers = [\"{server}\"]\n"
    );
    folder.write("app.toml", content)
}

#[test]
fn an_id_is_the_same_for_client_server_and_log() {
    let (pages, folder) = (Upstream::pages(), Folder::new());
    let top = "log = { access = \"stdout\" }";
    let mut proxy = Anteroom::run(&file(&folder, pages.address(), top, "request_ids = true"));
    let mut made = Vec::new();
    for _ in 0..20 {
        let response = proxy.client().get("/");
        let id = response.get("x-request-id").unwrap_or_else(|| panic!("{response:?}")).to_owned();
        assert_eq!(id.len(), 32, "{id}");
        assert_eq!(pages.last().head.get("x-request-id"), Some(id.as_str()));
        assert!(!made.contains(&id), "{id} came twice");
        eventually("its line", || {
            let line = format!("\"request_id\":\"{id}\"");
            proxy.process().output().contains(&line).then_some(())
        });
        made.push(id);
    }
    for (sent, kept) in [("mine-1/2", true), ("not sane", false)] {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Request-ID: {sent}\r\n\r\n");
        let response = proxy.client().send(request).response();
        assert_eq!(response.get("x-request-id") == Some(sent), kept, "{response:?}");
    }
    proxy.finish();
}

#[test]
fn other_starts_make_other_ids_and_without_the_key_there_are_none() {
    let pages = Upstream::pages();
    let mut first = Vec::new();
    for _ in 0..3 {
        let proxy = Setup::new(pages.address()).with("--workers", 1).flag("--request-ids").start();
        let id = proxy.client().get("/").get("x-request-id").map(str::to_owned);
        assert!(id.is_some() && !first.contains(&id), "{id:?} of {first:?}");
        first.push(id);
        proxy.finish();
    }
    let proxy = Anteroom::before(pages.address());
    let response = proxy.client().get("/");
    assert_eq!((response.get("x-request-id"), pages.last().head.get("x-request-id")), (None, None));
    proxy.finish();
}

#[test]
fn refusals_wear_the_operators_pages() {
    let folder = Folder::new();
    let page = folder.write("502.html", "<h1>back soon: \u{e9}</h1>");
    let plain = folder.write("400.txt", "what?\n");
    let pages = format!("error_pages = {{ 502 = \"{page}\", 400 = \"{plain}\" }}");
    let proxy = Anteroom::run(&file(&folder, "127.0.0.1:9", "", &pages));
    // It was read at start.
    fs::remove_file(page).unwrap();
    let response = proxy.client().get("/");
    assert_eq!((response.status, response.text().as_str()), (502, "<h1>back soon: \u{e9}</h1>"));
    assert_eq!(response.get("content-type"), Some("text/html; charset=utf-8"));
    let response = proxy.client().send("GET /\r\n\r\n").response();
    assert_eq!((response.status, response.text().as_str()), (400, "what?\n"));
    let response = proxy.client().send("GET / HTTP/3.0\r\n\r\n").response();
    assert_eq!(response.status, 505);
    assert!(response.text().starts_with("505 HTTP Version Not Supported"), "{response:?}");
    proxy.finish();
}

#[test]
fn a_page_that_cannot_be_sent_is_refused_at_start() {
    let folder = Folder::new();
    let long = folder.write("long.html", "x".repeat(40_000));
    let pages = format!("error_pages = {{ 502 = \"{long}\" }}");
    let config = file(&folder, "127.0.0.1:9", "", &pages);
    let mut process = Process::start(&mut command(&["run", &config]));
    let status = process.wait(std::time::Duration::from_secs(10));
    pause(50);
    let said = process.output();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("app.toml:8:23: error: 502 = "), "{said}");
    assert!(said.contains("at most 32 KiB"), "{said}");
}
