//! Long certificate chains of programs that others wrote, and of servers.

use blackbox::issuer::Issuer;
use blackbox::proxy::Anteroom;
use blackbox::tools::run;
use blackbox::upstream::Upstream;

/// Files with a certificate and `behind` it, each of some 500 bytes, and with its key.
fn chain(authority: &Issuer, behind: usize) -> [String; 2] {
    let name = format!("me{behind}");
    authority.good(&name, "me", &["me.example", "a.example"]);
    let [certificate, key] =
        ["pem", "key"].map(|end| authority.folder().file(&format!("{name}.{end}")));
    let mut text = std::fs::read_to_string(&certificate).expect("it was issued");
    authority.good("other", "other", &["other.example"]);
    let other = authority.folder().file("other.pem");
    let other = std::fs::read_to_string(other).expect("it was issued");
    text += &other.repeat(behind);
    [authority.folder().write(&format!("{name}-chain.pem"), text), key]
}

/// Sessions that were refused for the length of a chain.
fn too_large(proxy: &Anteroom, with: &str) -> f64 {
    proxy.figure("anteroom_tls_failures_total", &[("with", with), ("reason", "too_large")])
}

/// Asks for a page, and shows a chain of so many certificates behind the first.
fn ask(proxy: &Anteroom, [chain, key]: &[String; 2], session: &str) -> String {
    let line = format!(
        "printf 'GET / HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client \
         -connect {} -cert {chain} -cert_chain {chain} -key {key} {session} -ign_eof",
        proxy.address(),
    );
    run("sh", &["-c", &line]).output
}

#[test]
fn a_client_is_refused_whose_chain_is_too_long() {
    let (authority, server) = (Issuer::new(), Upstream::pages());
    authority.good("a", "a", &["a.example"]);
    let [short, long] = [3, 15].map(|behind| chain(&authority, behind));
    for (max, fits) in [("", false), (", max_client_chain = \"15KiB\"", true)] {
        let proxy = authority.run(
            format!(
                "certificates = [{}], client_certificates = \"required\", client_ca = \"{}\"{max}",
                authority.pair("a"),
                authority.ca()
            ),
            &server,
        );
        for version in ["-tls1_2", "-tls1_3"] {
            assert!(ask(&proxy, &short, version).contains("HTTP/1.1 200"), "{version}");
            let before = too_large(&proxy, "client");
            let kept = format!("{version} -sess_out {}", authority.folder().file("session"));
            let said = ask(&proxy, &long, &kept);
            assert_eq!(said.contains("HTTP/1.1 200"), fits, "{version}: {said}");
            if fits {
                let again = ask(&proxy, &long, &kept.replace("-sess_out", "-sess_in"));
                assert!(again.contains("Reused, ") && again.contains("HTTP/1.1 200"), "{again}");
            } else {
                assert!(said.contains("SSL alert number 46"), "{said}");
            }
            let refused = f64::from(u8::from(!fits));
            assert!((too_large(&proxy, "client") - before - refused).abs() < 0.5, "{version}");
        }
        proxy.finish();
    }
}

#[test]
fn a_server_is_not_reached_whose_chain_is_too_long() {
    let (authority, pages) = (Issuer::new(), Upstream::pages());
    let [certificate, key] = chain(&authority, 15);
    let pair = format!("{{ certificate = \"{certificate}\", key = \"{key}\" }}");
    let server = authority.run(format!("certificates = [{pair}]"), &pages);
    for (tls, fits) in [
        (format!("ca = \"{}\"", authority.ca()), true),
        (format!("ca = \"{}\", max_chain = \"8KiB\"", authority.ca()), false),
        ("verify = false, max_chain = \"8KiB\"".to_owned(), false),
    ] {
        let upstream = format!(
            "servers = [\"{}\"]\ntls = {{ name = \"me.example\", {tls} }}",
            server.address()
        );
        let proxy = Anteroom::run(&authority.config("", upstream));
        let status = proxy.client().get("/").status;
        assert_eq!(status == 200, fits, "{tls}: {status}");
        assert_eq!(too_large(&proxy, "server") > 0.5, !fits, "{tls}");
        proxy.finish();
    }
}
