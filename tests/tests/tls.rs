//! TLS with programs that others wrote: curl, OpenSSL, nginx.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use blackbox::folder::Folder;
use blackbox::issuer::{Issuer, s_client};
use blackbox::proxy::{Anteroom, command};
use blackbox::servers::{Server, free_address, nginx_with};
use blackbox::tools::{self, run};
use blackbox::typist::Typist;
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause};
use rcgen::CertificateParams;

/// Answers with what it was asked.
fn mirror() -> Upstream {
    Upstream::http(|request, _, stream| {
        let length = request.target().trim_start_matches('/').parse().unwrap_or(0);
        let fields = request.head.fields.iter().map(|(name, value)| format!("{name}: {value}\n"));
        let mut body = fields.collect::<String>().into_bytes();
        body.resize(body.len().max(length), b'x');
        respond(stream, 200, &body)?;
        Ok(Next::Keep)
    })
}

#[test]
fn both_versions_are_spoken_and_servers_are_told() {
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "a", &["a.example"]);
    let proxy = authority.run(format!("certificates = [{}]", authority.pair("a")), &server);
    for version in ["1.2", "1.3"] {
        let only = [&format!("--tlsv{version}")[..], "--tls-max", version];
        let (code, body) = authority.curl(&proxy, "a.example", &only);
        assert_eq!(code, Some(0), "{body}");
        assert!(body.contains("X-Forwarded-Proto: https"), "{body}");
        assert!(body.contains(";proto=https"), "{body}");
        let (code, body) = authority.curl(&proxy, "a.example/3000000", &only);
        assert!(code == Some(0) && body.len() >= 3_000_000, "{} bytes", body.len());
    }
    let seen = s_client(&proxy, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    // Which alert it is depends on what else the old hello lacks.
    assert!(seen.contains("SSL alert number") && !seen.contains("CN ="), "{seen}");
    let failed = [("with", "client"), ("reason", "cipher")];
    assert!(proxy.figure("anteroom_tls_failures_total", &failed) >= 1.0);
    let (code, body) = authority.curl(&proxy, "elsewhere.example", &[]);
    assert_eq!(code, Some(60), "the certificate is another's: {body}");
    proxy.finish();
}

#[test]
fn names_lead_to_their_certificates() {
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "a", &["a.example"]);
    authority.good("b", "b", &["*.b.example"]);
    let tls = format!(
        "certificates = [{}, {}], unknown_names = \"refuse\"",
        authority.pair("a"),
        authority.pair("b")
    );
    let proxy = authority.run(tls, &server);
    for name in ["a.example", "x.b.example", "y.b.example"] {
        assert_eq!(authority.curl(&proxy, name, &[]).0, Some(0), "{name}");
    }
    let seen = s_client(&proxy, &["-servername", "c.example"]);
    assert!(seen.contains("alert"), "{seen}");
    let seen = s_client(&proxy, &["-noservername"]);
    assert!(seen.contains("CN = a") || seen.contains("CN=a"), "who asks for no name: {seen}");
    let labels = [("with", "client"), ("reason", "name")];
    assert!(proxy.figure("anteroom_tls_failures_total", &labels) >= 1.0);
    proxy.finish();
}

#[test]
fn sessions_are_resumed() {
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "a", &["a.example"]);
    let proxy = authority.run(format!("certificates = [{}]", authority.pair("a")), &server);
    let kept = authority.folder().file("session");
    for version in ["-tls1_2", "-tls1_3"] {
        // In TLS 1.3 tickets come behind the handshake: OpenSSL waits for the answer to read them.
        let ask = |more: [&str; 2]| {
            let line = format!(
                "printf 'GET / HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n' | \
                 openssl s_client -connect {} {version} {} {} -ign_eof",
                proxy.address(),
                more[0],
                more[1]
            );
            run("sh", &["-c", &line]).output
        };
        let first = ask(["-sess_out", &kept]);
        assert!(first.contains("New, ") && first.contains("HTTP/1.1 200"), "{version}: {first}");
        for _ in 0..4 {
            let again = ask(["-sess_in", &kept]);
            assert!(
                again.contains("Reused, ") && again.contains("HTTP/1.1 200"),
                "{version}: {again}"
            );
        }
    }
    assert!(proxy.figure("anteroom_tls_handshakes_total", &[("kind", "resumed")]) >= 8.0);
    proxy.finish();
}

