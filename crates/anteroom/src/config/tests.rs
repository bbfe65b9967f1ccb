//! Every kind of error, where it is found, and the remedy; and files that are right.

use std::path::Path;
use std::time::Duration;

use base::id::{GroupId, WorkerId};
use driver::Address;

use super::schema::{Preset, SECTIONS};
use super::*;

const MACHINE: Machine = Machine { descriptors: 20_000, cores: 2 };

const LISTEN: &str = "[[listen]]\naddress = \":8080\"\n";
const UPSTREAM: &str = "[[upstream]]\nservers = [\"127.0.0.1:9000\"]\n";

fn checked(content: &str) -> Result<Configured, String> {
    check(&Text::new("a.toml".to_owned(), content.to_owned()), MACHINE)
}

fn settings(content: &str) -> Settings {
    match checked(content) {
        Ok(configured) => configured.settings,
        Err(said) => panic!("{content}\n{said}"),
    }
}

/// A case: what is at the top of the file, in `[[listen]]` and in `[[upstream]]`, where the error
/// is found, and words it has.
struct Case {
    top: &'static str,
    listen: &'static str,
    upstream: &'static str,
    place: &'static str,
    says: &'static [&'static str],
}

/// An error at the top of the file, in its first line from this column on.
const fn top(top: &'static str, column: &'static str, says: &'static [&'static str]) -> Case {
    Case { top, listen: "", upstream: "", place: column, says }
}

/// An error in `[[listen]]`, whose third line of its own this is.
const fn listen(listen: &'static str, place: &'static str, says: &'static [&'static str]) -> Case {
    Case { top: "", listen, upstream: "", place, says }
}

/// An error in `[[upstream]]`, likewise.
const fn upstream(
    upstream: &'static str,
    place: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case { top: "", listen: "", upstream, place, says }
}

