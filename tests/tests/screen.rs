//! Who may connect: lists in the configuration and in files that change.

use std::time::Duration;

use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::tools::run;
use blackbox::upstream::Upstream;
use blackbox::wait::{eventually, within};

/// A proxy before this server, with this in its `[[listen]]`.
fn screened(upstream: &Upstream, listen: &str, more: &str) -> Anteroom {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let content = format!(
        "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\n{more}\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         proxy = \"http\"\n{listen}\n[[upstream]]\nservers = [\"{}\"]\n",
        upstream.address()
    );
    Anteroom::run(&Folder::new().write("a.toml", content))
}

/// Whether a client from this address is served; otherwise it is reset.
fn is_served(proxy: &Anteroom, from: &str) -> bool {
    let url = format!("http://{}/", proxy.address());
    let line = ["--silent", "--show-error", "--max-time", "20", "--interface", from, &url];
    let ran = run("curl", &line);
    // 7, 55 and 56: a reset right behind the connecting, while sending, or receiving; 52: an end.
    assert!(matches!(ran.code, Some(0 | 7 | 52 | 55 | 56)), "{from}: {ran:?}");
    ran.code == Some(0)
}

fn denied(proxy: &Anteroom) -> f64 {
    proxy.figure("anteroom_clients_closed_total", &[("reason", "denied")])
}

#[test]
fn the_smallest_network_decides_and_who_is_denied_is_reset_and_logged() {
    let upstream = Upstream::pages();
    let folder = Folder::new();
    let log = folder.file("access.log");
    let more = format!("log = {{ access = \"{log}\" }}");
    let lists = "allow = [\"127.0.0.0/28\", \"127.0.0.77\"]\ndeny = [\"127.0.0.2\", \"all\"]";
    let proxy = screened(&upstream, lists, &more);
    for (from, served) in [
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("127.0.0.15", true),
        ("127.0.0.16", false),
        ("127.0.0.77", true),
    ] {
        assert_eq!(is_served(&proxy, from), served, "{from}");
    }
    assert_eq!(denied(&proxy).to_string(), "2");
    eventually("their lines", || {
        let lines = std::fs::read_to_string(&log).expect("the log");
        let of = |from: &str| {
            let client = format!("\"client\":\"{from}\"");
            lines
                .lines()
                .any(|line| line.contains(&client) && line.contains("\"closed\":\"denied\""))
        };
        (of("127.0.0.2") && of("127.0.0.16") && !of("127.0.0.1")).then_some(())
    });
    assert_eq!(upstream.count(), 3);
    proxy.quiet();
    proxy.finish();
}

#[test]
fn a_file_that_changes_is_taken_up_and_one_that_is_wrong_is_not() {
    let upstream = Upstream::pages();
    let folder = Folder::new();
    let file = folder.write("deny.txt", "# nobody yet\n");
    let proxy = screened(&upstream, &format!("deny = [{{ file = \"{file}\" }}]"), "");
    assert!(is_served(&proxy, "127.0.0.2"));
    let mut parked = proxy.client();
    assert_eq!(parked.get("/").status, 200);
    // Thousands of entries, of which one is meant.
    let net = |n: u32| format!("10.{}.{}.0/25\n", n / 250, n % 250);
    let many = (0..50_000).map(net).collect::<Vec<_>>().concat();
    folder.write("deny.txt", format!("{many}127.0.0.2 ; this one\n2001:db8::/32\n"));
    eventually("the new list", || (!is_served(&proxy, "127.0.0.2")).then_some(()));
    assert_eq!(parked.get("/").status, 200, "others notice nothing");
    let taken = |result| proxy.figure("anteroom_list_reloads_total", &[("result", result)]);
    assert_eq!(
        (taken("taken").to_string(), taken("refused").to_string()),
        ("1".into(), "0".into())
    );
    assert!(proxy.output().contains("was read anew: 50,002 entries"), "{}", proxy.output());

    folder.write("deny.txt", "10.0.0.0/8\n127.0.0.300\n");
    eventually("the warning", || {
        let place = format!("{file}:2: `127.0.0.300`: write an address");
        let output = proxy.output();
        (output.contains(&place) && output.contains("the old one holds")).then_some(())
    });
    assert!(!is_served(&proxy, "127.0.0.2") && taken("refused").to_string() == "1");
    std::fs::remove_file(&file).expect("it is there");
    eventually("the next warning", || proxy.output().contains("no such file").then_some(()));
    assert!(!is_served(&proxy, "127.0.0.2"));

    // Put in its place by renaming; who is here goes if it is denied now.
    let new = folder.write("new.txt", "127.0.0.1\n");
    std::fs::rename(new, &file).expect("the same folder");
    eventually("the last list", || is_served(&proxy, "127.0.0.2").then_some(()));
    assert!(parked.try_get("/").is_err());
    proxy.quiet();
    proxy.finish();
}

#[test]
fn bans_hold_for_their_time_and_end_who_is_here() {
    let upstream = Upstream::pages();
    let proxy = screened(&upstream, "", "");
    let admin = |method: &str, target: &str| {
        let url = format!("http://{}{target}", proxy.admin());
        let ran = run("curl", &["--silent", "--max-time", "20", "-X", method, &url]);
        assert_eq!(ran.code, Some(0), "{method} {target}: {}", ran.output);
        ran.output
    };
    let mut here = proxy.client();
    assert_eq!(here.get("/").status, 200);
    assert_eq!(admin("POST", "/bans?address=127.0.0.2&for=20s"), "banned\n");
    assert_eq!(admin("POST", "/bans?address=127.0.0.1"), "banned\n");
    eventually("both bans", || {
        let served = ["127.0.0.1", "127.0.0.2"].map(|from| is_served(&proxy, from));
        (served == [false; 2]).then_some(())
    });
    assert!(here.try_get("/").is_err(), "who is here goes");
    assert!(is_served(&proxy, "127.0.0.3"));
    assert!(admin("GET", "/bans").contains("{\"address\":\"127.0.0.1/32\"}"));
    let misspelt = admin("POST", "/bans?address=127.0.0.3&fro=20s");
    assert!(misspelt.contains("`fro`") && is_served(&proxy, "127.0.0.3"), "{misspelt}");
    within(Duration::from_mins(1), "the first one's end", || {
        is_served(&proxy, "127.0.0.2").then_some(())
    });
    assert!(!is_served(&proxy, "127.0.0.1"));
    assert_eq!(admin("DELETE", "/bans?address=127.0.0.1"), "lifted\n");
    eventually("the second one's end", || is_served(&proxy, "127.0.0.1").then_some(()));
    assert_eq!(admin("GET", "/bans"), "[]");
    assert!(proxy.figure("anteroom_clients_closed_total", &[("reason", "banned")]) >= 3.0);
    assert!(proxy.output().contains("127.0.0.2/32 is banned for 20s"), "{}", proxy.output());
    proxy.quiet();
    proxy.finish();
}