#[test]
fn protocols_are_agreed_on() {
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "a", &["a.example"]);
    let proxy = authority.run(format!("certificates = [{}]", authority.pair("a")), &server);
    let seen = s_client(&proxy, &["-alpn", "h2,http/1.1"]);
    assert!(seen.contains("ALPN protocol: http/1.1"), "{seen}");
    let seen = s_client(&proxy, &["-alpn", "h2"]);
    assert!(
        seen.contains("alert no application protocol") || seen.contains("alert number 120"),
        "{seen}"
    );
    let seen = s_client(&proxy, &[]);
    assert!(seen.contains("No ALPN negotiated"), "{seen}");
    proxy.finish();
}

#[test]
fn of_suites_that_are_named_the_first_is_taken_whatever_clients_prefer() {
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "a", &["a.example"]);
    let [short, long] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"];
    let [old_short, old_long] =
        ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"];
    for (named, chosen) in [
        ([short, long, old_short, old_long], [short, "ECDHE-ECDSA-AES128-GCM-SHA256"]),
        ([long, short, old_long, old_short], [long, "ECDHE-ECDSA-AES256-GCM-SHA384"]),
    ] {
        let pair = authority.pair("a");
        let proxy = authority.run(format!("certificates = [{pair}], ciphers = {named:?}"), &server);
        for order in [[short, long], [long, short]] {
            let seen = s_client(&proxy, &["-tls1_3", "-ciphersuites", &order.join(":")]);
            assert!(seen.contains(&format!("Cipher is {}", chosen[0])), "{order:?}: {seen}");
        }
        let both = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256";
        let seen = s_client(&proxy, &["-tls1_2", "-cipher", both]);
        assert!(seen.contains(&format!("Cipher is {}", chosen[1])), "{seen}");
        proxy.finish();
    }
}

/// What is inside of a connection that is passed through may be anything: its protocol is named by those
/// who speak it, or by nobody.
#[test]
fn protocols_of_what_is_passed_through_are_its_own() {
    let authority = Issuer::new();
    authority.good("a", "a", &["a.example"]);
    authority.good("app", "app", &["app.example"]);
    let address = free_address();
    let path = |end| authority.folder().file(&format!("app.{end}"));
    let mut server = Command::new("openssl");
    // It sends lines back, reversed, and refuses who offers other protocols alone.
    server.args(["s_server", "-accept", &address, "-rev", "-alpn", "mqtt"]);
    server.args(["-cert", &path("pem"), "-key", &path("key")]);
    let server = Server::start(&mut server, &address, Folder::new());
    let said = |own: &str, ours: &str| {
        let tls = format!(
            "tls = {{ certificates = [{}]{own} }}\n[[upstream]]\nservers = [\"{}\"]\n\
             tls = {{ ca = \"{}\", name = \"app.example\"{ours} }}",
            authority.pair("a"),
            server.address(),
            authority.ca()
        );
        let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
        let config = format!(
            "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
             proxy = \"pass\"\n{tls}\n"
        );
        let proxy = Anteroom::run(&authority.folder().write("pass.toml", config));
        let line = format!(
            "(echo hello; sleep 2) | openssl s_client -connect {} -alpn mqtt 2>&1",
            proxy.address()
        );
        let seen = run("sh", &["-c", &line]).output;
        proxy.finish();
        (seen.contains("olleh"), seen)
    };
    let (passed, seen) = said("", "");
    assert!(passed && seen.contains("No ALPN negotiated"), "{seen}");
    let (passed, seen) = said(", alpn = []", ", alpn = []");
    assert!(passed && seen.contains("No ALPN negotiated"), "{seen}");
    let mqtt = ", alpn = [\"mqtt\"]";
    let (passed, seen) = said(mqtt, mqtt);
    assert!(passed && seen.contains("ALPN protocol: mqtt"), "{seen}");
    let (passed, seen) = said(mqtt, ", alpn = [\"http/1.1\"]");
    assert!(!passed && seen.contains("ALPN protocol: mqtt"), "the server refuses that: {seen}");
    let (passed, seen) = said(", alpn = [\"http/1.1\"]", "");
    assert!(!passed && seen.contains("no application protocol"), "{seen}");
}