/// Places: line 1 is the top's, lines 2 to 4 are `[[listen]]`'s, lines 5 to 7 `[[upstream]]`'s.
const CASES: &[Case] = &[
    // TOML itself.
    top("memory = 64MiB", "1:10", &["must be quoted"]),
    top("memory = \"64MiB", "1:", &["no TOML", "expected"]),
    top("workers = 1\nworkers = 2", "2:1", &["duplicate key", "leave one out"]),
    top("workers 2", "1:9", &["expected `=`"]),
    // Keys and tables.
    top("memroy = \"1GiB\"", "1:1", &["unknown key `memroy`", "did you mean `memory`?"]),
    top("max-clients = 5", "1:1", &["did you mean `max_clients`?"]),
    top("xyzzy = 1", "1:1", &["unknown key `xyzzy` in the file", "known are memory, workers"]),
    top("connections = 8", "1:1", &["unknown key", "it stands in [[upstream]]"]),
    top("[timeout]\nhead = \"1s\"", "1:2", &["unknown table `timeout`", "`timeouts`"]),
    top("[[listne]]\naddress = \":1\"", "1:3", &["unknown table `listne`", "`listen`"]),
    top("timeouts = { haed = \"1s\" }", "1:14", &["in [timeouts]", "did you mean `head`?"]),
    listen("memory = \"1MiB\"", "4:1", &["it stands at the top of the file"]),
    listen("adress = \":1\"", "4:1", &["unknown key `adress`", "did you mean `address`?"]),
    // Types.
    top("workers = \"2\"", "1:11", &["takes a whole number", "this is a text", "workers = 2"]),
    top("workers = 1.5", "1:11", &["takes a whole number", "a number with a point"]),
    top("memory = true", "1:10", &["takes a text in quotes", "memory = \"64MiB\""]),
    top("reuse_port = \"yes\"", "1:14", &["takes true or false", "reuse_port = false"]),
    top("admin = 9900", "1:9", &["takes a text", "admin = \"127.0.0.1:9900\""]),
    top("user = [\"a\"]", "1:8", &["takes a text", "this is a list"]),
    top("timeouts = \"30s\"", "1:12", &["is a table", "timeouts = { head = \"30s\" }"]),
    top("timeouts = { head = 30 }", "1:21", &["needs a unit", "head = \"30s\""]),
    upstream("queue = 5", "7:9", &["is a table", "queue = { length = 10000 }"]),
    // Sizes, durations, numbers.
    top("memory = \"64MB\"", "1:10", &["\"64MB\"", "MiB"]),
    top("memory = -1", "1:10", &["a number of bytes"]),
    top("timeouts = { head = \"30\" }", "1:21", &["write a number and ms, s, m, h or d"]),
    top("timeouts = { idle = \"8days\" }", "1:21", &["at most 7days"]),
    top("timeouts = { idle = \"0s\" }", "1:21", &["at least 1ms"]),
    top("workers = 0", "1:11", &["`workers` must be 1 to 64"]),
    top("workers = 65", "1:11", &["1 to 64"]),
    top("workers = 99999999999999999999999", "1:11", &["1 to 64"]),
    top("max_clients = 0", "1:15", &["`max_clients` must be 1 to"]),
    upstream("connections = 0", "7:15", &["`connections` must be 1 to 65536"]),
    upstream("queue = { length = 0 }", "7:20", &["`length` must be 1 to"]),
    // What does not fit together.
    top(
        "memory = \"16KiB\"\nworkers = 2",
        "1:10",
        &["always finish", "memory = \"32KiB\"", "workers"],
    ),
    top("memory = \"9GiB\"", "1:10", &["less than 4 GiB", "more workers"]),
    top("buffer = 3000", "1:10", &["a power of two from 512 to 32768"]),
    top("exchange_memory = \"1KiB\"", "1:19", &["at least 1280 bytes"]),
    top("max_clients = 20000", "1:15", &["limit of open files is 20,000", "ulimit -n 20"]),
    top("io = \"telepathy\"", "1:6", &["write auto, epoll, uring"]),
    listen("max_head = \"128KiB\"", "4:12", &["256 to 65536 bytes"]),
    Case {
        top: "memory = \"32KiB\"\nworkers = 1",
        listen: "max_head = \"32KiB\"",
        upstream: "",
        place: "5:12",
        says: &["max_head = 32768", "raise memory or exchange_memory"],
    },
    listen("max_target = \"32KiB\"", "4:14", &["max_target", "raise max_head"]),
    listen("at_limit = \"drop\"", "4:12", &["write pause, answer"]),
    // Names and addresses.
    listen(
        "upstream = \"ap\"",
        "4:12",
        &["no [[upstream]] is called \"ap\"", "there are upstream"],
    ),
    upstream("name = \"a b\"", "7:8", &["1 to 64 letters"]),
    upstream("connections = 8\n[[upstream]]\nservers = [\":1\"]", "8:1", &["two [[upstream]]"]),
    top("admin = \"127.0.0.1\"", "1:9", &["write IP:PORT"]),
    top("admin = \":8080\"", "3:11", &["the admin endpoints take that address"]),
    listen("[[listen]]\naddress = \"127.0.0.1:8080\"", "5:11", &["another listener takes that"]),
    top("user = \"no-such-user-here\"", "1:8", &["no such user", "create it"]),
    top("user = \"root\"\ngroup = \"no-such-group\"", "2:9", &["no such group"]),
    top("group = \"root\"", "1:9", &["goes with a user"]),
    top("spool = true", "1:9", &["`spool` is a table", "dir ="]),
    top(
        "spool = { dir = \"/no/such/place\" }",
        "1:17",
        &["spool.dir", "name a directory on a disk"],
    ),
    top("spool = { dir = \"/etc/passwd\" }", "1:17", &["name a directory on a disk"]),
    top("spool = { size = \"60TiB\" }", "1:18", &["no room for", "smaller"]),
    top("spool = { size = \"1KiB\" }", "1:18", &["spool.size", "64 KiB to 64 TiB"]),
    top("spool = { size = \"1MiB\", per_exchange = \"2MiB\" }", "1:41", &["raise spool.size"]),
    top("spool = { size = \"1MiB\", per_address = 3 }", "1:40", &["per_address = 3 B", "64 KiB"]),
    top("spool = { sise = \"1MiB\" }", "1:11", &["did you mean `size`?"]),
    // Logs and pages.
    top("log = { access = \"stdot\" }", "1:18", &["\"stdot\"", "write stdout, stderr or a file"]),
    top("log = { access = true }", "1:18", &["takes a text in quotes", "access = \"stdout\""]),
    top("log = \"stdout\"", "1:7", &["is a table", "log = { access = \"stdout\" }"]),
    top("log = { acces = \"stdout\" }", "1:9", &["in [log]", "did you mean `access`?"]),
    top("log = { format = \"xml\" }", "1:18", &["write json, common"]),
    top("log = { access = \"/tmp/\" }", "1:18", &["log.access", "name a file in it"]),
    top(
        "log = { events = \"/no-such/a\" }",
        "1:18",
        &["log.events", "no directory /no-such: create"],
    ),
    top("log = { buffer = \"1KiB\" }", "1:18", &["log.buffer = 1024", "65536 to 67108864 bytes"]),
    top("log = { line = 16 }", "1:16", &["log.line = 16", "256 to 16384 bytes"]),
    listen("request_ids = 1", "4:15", &["takes true or false", "request_ids = false"]),
    listen("error_pages = \"a.html\"", "4:15", &["is a table", "error_pages = { 400 = "]),
    listen("error_pages = { 404 = \"/a.html\" }", "4:17", &["unknown key `404` in error_pages"]),
    listen(
        "error_pages = { 502 = \"/no-such.html\" }",
        "4:23",
        &["502 = \"/no-such.html\"", "no such file: create it"],
    ),
    listen("error_pages = { 502 = \"/etc/hosts\" }", "4:23", &["ends in .html, .htm or .txt"]),
    upstream("pinned = -5", "7:10", &["0 to 1048576"]),
    // Servers and what is done with them.
    upstream("warm = 9", "7:8", &["no more can be held open than connections allows, 8"]),
    upstream("balance = \"random\"", "7:11", &["write least-leased, round-robin"]),
    upstream("health = { max_fails = 0 }", "7:24", &["`max_fails` must be 1 to 1000"]),
    upstream("health = { fail_timeout = 5 }", "7:27", &["needs a unit"]),
    upstream("health = { maxfails = 1 }", "7:12", &["did you mean `max_fails`?"]),
    upstream("retries = { budget = 20 }", "7:22", &["takes a text", "budget = \"20%\""]),
    upstream("retries = { budget = \"120%\" }", "7:22", &["from 0 to 100"]),
    upstream("retries = { attempts = 0 }", "7:24", &["`attempts` must be 1 to 100"]),
    top("resolver = { servers = [\"dns\"] }", "1:25", &["write IP:PORT or [IPV6]:PORT"]),
    top("resolver = { ttl_max = \"500ms\" }", "1:12", &["`ttl_min` is longer than `ttl_max`"]),
    listen("request = \"streamed\"", "4:11", &["did you mean `stream`?"]),
    listen("proxy = \"mail\"", "4:9", &["`mail` is not available", "proxy = \"http\""]),
    // What is passed through.
    listen("proxy = \"pass\"\nmax_body = 5", "5:12", &["says nothing of", "leave it out"]),
    listen("proxy = \"pass\"\nupgrade = false", "5:11", &["leave it out"]),
    listen("proxy = \"pass\"\nconnect = \"later\"", "5:11", &["at-once", "first-byte"]),
    listen("connect = \"at-once\"", "4:11", &["write proxy = \"pass\""]),
    top("limits = { connections = 0 }", "1:26", &["`connections` must be 1 to"]),
    top("limits = { request_rate = 5 }", "1:27", &["takes a text", "request_rate = \"100/s\""]),
    top("limits = { request_rate = \"5\" }", "1:27", &["as in 100/s, 600/m or 5000/h"]),
    top("limits = { ipv6_prefix = 129 }", "1:26", &["must be 1 to 128"]),
    top("limits = { least_rate = \"2GiB\" }", "1:25", &["1 B to 1 GiB"]),
    listen("proxy_protocol = true", "4:18", &["is a table", "proxy_protocol = { from"]),
    listen("proxy_protocol = {}", "4:18", &["has no `from`"]),
    listen("proxy_protocol = { from = [\"unix\"] }", "4:28", &["\"unix\"", "write an address"]),
    listen("proxy_protocol = { from = [\"unix:\"] }", "4:28", &["nobody comes", "10.0.0.0/8"]),
    upstream("proxy_protocol = \"v3\"", "7:18", &["write v1, v2"]),
    upstream("proxy_protocol = \"v1\"", "7:18", &["persistent = false", "X-Forwarded-For"]),
    listen("allow = \"10.0.0.0/8\"", "4:9", &["a list", "allow = [\"10.0.0.0/8\"]"]),
    listen("allow = []", "4:9", &["name at least one"]),
    listen("deny = [\"10.0.0.0/8\", \"10.0/8\"]", "4:23", &["\"10.0/8\"", "10.0.0.0/8", "or all"]),
    listen("deny = [{ fiel = \"a\" }]", "4:11", &["unknown key `fiel`", "`file`"]),
    listen(
        "deny = [{ file = \"/no/such.txt\" }]",
        "4:18",
        &["/no/such.txt: there is no such file"],
    ),
    listen(
        "deny = [{ file = \"/etc/passwd\" }]",
        "4:18",
        &["/etc/passwd:1: `root:", "write an address"],
    ),
    listen("sni = { \"a.b\" = \"upstream\" }", "4:7", &["write proxy = \"pass\""]),
    listen("proxy = \"pass\"\nsni = {}", "5:7", &["name at least one"]),
    listen("proxy = \"pass\"\nsni = { \"a*\" = \"upstream\" }", "5:9", &["*.b.example"]),
    listen("proxy = \"pass\"\nsni = { \"a\" = \"up\" }", "5:15", &["is called \"up\""]),
    listen("proxy = \"pass\"\nsni = { a = 5 }", "5:13", &["takes texts in quotes"]),
    listen(
        "proxy = \"pass\"\nsni = { a = \"upstream\", A = \"upstream\" }",
        "5:9",
        &["names \"a\" twice"],
    ),
    listen(
        "proxy = \"pass\"\nsni = { a = \"upstream\" }\nconnect = \"at-once\"",
        "6:11",
        &["leave it out"],
    ),
    listen("proxy = \"htpp\"", "4:9", &["there is no proxy `htpp`", "did you mean `http`?"]),
    upstream(
        "tls = { verify = false, alpn = [\"h2\"] }",
        "5:",
        &["HTTP/1.1 is spoken with the servers", "leave the others out"],
    ),
];

