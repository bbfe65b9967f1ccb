//! Keys of tokens that stand at a URL: fetched, changed, not to be had, and wrong.

use std::time::{Duration, Instant};

use blackbox::asking::{ask, asking, asking_with};
use blackbox::certificates::Certificates;
use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::servers::free_address;
use blackbox::tokens::{KeyServer, Signer};
use blackbox::upstream::Upstream;
use blackbox::wait::{eventually, pause, within};

/// How soon keys are looked for again.
const SOONEST: Duration = Duration::from_secs(30);

fn reloads(proxy: &Anteroom, result: &str) -> f64 {
    proxy.figure("anteroom_authorize_reloads_total", &[("result", result)])
}

/// Whether somebody is let in, and with what answer if not.
fn status(proxy: &Anteroom, bearer: &str) -> u16 {
    ask(proxy, &["-H", bearer]).0
}

#[test]
fn keys_are_fetched_over_tls_and_change() {
    let [one, two, never] = ["one", "two", "never"].map(Signer::new);
    let (upstream, issuer) = (Upstream::pages(), Certificates::new());
    let certificate = issuer.issue("keys", &["localhost"]);
    let server = KeyServer::start("127.0.0.1:0", Some(&certificate), &[&one]);
    let (url, ca) = (server.url("localhost"), issuer.ca());
    let folder = Folder::new();
    let asked =
        format!("{{ jwt = {{ keys = \"{url}\", ca = \"{ca}\" }}, subject_header = \"X-User\" }}");
    let mut proxy = asking(&upstream, &folder, &asked);
    assert_eq!(status(&proxy, &one.bearer()), 200, "it waited for the keys, if it had to");
    let fetched = Instant::now();
    assert_eq!(upstream.last().head.get("x-user"), Some("me"));
    for _ in 0..3 {
        assert_eq!(status(&proxy, &never.bearer()), 401);
    }
    assert_eq!(server.asked(), 1, "so soon, it is not looked for");
    let bearer = one.bearer();
    server.has(&[&two]);
    assert_eq!(status(&proxy, &two.bearer()), 401);
    std::thread::sleep((SOONEST + Duration::from_secs(1)).saturating_sub(fetched.elapsed()));
    assert_eq!(status(&proxy, &bearer), 200, "what is known needs no fetch");
    assert_eq!(status(&proxy, &two.bearer()), 200, "it is looked for, and waited for");
    assert_eq!(status(&proxy, &bearer), 401, "nobody is remembered by a key that is gone");
    assert_eq!(server.asked(), 2);
    assert_eq!((reloads(&proxy, "taken"), reloads(&proxy, "refused")), (2.0, 0.0));
    let told = proxy.process().output();
    assert_eq!(told.matches(&format!("{url} was read: 1 key for tokens")).count(), 2, "{told}");
    // Somebody else's certificate is nobody's.
    let proxy = asking(&upstream, &folder, &format!("{{ jwt = {{ keys = \"{url}\" }} }}"));
    assert_eq!(status(&proxy, &two.bearer()), 503);
    proxy.until("the log", |metrics| {
        metrics.sum("anteroom_authorize_reloads_total", &[("result", "refused")]) > 0.0
    });
}

#[test]
fn without_keys_nobody_is_let_in_until_there_are_some() {
    let signer = Signer::new("one");
    let (upstream, address) = (Upstream::pages(), free_address());
    let asked = format!("{{ jwt = {{ keys = \"http://{address}/keys.json\" }} }}");
    let mut proxy = asking(&upstream, &Folder::new(), &asked);
    let bearer = signer.bearer();
    let (code, text) = ask(&proxy, &["-H", &bearer]);
    assert!(code == 503 && text.contains("Retry-After: "), "it may be right: {text}");
    assert_eq!(ask(&proxy, &[]).0, 401, "what cannot be right needs no key");
    assert_eq!(status(&proxy, "Authorization: Bearer a.b.c"), 401);
    assert_eq!(upstream.count(), 0);
    pause(4000);
    let told = proxy.process().output();
    assert_eq!(told.matches("warning: no keys from").count(), 1, "it is told once: {told}");
    assert!(reloads(&proxy, "refused") >= 2.0, "it was tried again");
    let server = KeyServer::start(&address, None, &[&signer]);
    within(Duration::from_secs(40), "the keys", || (status(&proxy, &bearer) == 200).then_some(()));
    assert_eq!(server.asked(), 1);
}