#[test]
fn clients_show_certificates_and_cannot_forge_them() {
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "a", &["a.example"]);
    authority.good("me", "me, myself", &["me.example"]);
    let other = Issuer::new();
    other.good("you", "you", &["you.example"]);
    let forged = ["-H", "X-Client-Subject: CN=forged", "-H", "X_Client_Subject: CN=forged"];
    for required in [true, false] {
        let tls = format!(
            "certificates = [{}], client_certificates = \"{}\", client_ca = \"{}\", \
             subject_header = \"X-Client-Subject\"",
            authority.pair("a"),
            if required { "required" } else { "optional" },
            authority.ca()
        );
        let proxy = authority.run(tls, &server);
        let files = |of: &Issuer, name: &str| {
            [of.folder().file(&format!("{name}.pem")), of.folder().file(&format!("{name}.key"))]
        };
        let [certificate, key] = files(&authority, "me");
        let shown = [&["--cert", &certificate, "--key", &key][..], &forged].concat();
        let (code, body) = authority.curl(&proxy, "a.example", &shown);
        assert_eq!(code, Some(0), "{body}");
        assert!(body.contains("X-Client-Subject: CN=me\\, myself"), "{body}");
        assert!(!body.contains("forged"), "{body}");
        let (code, body) = authority.curl(&proxy, "a.example", &forged);
        assert_eq!(code == Some(0), !required, "{body}");
        assert!(!body.contains("forged") && !body.contains("X-Client-Subject"), "{body}");
        let [certificate, key] = files(&other, "you");
        let (code, body) =
            authority.curl(&proxy, "a.example", &["--cert", &certificate, "--key", &key]);
        assert_ne!(code, Some(0), "another authority's: {body}");
        let labels = [("with", "client"), ("reason", "certificate")];
        assert!(proxy.figure("anteroom_tls_failures_total", &labels) >= 1.0);
        proxy.finish();
    }
}

/// Who resumes shows no certificate again.
#[test]
fn who_is_vouched_for_no_longer_does_not_resume() {
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "a", &["a.example"]);
    authority.good("me", "me", &["me.example"]);
    let [kept, certificate, key] =
        ["session", "me.pem", "me.key"].map(|it| authority.folder().file(it));
    for version in ["-tls1_2", "-tls1_3"] {
        std::fs::copy(authority.ca(), authority.folder().file("clients.pem")).expect("a copy");
        let tls = format!(
            "certificates = [{}], client_certificates = \"required\", client_ca = \"{}\"",
            authority.pair("a"),
            authority.folder().file("clients.pem")
        );
        let proxy = authority.run(tls, &server);
        let ask = |session: &str| {
            let line = format!(
                "printf 'GET / HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n' | \
                 openssl s_client -connect {} {version} -cert {certificate} -key {key} \
                 {session} {kept} -ign_eof",
                proxy.address(),
            );
            run("sh", &["-c", &line]).output
        };
        assert!(ask("-sess_out").contains("HTTP/1.1 200"));
        let again = ask("-sess_in");
        assert!(again.contains("Reused, ") && again.contains("HTTP/1.1 200"), "{again}");
        // Another certificate of ours ends nobody's session.
        authority.good("a", "another", &["a.example"]);
        let taken = |times: usize| {
            eventually("files to be taken up", || {
                let said = proxy.output();
                (said.matches("certificates taken up anew").count() >= times).then_some(())
            });
        };
        taken(1);
        assert!(ask("-sess_in").contains("Reused, "));
        let new = std::fs::copy(Issuer::new().ca(), authority.folder().file("clients.new"));
        new.and_then(|_| {
            std::fs::rename(
                authority.folder().file("clients.new"),
                authority.folder().file("clients.pem"),
            )
        })
        .expect("another authority's");
        taken(2);
        eventually("sessions to end", || (!ask("-sess_in").contains("Reused, ")).then_some(()));
        let again = ask("-sess_in");
        assert!(!again.contains("HTTP/1.1 200"), "{version}: {again}");
        proxy.finish();
    }
}