impl Case {
    fn content(&self) -> String {
        format!("{}\n{LISTEN}{}\n{UPSTREAM}{}\n", self.top, self.listen, self.upstream)
    }
}

#[test]
fn every_kind_of_error_is_found_where_it_stands_and_has_a_remedy() {
    assert!(CASES.len() >= 25);
    for case in CASES {
        let content = case.content();
        let said = match checked(&content) {
            Err(said) => said,
            Ok(configured) => panic!("{content}\nwas accepted: {configured:?}"),
        };
        let place = format!("a.toml:{}", case.place);
        assert!(said.contains(&place) && said.contains(": error: "), "{content}\n{said}");
        let first = said.lines().find(|line| line.starts_with(&place)).unwrap();
        for words in case.says {
            assert!(first.contains(words), "no `{words}` in\n{content}\n{said}");
        }
        assert!(said.contains('^'), "the place is marked: {said}");
    }
}

#[test]
fn what_is_missing_is_said_with_an_example() {
    for (content, says) in [
        (UPSTREAM.to_owned(), "no [[listen]]: add one, as in [[listen]] address"),
        (LISTEN.to_owned(), "no [[upstream]]: add one, as in [[upstream]] servers"),
        (String::new(), "no [[listen]]"),
        (format!("[[listen]]\n{UPSTREAM}"), "[[listen]] has no `address`: add one, as in address"),
        (format!("{LISTEN}[[upstream]]\nname = \"a\"\n"), "[[upstream]] has no `servers`"),
        (format!("{LISTEN}[[upstream]]\nservers = []\n"), "`servers` is empty: name at least one"),
        (format!("[listen]\naddress = \":80\"\n{UPSTREAM}"), "write [[listen]] with two brackets"),
        (format!("listen = [\":80\"]\n{UPSTREAM}"), "write [[listen]] with two brackets"),
        (format!("{LISTEN}[[upstream]]\nservers = \":9\"\n"), "takes a list of texts"),
        (format!("{LISTEN}[[upstream]]\nservers = [9]\n"), "takes texts in quotes or tables"),
        (format!("listen = []\n{UPSTREAM}"), "write [[listen]] with two brackets"),
        (format!("upstream = []\n{LISTEN}"), "write [[upstream]] with two brackets"),
    ] {
        let said = checked(&content).unwrap_err();
        assert!(said.contains(says), "{content}\n{said}");
    }
}

