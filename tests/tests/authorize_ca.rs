//! Who vouches for those that are asked whether a client may: files that change.

use blackbox::asking::{ask, asking, asking_with};
use blackbox::certificates::Certificates;
use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::tokens::{KeyServer, Signer};
use blackbox::upstream::Upstream;
use blackbox::wait::eventually;

/// The text of an issuer's own certificate.
fn text(issuer: &Certificates) -> String {
    std::fs::read_to_string(issuer.ca()).expect("it was written")
}

/// Files that were taken up, and that were refused.
fn reloads(proxy: &Anteroom) -> (f64, f64) {
    let of = |result| proxy.figure("anteroom_authorize_reloads_total", &[("result", result)]);
    (of("taken"), of("refused"))
}

/// Waits for as many lines that say this.
fn told(proxy: &mut Anteroom, times: usize, line: &str) {
    eventually(line, || (proxy.process().output().matches(line).count() == times).then_some(()));
}

#[test]
fn an_authorization_server_is_believed_by_what_the_file_says_now() {
    let (upstream, folder) = (Upstream::pages(), Folder::new());
    let [one, other] = [Certificates::new(), Certificates::new()];
    // Whatever it is asked, it answers 200.
    let door = KeyServer::start("127.0.0.1:0", Some(&one.issue("door", &["localhost"])), &[]);
    let ca = folder.write("ca.pem", text(&one));
    let asked =
        format!("{{ request = \"{}\", ca = \"{ca}\", cache = \"10m\" }}", door.url("localhost"));
    // Each worker remembers for itself.
    let mut proxy = asking_with(&upstream, &folder, &asked, "workers = 1");
    let status = |proxy: &Anteroom, head: &str| ask(proxy, &["-H", head]).0;
    assert_eq!([(); 2].map(|()| status(&proxy, "X-Who: me")), [200, 200]);
    assert_eq!(door.asked(), 1, "it is remembered");
    // What is wrong leaves in force what was before.
    for (times, wrong) in (1..).zip(["", "-----BEGIN CERTIFICATE-----\nAAAA\n"]) {
        folder.write("ca.pem", wrong);
        told(&mut proxy, times, "name a file of certificates; what it said before holds");
        assert_eq!(status(&proxy, &format!("X-Who: {times}")), 200);
    }
    std::fs::remove_file(&ca).expect("it is there");
    told(&mut proxy, 1, "create it, or name another; what it said before holds");
    assert_eq!(status(&proxy, "X-Who: 3"), 200);
    // It says so once it has answered.
    eventually("the fourth question", || (door.asked() == 4).then_some(()));
    assert_eq!(reloads(&proxy), (0.0, 3.0));
    // From here on it is a stranger: nobody is remembered, and nothing is asked over a connection from
    // before.
    folder.write("ca.pem", text(&other));
    let taken = "it says whose certificate the server that decides may show";
    told(&mut proxy, 1, taken);
    eventually("nobody decides", || (status(&proxy, "X-Who: me") == 503).then_some(()));
    told(&mut proxy, 1, "does not say whether a client may: invalid peer certificate: ");
    assert_eq!(status(&proxy, "X-Who: 4"), 503);
    assert_eq!(door.asked(), 4);
    folder.write("ca.pem", text(&other) + &text(&one));
    told(&mut proxy, 2, taken);
    eventually("it decides again", || (status(&proxy, "X-Who: me") == 200).then_some(()));
    assert_eq!(reloads(&proxy), (2.0, 3.0));
}

#[test]
fn a_server_of_keys_is_believed_by_what_the_file_says_now() {
    let [one, two] = ["one", "two"].map(Signer::new);
    let (upstream, folder) = (Upstream::pages(), Folder::new());
    let [own, other] = [Certificates::new(), Certificates::new()];
    let certificate = own.issue("keys", &["localhost"]);
    let server = KeyServer::start("127.0.0.1:0", Some(&certificate), &[&one]);
    let ca = folder.write("ca.pem", text(&other));
    let url = server.url("localhost");
    let asked = format!("{{ jwt = {{ keys = \"{url}\", ca = \"{ca}\" }}, cache = \"0s\" }}");
    let mut proxy = asking(&upstream, &folder, &asked);
    let status = |proxy: &Anteroom, signer: &Signer| ask(proxy, &["-H", &signer.bearer()]).0;
    assert_eq!(status(&proxy, &one), 503);
    assert_eq!(server.asked(), 0, "it is a stranger");
    folder.write("ca.pem", text(&own));
    let taken = "it says whose certificate the server of keys may show";
    told(&mut proxy, 1, taken);
    eventually("the keys", || (status(&proxy, &one) == 200).then_some(()));
    // It becomes one again: its keys from before hold, and no others are taken.
    server.has(&[&two]);
    folder.write("ca.pem", text(&other));
    told(&mut proxy, 2, taken);
    told(&mut proxy, 1, "those from before hold, and it is tried again");
    assert_eq!((status(&proxy, &one), status(&proxy, &two)), (200, 503));
    assert_eq!(server.asked(), 1);
    folder.write("ca.pem", text(&own));
    eventually("the new keys", || (status(&proxy, &two) == 200).then_some(()));
    assert_eq!(status(&proxy, &one), 401);
}