/// What is wrong is said where it was written, in `check` and at start.
#[test]
fn wrong_files_are_told_where_they_are_named() {
    let authority = Issuer::new();
    authority.good("a", "a", &["a.example"]);
    authority.good("b", "b", &["b.example"]);
    let past = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    };
    authority.issue("old", "old", &["a.example"], past);
    let folder = authority.folder();
    let (good, key) = (folder.file("a.pem"), folder.file("a.key"));
    let pair = |certificate: &str, key: &str| {
        format!(
            "tls = {{ certificates = [{{ certificate = \"{certificate}\", key = \"{key}\" }}] }}"
        )
    };
    let empty = folder.write("empty", "");
    let servers = "servers = [\"127.0.0.1:9\"]";
    for (tls, code, says) in [
        (pair("/nowhere.pem", &key), 2, "/nowhere.pem\": there is no such file"),
        (pair(&good, &empty), 2, "empty\": there is no private key in it"),
        (pair(&empty, &key), 2, "empty\": there is no certificate in it"),
        (pair(&good, &folder.file("b.key")), 2, "b.key\": its key is not that of the certificate"),
        (pair(&folder.file("old.pem"), &folder.file("old.key")), 0, "its time was over"),
        ("tls = { certificates = [] }".to_owned(), 2, "`certificates` is empty"),
        ("tls = {}".to_owned(), 2, "tls has no `certificates`"),
        (
            format!("tls = {{ certificates = [{}], versions = [\"1.1\"] }}", authority.pair("a")),
            2,
            "RFC 8996",
        ),
        (
            format!(
                "tls = {{ certificates = [{}], ciphers = [\"TLS_RSA_WITH_RC4_128_SHA\"] }}",
                authority.pair("a")
            ),
            2,
            "`ciphers`",
        ),
        (
            format!(
                "tls = {{ certificates = [{}], client_ca = \"{}\" }}",
                authority.pair("a"),
                authority.ca()
            ),
            2,
            "client_certificates",
        ),
        (
            format!(
                "tls = {{ certificates = [{}], subject_header = \"Host\", client_certificates = \"optional\", client_ca = \"{}\" }}",
                authority.pair("a"),
                authority.ca()
            ),
            2,
            "`subject_header` = \"Host\"",
        ),
    ] {
        let file = authority.config(&tls, servers);
        let done = command(&["check", &file]).output().expect("it runs");
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert_eq!(done.status.code(), Some(code), "{tls}: {said}");
        assert!(said.contains(says), "{tls}: {said}");
        assert!(said.contains("app.toml:8:"), "line and column: {said}");
    }
}

/// A key that root alone may read is read at the start, and never again by whom the process becomes.
#[test]
fn files_that_the_user_may_not_read_are_told() {
    if !rustix::process::geteuid().is_root() {
        tools::skip("only root can become another user");
        return;
    }
    let issuer = Issuer::new();
    issuer.good("one", "one", &["one.test"]);
    let config = issuer.config(
        format!("tls = {{ certificates = [{}] }}", issuer.pair("one")),
        "servers = [\"127.0.0.1:9\"]",
    );
    let text = std::fs::read_to_string(&config).expect("it was written");
    std::fs::write(&config, format!("user = \"nobody\"\n{text}")).expect("a file");
    let mode = |file: &str, mode| {
        let path = issuer.folder().file(file);
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    };
    std::fs::set_permissions(issuer.folder().path(), Permissions::from_mode(0o755)).expect("ours");
    mode("one.pem", 0o644);
    for (bits, told) in [(0o600, true), (0o644, false)] {
        mode("one.key", bits);
        let proxy = Anteroom::run(&config);
        let said = proxy.output();
        proxy.finish();
        let warned = said.contains("one.key") && said.contains("the user nobody may not read it");
        assert_eq!(warned, told, "{said}");
    }
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "a", &["a.example"]);
    let proxy = authority.run(format!("certificates = [{}]", authority.pair("a")), &server);
    let mut silent = proxy.client();
    let mut slow = proxy.client();
    slow.send([22, 3, 1, 2, 0]);
    silent.expect_end();
    let labels = [("with", "client"), ("reason", "late")];
    eventually("the slow one's end", || {
        (proxy.figure("anteroom_tls_failures_total", &labels) >= 1.0).then_some(())
    });
    // Who never said a word has broken no rule.
    assert!(proxy.figure("anteroom_tls_failures_total", &labels) < 2.0);
    let mut plain = proxy.client();
    let answer = plain.get("/");
    assert!(answer.status == 400 && answer.text().contains("HTTPS"), "{}", answer.text());
    proxy.finish();
}