#[test]
fn servers_and_listeners_are_held_against_each_other() {
    for (servers, place, says) in [
        ("\":9\", \":9\"", "4:18", "is given twice"),
        ("\"127.0.0.1:0\"", "4:12", "give the port"),
        ("\":8080\"", "4:12", "the proxy would serve itself"),
        ("\"127.0.0.1:8080\"", "4:12", "leads to listen [::]:8080: the proxy would serve itself"),
        ("\"localhost:8080\"", "4:12", "the proxy would serve itself"),
        ("\"no-such-host.invalid:80\"", "4:12", "servers no-such-host.invalid:80: "),
        ("{ address = \":9\", weight = 0 }", "4:39", "`weight` must be 1 to 1000"),
        ("{ address = \":9\", wieght = 2 }", "4:30", "did you mean `weight`?"),
        ("{ weight = 2 }", "4:12", "has no `address`"),
        ("{ address = \":9\", backup = true }", "4:24", "there is nothing to stand in for"),
        ("{ address = \":9\", connections = 0 }", "4:44", "must be 1 to 65536"),
        ("\"127.0.0.1\"", "4:12", "write IP:PORT"),
        ("\"unix:\"", "4:12", "name a path"),
        ("\"127.0.0.1:70000\"", "4:12", "IP:PORT"),
    ] {
        let said = checked(&format!("{LISTEN}[[upstream]]\nservers = [{servers}]\n")).unwrap_err();
        assert!(said.starts_with(&format!("a.toml:{place}: error: ")), "{said}");
        assert!(said.contains(says), "{said}");
    }
    let many = (1..=257).map(|port| format!("\":{port}\"")).collect::<Vec<_>>().join(", ");
    let said = checked(&format!("{LISTEN}[[upstream]]\nservers = [{many}]\n")).unwrap_err();
    assert!(said.contains("257 times: 256 are the most"), "{said}");
    let listen = |port| format!("[[listen]]\naddress = \":{port}\"\nproxy = \"http\"\n");
    let many = (1..=65).map(listen).collect::<Vec<_>>().concat();
    let said = checked(&format!("{many}{UPSTREAM}")).unwrap_err();
    assert!(said.contains("65 times: 64 are the most"), "{said}");
}