#[test]
fn what_is_no_set_of_keys_is_none() {
    let signer = Signer::new("one");
    let upstream = Upstream::pages();
    for (does, document, told) in [
        ("answers", "<html>", "there is no key"),
        ("answers", "{\"keys\":[]}", "there is no key"),
        ("answers", "{\"keys\":", "this is no JSON"),
        ("floods", "", "longer than 262144 bytes"),
        ("moves", "", "the answer is 302, not 200"),
        ("waits 20", "{}", "no answer in time"),
    ] {
        let server = KeyServer::start("127.0.0.1:0", None, &[]);
        server.says(document);
        server.does(does);
        let asked = format!("{{ jwt = {{ keys = \"{}?secret=abc\" }} }}", server.url("127.0.0.1"));
        let short = "timeouts = { authorize = \"2s\" }";
        let mut proxy = asking_with(&upstream, &Folder::new(), &asked, short);
        assert_eq!(status(&proxy, &signer.bearer()), 503, "{does} {document}");
        let output = eventually("the log", || {
            let output = proxy.process().output();
            output.contains("warning: no keys from").then_some(output)
        });
        assert!(output.contains(told) && !output.contains("secret"), "{output}");
        let resident = resident(proxy.process().id());
        assert!(resident < 64 << 20, "{does}: {resident} bytes");
    }
    assert_eq!(upstream.count(), 0);
}

/// Bytes of a process in memory.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// While keys are looked for, those whose key is known are served; what comes in their place and is of
/// no use changes nothing.
#[test]
fn who_waits_for_a_key_holds_up_nobody_else() {
    let [known, unknown] = ["known", "unknown"].map(Signer::new);
    let upstream = Upstream::pages();
    let server = KeyServer::start("127.0.0.1:0", None, &[&known]);
    let asked = format!(
        "{{ jwt = {{ keys = \"{}\" }}, queue = 8, cache = \"0s\" }}",
        server.url("127.0.0.1")
    );
    let short = "timeouts = { authorize = \"3s\" }";
    let mut proxy = asking_with(&upstream, &Folder::new(), &asked, short);
    let bearer = known.bearer();
    assert_eq!(status(&proxy, &bearer), 200);
    pause(31_000);
    server.does("waits 20");
    let (address, other) = (proxy.address().to_owned(), unknown.bearer());
    let crowd = std::thread::spawn(move || {
        let url = format!("http://{address}/[1-40]");
        let line = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}\n"];
        let line =
            [&line[..], &["--parallel", "--parallel-max", "40", "-H", &other, &url]].concat();
        blackbox::tools::run("curl", &line).output
    });
    eventually("the server is asked", || (server.asked() == 2).then_some(()));
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(status(&proxy, &bearer), 200, "its key is known");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let codes = crowd.join().expect("curl ends");
    assert_eq!(codes.matches("503").count(), 40, "nobody knows whether they may: {codes}");
    server.does("answers");
    server.says("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}");
    eventually("the log", || proxy.process().output().contains("no key of use").then_some(()));
    assert!(proxy.process().output().contains("those from before hold"));
    assert_eq!(status(&proxy, &bearer), 200, "what was before holds");
    server.has(&[&known, &unknown]);
    within(Duration::from_secs(40), "the new keys", || {
        (status(&proxy, &unknown.bearer()) == 200).then_some(())
    });
    assert_eq!(status(&proxy, &bearer), 200);
    assert!(reloads(&proxy, "taken") >= 2.0 && reloads(&proxy, "refused") >= 2.0);
    proxy.quiet();
}