/// nginx as a server behind TLS with this certificate; the client must show one from `ca`, if it `asks`.
fn nginx(authority: &Issuer, (file, address): (&str, &str), asks: bool) -> Server {
    let path = |end| authority.folder().file(&format!("{file}.{end}"));
    let verify = if asks {
        format!("ssl_verify_client on; ssl_client_certificate {};", authority.ca())
    } else {
        String::new()
    };
    let http = format!(
        "access_log off;\n\
         server {{ listen {address} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
         ssl_protocols TLSv1.2 TLSv1.3; {verify}\n\
         location / {{ return 200 \"$ssl_protocol $ssl_server_name $ssl_session_reused \
         $ssl_client_s_dn\"; }} }}\n",
        path("pem"),
        path("key")
    );
    nginx_with(Folder::new(), address, 1, &http)
}

#[test]
fn servers_are_reached_over_tls() {
    let authority = Issuer::new();
    authority.good("app", "app", &["app.example"]);
    authority.good("proxy", "proxy", &["proxy.example"]);
    let server = nginx(&authority, ("app", &free_address()), true);
    let (ca, folder) = (authority.ca(), authority.folder());
    let own = format!(
        "certificate = \"{}\", key = \"{}\"",
        folder.file("proxy.pem"),
        folder.file("proxy.key")
    );
    let get = |tls: String| {
        let upstream = format!("servers = [\"{}\"]\ntls = {{ {tls} }}", server.address());
        let proxy = Anteroom::run(&authority.config("", upstream));
        let answer = proxy.client().get("/");
        let said = (answer.status, answer.text());
        proxy.finish();
        said
    };
    let (status, body) = get(format!("ca = \"{ca}\", name = \"app.example\", {own}"));
    assert_eq!(status, 200, "{body}");
    assert!(body.starts_with("TLSv1.3 app.example") && body.ends_with("CN=proxy"), "{body}");
    let (status, body) = get(format!("verify = false, name = \"app.example\", {own}"));
    assert_eq!(status, 200, "{body}");
    let (status, body) =
        get(format!("ca = \"{ca}\", name = \"app.example\", versions = [\"1.2\"], {own}"));
    assert!(status == 200 && body.starts_with("TLSv1.2"), "{body}");
    for tls in [
        format!("name = \"app.example\", {own}"),
        format!("ca = \"{ca}\", name = \"other.example\", {own}"),
        format!("ca = \"{ca}\", {own}"),
    ] {
        assert_eq!(get(tls.clone()).0, 502, "not believed: {tls}");
    }
    let (status, body) = get(format!("ca = \"{ca}\", name = \"app.example\""));
    assert_eq!(status, 400, "nginx wants a certificate: {body}");
}

/// Of a server whose address is an IP address, the certificate must have that; a common name is none (RFC
/// 9110 §4.3.4). Whoever is not believed hears nothing, and that is told.
#[test]
fn servers_are_who_their_certificates_names_say() {
    let authority = Issuer::new();
    let addresses = [free_address(), free_address()];
    let ip = |address: &str| address.rsplit_once(':').expect("IP:PORT").0.to_owned();
    authority.good("ip", "ip", &[&ip(&addresses[0])]);
    authority.good("common", "app.example", &[]);
    for (file, address, names) in [
        ("ip", &addresses[0], [("", 200), (", name = \"app.example\"", 502)]),
        ("common", &addresses[1], [("", 502), (", name = \"app.example\"", 502)]),
    ] {
        let server = nginx(&authority, (file, address), false);
        for (name, status) in names {
            let ca = authority.ca();
            let upstream =
                format!("servers = [\"{}\"]\ntls = {{ ca = \"{ca}\"{name} }}", server.address());
            let proxy = Anteroom::run(&authority.config("", upstream));
            let answer = proxy.client().get("/");
            assert_eq!(answer.status, status, "{file}{name}: {}", answer.text());
            let labels = [("with", "server"), ("reason", "certificate")];
            assert_eq!(proxy.figure("anteroom_tls_failures_total", &labels) > 0.0, status == 502);
            if status == 502 {
                eventually("a warning", || {
                    let said = proxy.output();
                    said.contains("sessions with servers failed: certificate").then_some(())
                });
            }
            proxy.finish();
        }
    }
}

#[test]
fn connections_to_servers_are_kept_and_sessions_resumed() {
    let authority = Issuer::new();
    authority.good("app", "app", &["app.example"]);
    let server = nginx(&authority, ("app", &free_address()), false);
    let upstream = |more: &str| {
        format!(
            "servers = [\"{}\"]\nconnections = 2\n{more}\n\
             tls = {{ ca = \"{}\", name = \"app.example\" }}",
            server.address(),
            authority.ca()
        )
    };
    let proxy = Anteroom::run(&authority.config("", upstream("")));
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
        pause(5);
    }
    let opened = proxy.figure("anteroom_upstream_connects_total", &[]);
    assert!(opened <= 2.0, "{opened} connections for one client");
    drop(client);
    proxy.finish();

    // Where each request has a connection of its own, its session is an earlier one's.
    let proxy = Anteroom::run(&authority.config("", upstream("persistent = false")));
    let mut client = proxy.client();
    assert!(client.get("/").text().starts_with("TLSv1.3 app.example . "), "the first is new");
    eventually("a session to be resumed", || {
        client.get("/").text().starts_with("TLSv1.3 app.example r ").then_some(())
    });
    drop(client);
    proxy.finish();
}

/// Whom servers' certificates come from, and who we are to them, is taken up when the files change.
#[test]
fn files_for_servers_are_taken_up_anew() {
    let (authority, other) = (Issuer::new(), Issuer::new());
    authority.good("app", "app", &["app.example"]);
    authority.good("own", "first", &["proxy.example"]);
    let server = nginx(&authority, ("app", &free_address()), true);
    let folder = authority.folder();
    let replace = |text: &str| {
        let path = folder.write("believed.new", text);
        std::fs::rename(path, folder.file("believed.pem")).expect("one folder");
    };
    let read = |path: String| std::fs::read_to_string(path).expect("a file");
    replace(&read(other.ca()));
    let upstream = format!(
        "servers = [\"{}\"]\npersistent = false\nhealth = {{ grace = \"1ms\" }}\n\
         tls = {{ ca = \"{}\", name = \"app.example\", certificate = \"{}\", key = \"{}\" }}",
        server.address(),
        folder.file("believed.pem"),
        folder.file("own.pem"),
        folder.file("own.key"),
    );
    let proxy = Anteroom::run(&authority.config("", upstream));
    let ask = || {
        let answer = proxy.client().get("/");
        (answer.status, answer.text())
    };
    assert_eq!(ask().0, 502, "nobody vouches for it");
    replace(&read(authority.ca()));
    eventually("the other authority", || (ask().0 == 200).then_some(()));
    assert!(ask().1.ends_with("CN=first"), "{}", ask().1);
    replace("broken");
    eventually("a warning", || {
        proxy.output().contains("the certificates from before remain in force").then_some(())
    });
    assert_eq!(ask().0, 200);
    replace(&read(authority.ca()));
    authority.good("own", "second", &["proxy.example"]);
    eventually("the other certificate", || ask().1.ends_with("CN=second").then_some(()));
    replace(&read(other.ca()));
    eventually("nobody to vouch for it", || (ask().0 == 502).then_some(()));
    proxy.finish();
}

/// Keys change as often as a client likes as long as it says something now and then (RFC 8446 §4.6.3):
/// its own (`k`) and ours with them (`K`), between requests and within one.
#[test]
fn keys_change_at_any_moment() {
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "a", &["a.example"]);
    let proxy = authority.run(format!("certificates = [{}]", authority.pair("a")), &server);
    let mut client = Typist::begin(proxy.address());
    for round in 0..4 {
        for _ in 0..6 {
            client.types("K\n");
            client.types("k\n");
        }
        client.types("POST /30000 HTTP/1.1\r\nHo");
        client.types("K\n");
        client.types("st: h\r\nContent-Length: 4\r\n");
        client.types(if round == 3 { "Connection: close\r\n\r\nab" } else { "\r\nab" });
        client.types("k\n");
        client.types("cd");
        client.types("K\n");
    }
    let [told, said] = client.ends();
    assert_eq!(told.matches("HTTP/1.1 200 ").count(), 4, "{said}");
    assert_eq!(told.matches(&"x".repeat(29_000)).count(), 4, "every byte of each: {said}");
    let labels = [("with", "client"), ("reason", "protocol")];
    assert!(proxy.figure("anteroom_tls_failures_total", &labels) == 0.0, "{said}");

    // Who changes keys and says nothing keeps a processor busy for nothing: 32 are enough.
    let mut client = Typist::begin(proxy.address());
    (0..40).for_each(|_| client.types("K\n"));
    let [told, said] = client.ends();
    assert!(told.is_empty(), "{told} {said}");
    assert!(proxy.figure("anteroom_tls_failures_total", &labels) >= 1.0, "{said}");
    assert_eq!(authority.curl(&proxy, "a.example", &[]).0, Some(0));
    proxy.finish();
}