#[test]
fn the_port_tells_the_proxy() {
    let said = |address: &str| {
        checked(&format!("[[listen]]\naddress = \"{address}\"\n{UPSTREAM}")).unwrap_err()
    };
    for port in [80, 8000, 8008, 8080] {
        settings(&format!("[[listen]]\naddress = \"127.0.0.1:{port}\"\n{UPSTREAM}"));
    }
    assert!(said(":25").contains("port 25 tells the proxy `mail`, which is not available"));
    assert!(said(":21").contains("`ftp`") && said(":443").contains("`security`"));
    assert!(said(":0").contains("port 0 tells no proxy: add proxy = \"http\""));
    assert!(said("unix:/tmp/a.sock").contains("has no port to tell the proxy"));
    let passes = |listen: &str| {
        settings(&format!("[[listen]]\naddress = \":7777\"\n{listen}{UPSTREAM}")).listeners[0]
            .passing
            .is_some()
    };
    assert!(passes(""), "a port that nobody knows is passed through");
    assert!(passes("proxy = \"pass\"\n") && !passes("proxy = \"http\"\n"));
}

#[test]
fn lists_need_addresses() {
    let content = format!(
        "[[listen]]\naddress = \"unix:/tmp/a\"\nproxy = \"http\"\ndeny = [\"::1\"]\n{UPSTREAM}"
    );
    let said = checked(&content).unwrap_err();
    assert!(said.starts_with("a.toml:4:8: error: `deny` says nothing"), "{said}");
    let content =
        format!("{LISTEN}allow = [\"::1\", \"10.0.0.0/8\"]\ndeny = [\"all\"]\n{UPSTREAM}");
    let list = settings(&content).listeners[0].screened.list.clone().unwrap();
    assert_eq!(list.entries(), 4);
    assert_eq!(list.verdict("10.1.1.1".parse().unwrap()), ::proxies::security::Verdict::Allow);
}

#[test]
fn trusted_proxies_and_headers_that_are_removed() {
    let content = format!(
        "{LISTEN}trusted_proxies = [\"10.0.0.0/8\", \"unix:\"]\n\
         remove_headers = [\"X-User\", \"X-Groups\"]\n{UPSTREAM}"
    );
    let settings = settings(&content);
    let screened = &settings.listeners[0].screened;
    let trusted = screened.trusted.as_deref().unwrap();
    assert!(exchange::Trusts::trusts(trusted, None));
    assert!(exchange::Trusts::trusts(trusted, Some([10, 1, 1, 1].into())));
    assert!(!exchange::Trusts::trusts(trusted, Some([11, 1, 1, 1].into())));
    let plan = settings.plan(base::id::WorkerId(0));
    assert_eq!(&*plan.listeners[0].tls.own_fields, "X-User,X-Groups");
    let said = |line: &str| checked(&format!("{LISTEN}{line}\n{UPSTREAM}")).unwrap_err();
    for name in ["Host", "Content-Length", "X-Forwarded-For", "a b", ""] {
        let said = said(&format!("remove_headers = [\"{name}\"]"));
        assert!(
            said.starts_with("a.toml:3:") && said.contains("write the name of a field"),
            "{said}"
        );
    }
    let said = said("trusted_proxies = [\"10.0.0.300\"]");
    assert!(said.contains("`trusted_proxies` = \"10.0.0.300\""), "{said}");
    let pass = "proxy = \"pass\"\ntrusted_proxies = [\"::1\"]";
    let content = format!("[[listen]]\naddress = \"127.0.0.1:7777\"\n{pass}\n{UPSTREAM}");
    assert!(checked(&content).unwrap_err().contains("`trusted_proxies` says nothing"));
}

#[test]
fn balancers_must_be_able_to_come_where_they_are_named() {
    let unix = |from: &str| {
        let listen = "[[listen]]\naddress = \"unix:/tmp/a\"\nproxy = \"http\"\n";
        checked(&format!("{listen}proxy_protocol = {{ from = {from} }}\n{UPSTREAM}"))
    };
    let said = unix("[\"10.0.0.0/8\"]").unwrap_err();
    assert!(said.starts_with("a.toml:4:28: error: `from`: whoever"), "{said}");
    assert!(said.contains("write \"unix:\""), "{said}");
    assert!(unix("[\"10.0.0.0/8\", \"unix:\"]").is_ok(), "one line for both kinds");
}

#[test]
fn what_is_passed_through_has_servers_of_its_own() {
    let pass = "[[listen]]\naddress = \":7777\"\nupstream = \"app\"\n";
    let app = "[[upstream]]\nname = \"app\"\nservers = [\":9\"]\n";
    let http = "[[listen]]\naddress = \":8080\"\nupstream = \"app\"\n";
    let said = checked(&format!("{pass}{http}{app}")).unwrap_err();
    assert!(said.starts_with("a.toml:5:11: error: ") && said.contains("of its own"), "{said}");
    let said = checked(&format!("{pass}{app}warm = 2\n")).unwrap_err();
    assert!(said.starts_with("a.toml:7:8: error: `warm`"), "{said}");
    for value in ["true", "false"] {
        let said = checked(&format!("{pass}{app}persistent = {value}\n")).unwrap_err();
        assert!(said.starts_with("a.toml:7:14: error: `persistent`"), "{said}");
    }
    let configured = settings(&format!("{pass}{app}"));
    let group = &configured.groups[0];
    assert!(group.policy.passes && !group.persistent);
}

