//! Certificates in files: what operators see of them.

use blackbox::issuer::{Issuer, s_client};
use blackbox::upstream::Upstream;
use blackbox::wait::eventually;

/// Certificates that change are taken up; what is wrong leaves the old ones in force.
#[test]
fn certificates_are_taken_up_anew() {
    let (authority, server) = (Issuer::new(), Upstream::pages());
    authority.good("a", "first", &["a.example"]);
    let proxy = authority.run(format!("certificates = [{}]", authority.pair("a")), &server);
    let subject = || {
        let seen = s_client(&proxy, &["-servername", "a.example"]);
        let line = seen.lines().find(|line| line.contains("s:")).unwrap_or_default();
        line.replace(' ', "")
    };
    assert!(subject().ends_with("CN=first"), "{}", subject());
    let (listener, certificate) = (proxy.address().to_string(), authority.folder().file("a.pem"));
    let labels = [("listener", &*listener), ("certificate", &certificate)];
    let expires =
        || proxy.figure("anteroom_tls_certificate_expiry_timestamp_seconds", &labels).to_string();
    let has_reloaded = |result| {
        proxy.figure("anteroom_tls_certificate_reloads_total", &[("result", result)]) > 0.0
    };
    let first = expires();
    assert!(first.len() > 9, "{first}");
    assert_eq!(["taken", "refused"].map(has_reloaded), [false; 2]);
    authority.issue("a", "second", &["a.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2034, 5, 6);
    });
    eventually("the second certificate", || subject().ends_with("CN=second").then_some(()));
    assert_eq!(expires(), "2030486400");
    assert!(has_reloaded("taken"));
    std::fs::write(authority.folder().file("a.pem"), "broken").expect("a file");
    eventually("a warning", || {
        proxy.output().contains("the certificates from before remain in force").then_some(())
    });
    assert!(subject().ends_with("CN=second"));
    assert_eq!(expires(), "2030486400");
    assert!(has_reloaded("refused"));
    assert_eq!(authority.curl(&proxy, "a.example", &[]).0, Some(0));
    authority.good("a", "third", &["a.example"]);
    eventually("the third certificate", || subject().ends_with("CN=third").then_some(()));
    proxy.finish();
}