/// What testssl.sh looks for and may say here: the certificate is nobody's that it knows, and it
/// tells what its own OpenSSL cannot try.
const OUR_OWN: [&str; 9] = [
    "engine_problem",
    "RC4",
    "cert_chain_of_trust",
    "cert_expirationStatus",
    "cert_notAfter",
    "cert_revocation",
    "cert_extlifeSpan",
    "cert_validityPeriod",
    "DNS_CAArecord",
];

#[test]
fn testssl_finds_nothing() {
    // It takes half a minute, and is the same on every driver.
    if std::env::var("ANTEROOM_IO").is_ok_and(|io| io == "uring") {
        return;
    }
    let (authority, server) = (Issuer::new(), mirror());
    authority.good("a", "localhost", &["localhost", "127.0.0.1"]);
    let proxy = authority.run(format!("certificates = [{}]", authority.pair("a")), &server);
    let found = authority.folder().file("found.json");
    let line = ["--quiet", "--color", "0", "--warnings", "off", "--fast", "--jsonfile", &found];
    let what = ["--protocols", "--fs", "--server-defaults", "--vulnerable", proxy.address()];
    let ran = run("testssl", &[&line[..], &what].concat());
    let found: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&found).expect("findings")).expect("JSON");
    let found = found.as_array().expect("a list");
    let told = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap_or("").to_owned();
    let good = found.iter().filter(|one| told(one, "severity") == "OK").count();
    assert!(good >= 20, "it tried {good} things: {}", ran.output);
    for one in found {
        let (id, severity) = (told(one, "id"), told(one, "severity"));
        let name = id.split(' ').next().unwrap_or_default();
        // With WARN it says that itself could not try.
        let fine = ["OK", "INFO", "WARN"].contains(&&*severity) || OUR_OWN.contains(&name);
        assert!(fine, "{id}: {severity}: {}", told(one, "finding"));
    }
    proxy.quiet();
    proxy.finish();
}