#[test]
fn names_lead_to_groups() {
    let content = "[[listen]]\naddress = \":7777\"\nsni = { \"a.example\" = \"one\", \"*.b.example\" = \
                   \"two\" }\nOTHER\n[[upstream]]\nname = \"one\"\nservers = [\":9\"]\n\
                   [[upstream]]\nname = \"two\"\nservers = [\":10\"]\n\
                   [[upstream]]\nname = \"three\"\nservers = [\":11\"]\n";
    for (other, otherwise) in [("", None), ("upstream = \"three\"", Some(GroupId(2)))] {
        let configured = settings(&content.replace("OTHER", other));
        let passing = configured.listeners[0].passing.clone().unwrap();
        let names = passing.names.unwrap();
        assert_eq!(names.group(Some("A.example")), Some(GroupId(0)));
        assert_eq!(names.group(Some("x.b.example")), Some(GroupId(1)));
        assert_eq!(names.group(Some("x")), otherwise);
    }
}

#[test]
fn all_errors_are_told_at_once_in_their_order() {
    let content = format!("memroy = 1\nworkers = 0\n{LISTEN}request = 5\n{UPSTREAM}balance = 9\n");
    let said = checked(&content).unwrap_err();
    let places: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("a.toml:")).collect();
    let lines: Vec<&str> = places.iter().map(|place| place.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["1", "2", "5", "8", " 4 errors, 0 warnings"]);
}

#[test]
fn what_can_be_served_but_is_hardly_meant_is_a_warning() {
    for (content, says) in [
        (
            format!(
                "{LISTEN}upstream = \"upstream\"\n{UPSTREAM}[[upstream]]\nname = \"b\"\nservers = [\":9\"]\n"
            ),
            "no [[listen]] leads to the upstream \"b\"",
        ),
        (
            format!("memory = \"64KiB\"\nexchange_memory = \"1MiB\"\n{LISTEN}{UPSTREAM}"),
            "lends at most",
        ),
        (
            format!("memory = \"64KiB\"\n{LISTEN}{UPSTREAM}connections = 200\n"),
            "each takes two buffers at least",
        ),
        (
            format!(
                "{LISTEN}upstream = \"b\"\n[[listen]]\naddress = \":80\"\nupstream = \"upstream\"\n\
                 {UPSTREAM}[[upstream]]\nname = \"b\"\nservers = [\"127.0.0.1:9000\"]\n"
            ),
            "is a server of upstream too",
        ),
        (format!("{LISTEN}max_body = \"2GiB\"\n{UPSTREAM}"), "raise spool.per_exchange"),
        (
            format!("spool = false\n{LISTEN}max_body = \"20MiB\"\n{UPSTREAM}"),
            "at most 256 KiB of one request",
        ),
    ] {
        let warnings = checked(&content).unwrap().warnings;
        assert!(warnings.contains(": warning: ") && warnings.contains(says), "{warnings}");
        assert!(!warnings.contains("error: "), "{warnings}");
    }
}

#[test]
fn listeners_share_one_answer_at_the_limit() {
    let two = |first: &str, second: &str| {
        checked(&format!("{LISTEN}{first}\n[[listen]]\naddress = \":80\"\n{second}\n{UPSTREAM}"))
    };
    let answer = "at_limit = \"answer\"";
    let said = two("", answer).unwrap_err();
    assert!(said.starts_with("a.toml:6:12: error: at_limit differs"), "{said}");
    assert_eq!(two(answer, answer).unwrap().settings.at_limit, worker::AtLimit::Answer);
}

#[test]
fn several_listeners_and_groups_become_the_plan() {
    let settings = settings(
        "memory = \"8MiB\"\nworkers = 2\nmax_clients = 100\nexchange_memory = 65536\n\
         timeouts = { head = \"300ms\", drain = \"2s\" }\nadmin = \"127.0.0.1:9900\"\n\
         [[listen]]\naddress = \":8080\"\nupstream = \"api\"\nmax_head = \"4KiB\"\n\
         [[listen]]\naddress = \"127.0.0.1:7000\"\nproxy = \"http\"\nupstream = \"app\"\n\
         max_body = \"1MiB\"\nmax_target = \"1KiB\"\n\
         [[upstream]]\nname = \"app\"\nservers = [\":9001\", \"unix:/run/b.sock\"]\nconnections = 3\n\
         [[upstream]]\nname = \"api\"\nservers = [\":9002\"]\nqueue = { length = 7 }\n\
         persistent = false\n",
    );
    let plan = settings.plan(WorkerId(1));
    let groups: Vec<GroupId> = plan.listeners.iter().map(|listener| listener.group).collect();
    assert_eq!(groups, [GroupId(1), GroupId(0)]);
    assert_eq!(plan.listeners[0].max_head, 4096);
    assert_eq!((plan.listeners[1].max_body, plan.listeners[1].max_target), (1 << 20, 1024));
    assert_eq!((plan.pool.buffers, plan.max_clients, plan.exchange_memory), (2048, 100, 65536));
    let servers: Vec<u32> =
        plan.groups.iter().flat_map(|group| &group.servers).map(|server| server.id.0).collect();
    assert_eq!(servers, [0, 1, 2], "numbered over all groups");
    assert_eq!(plan.groups[0].servers[1].connections, 3);
    assert_eq!((&*plan.groups[1].name, plan.groups[1].queue_length), ("api", 3));
    assert!(plan.groups[0].persistent && !plan.groups[1].persistent);
    assert_eq!(plan.timeouts.head, Duration::from_millis(300));
    assert_eq!(plan.timeouts.idle, Duration::from_hours(1));
    let addresses: Vec<&str> = settings.servers().map(|(_, at)| &*at.label).collect();
    assert_eq!(addresses, ["[::]:9001", "unix:/run/b.sock", "[::]:9002"]);
    assert_eq!(settings.connections(), 3 + 3 + 8);
}

#[test]
fn servers_may_be_tables_and_their_group_has_a_policy() {
    let settings = settings(&format!(
        "resolver = {{ servers = [\"127.0.0.1:5353\"], ttl_max = \"10s\" }}\n{LISTEN}[[upstream]]\n\
         servers = [\":1\", {{ address = \"localhost:2\", weight = 3, connections = 4 }},\n\
         {{ address = \"unix:/b\", backup = true }}]\n\
         balance = \"round-robin\"\nwarm = 4\nconnections = 6\n\
         health = {{ max_fails = 3, fail_timeout = \"10s\", grace = \"200ms\" }}\n\
         retries = {{ attempts = 2, budget = \"5%\" }}\n"
    ));
    let group = &settings.plan(WorkerId(0)).groups[0];
    let servers: Vec<_> =
        group.servers.iter().map(|it| (it.weight, it.backup, it.connections)).collect();
    assert_eq!(servers, [(1, false, 6), (3, false, 4), (1, true, 6)]);
    assert_eq!(settings.connections(), 16);
    let name = settings.servers().nth(1).unwrap().1.clone();
    assert_eq!((&*name.label, !name.addresses.is_empty()), ("localhost:2", true));
    assert_eq!(name.name.unwrap().1, Duration::from_secs(10), "the hosts file, for so long");
    let policy = group.policy;
    assert_eq!((policy.balance, policy.warm), (bus::Balance::RoundRobin, 4));
    assert_eq!((policy.retries.attempts, policy.retries.budget), (2, 5));
    let health = policy.health;
    assert_eq!((health.max_fails, health.fail_timeout.as_secs()), (3, 10));
    assert_eq!(health.grace, Duration::from_millis(200));
    assert_eq!(settings.resolver.servers, ["127.0.0.1:5353".parse().unwrap()]);
}

#[test]
fn every_key_of_a_server_is_documented() {
    let documentation = include_str!("../../../../docs/configuration.md");
    for key in super::schema::SERVER.keys {
        let row = format!("| `servers.{}` |", key.name);
        assert!(documentation.contains(&row), "{row} is not documented");
    }
}

#[test]
fn every_key_of_tls_is_documented_with_its_default() {
    let documentation = include_str!("../../../../docs/configuration.md");
    let sections = [&super::tls::LISTEN_TLS, &super::tls::UPSTREAM_TLS];
    for key in sections.into_iter().flat_map(|section| section.keys) {
        let name = format!("`tls.{}`", key.name);
        let mut rows = documentation.lines().filter(|line| line.starts_with('|'));
        let row = rows.find(|row| row.contains(&name)).unwrap_or_else(|| panic!("{name}"));
        if let Preset::Default(value) = &key.preset {
            let plain = value();
            assert!(row.contains(&format!("`{}`", plain.trim_matches('"'))), "{plain}: {row}");
        }
    }
}

#[test]
fn the_defaults_can_be_served_and_are_the_defaults() {
    let printed = settings(&defaults());
    let bare = settings(
        "[[listen]]\naddress = \"127.0.0.1:8080\"\n[[upstream]]\nservers = [\"127.0.0.1:8000\"]\n",
    );
    assert_eq!(format!("{printed:?}"), format!("{bare:?}"));
}

#[test]
fn what_the_defaults_leave_out_can_be_put_in() {
    let examples = defaults();
    let mut content = String::new();
    let mut put_in = 0;
    for line in examples.lines() {
        match line.strip_prefix("# ").filter(|rest| rest.contains(" = ")) {
            // The user and its group differ from machine to machine.
            Some(rest) if rest.starts_with("user") => content.push_str("user = \"root\""),
            // And so do the files there are.
            Some(rest) if rest.starts_with("error_pages") => content.push_str("error_pages = {}"),
            Some(rest) if rest.starts_with("group") => content.push_str("group = \"root\""),
            // This goes with connections of one request.
            Some(rest) if rest.starts_with("proxy_protocol = \"") => content.push_str(line),
            // These are another proxy's, or name files.
            Some(rest)
                if ["connect", "sni", "tls", "ca ", "external", "authorize"]
                    .iter()
                    .any(|other| rest.starts_with(other)) =>
            {
                content.push_str(line);
            }
            Some(rest) => content.push_str(&rest.replace("\"app\"", "\"upstream\"")),
            None => content.push_str(line),
        }
        put_in += usize::from(!content.ends_with(line));
        content.push('\n');
    }
    let settings = settings(&content);
    assert!(put_in >= 7, "{put_in} lines in\n{content}");
    assert_eq!((settings.workers, settings.max_clients), (2, 18_000));
    assert_eq!(settings.admin, "127.0.0.1:9900".parse::<Address>().ok());
}

/// Truncated anywhere, or with any byte of its keys and values lost or doubled: whatever is wrong
/// then has a place in the file.
#[test]
fn a_damaged_file_is_read_or_refused_with_a_place() {
    let whole = defaults();
    let damaged = |content: String| {
        if let Err(said) = checked(&content) {
            assert!(said.starts_with("a.toml:") && said.contains(": error: "), "{content}\n{said}");
        }
    };
    let (mut start, mut tried) = (0, 0);
    for line in whole.split_inclusive('\n') {
        // A damaged address may become a host name, which would be looked up.
        let quiet = line.starts_with('#') || line.contains("address =") || line.contains("servers");
        for at in (start..start + line.len()).filter(|_| !quiet) {
            let (before, after) = whole.split_at(at);
            damaged(before.to_owned());
            damaged(format!("{before}{}", &after[1..]));
            damaged(format!("{before}{}{after}", &after[..1]));
            tried += 1;
        }
        start += line.len();
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn every_key_is_documented_with_its_default() {
    let documentation = include_str!("../../../../docs/configuration.md");
    let printed = defaults();
    for section in SECTIONS {
        for key in section.keys {
            if matches!(key.preset, Preset::Table(_)) {
                continue;
            }
            let example = key.example();
            assert!(printed.contains(&example), "{example} is not in --defaults");
            let (heading, within) = match section.title {
                "the file" => ("## The file itself", ""),
                "queue" => ("## `[[upstream]]`", "queue."),
                "health" => ("## `[[upstream]]`", "health."),
                "retries" => ("## `[[upstream]]`", "retries."),
                "[spool]" => ("## `[spool]`", "spool."),
                "[log]" => ("## `[log]`", "log."),
                "[resolver]" => ("## Names", "resolver."),
                "[limits]" => ("## `[limits]`", "limits."),
                "[acme]" => ("## Certificates by ACME", "acme."),
                "[timeouts]" => ("## `[timeouts]`", ""),
                "[[listen]]" => ("## `[[listen]]`", ""),
                "[[upstream]]" => ("## `[[upstream]]`", ""),
                title => panic!("where is {title} documented?"),
            };
            let told = documented(documentation, heading, &format!("{within}{}", key.name));
            let holds = match &key.preset {
                Preset::Default(value) => format!("`{}`", value().trim_matches('"')),
                Preset::Needed(_) => "must be given".to_owned(),
                Preset::Unset { means, .. } => (*means).to_owned(),
                Preset::Table(_) => continue,
            };
            assert_eq!(told, Some(holds.as_str()), "{} {}", section.title, key.name);
        }
    }
}

/// What the table below a heading says of a key that is left out.
fn documented<'d>(documentation: &'d str, heading: &str, key: &str) -> Option<&'d str> {
    let below = documentation.lines().skip_while(|line| *line != heading).skip(1);
    let mut section = below.take_while(|line| !line.starts_with("## "));
    section.find_map(|line| line.strip_prefix(&format!("| `{key}` | "))?.split(" |").next())
}

#[test]
fn the_documented_configuration_and_the_examples_can_be_served() {
    let documentation = include_str!("../../../../docs/configuration.md");
    let blocks: Vec<&str> = documentation
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        drop(settings(block));
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            let configured = load(&path, MACHINE).unwrap_or_else(|error| panic!("{error}"));
            // A machine whose disk is nearly full has no spool unasked.
            let warned =
                !configured.warnings.is_empty() && !configured.warnings.contains("no spool");
            assert!(!warned, "{}: {}", path.display(), configured.warnings);
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} examples");
}
