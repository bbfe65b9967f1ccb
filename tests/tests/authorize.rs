//! Who may have a request served: passwords, tokens, an authorization server.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blackbox::asking::{ask, asking};
use blackbox::certificates::Certificates;
use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::tokens::{Signer, in_seconds};
use blackbox::tools::run;
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::eventually;

fn line(user: &str, password: &str, cost: u32) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, cost).expect("a hash"))
}

#[test]
fn passwords_are_asked_for_and_files_are_read_anew() {
    let upstream = Upstream::pages();
    let folder = Folder::new();
    let file = folder.write("passwords", line("me", "mine", 5));
    let asked = format!("{{ basic = \"{file}\", realm = \"here\", subject_header = \"X-User\" }}");
    let proxy = asking(&upstream, &folder, &asked);
    let (status, text) = ask(&proxy, &[]);
    assert_eq!(status, 401);
    assert!(text.contains("WWW-Authenticate: Basic realm=\"here\", charset=\"UTF-8\""), "{text}");
    assert_eq!(ask(&proxy, &["--user", "me:yours"]).0, 401);
    assert_eq!(ask(&proxy, &["--user", "you:mine"]).0, 401);
    assert_eq!(upstream.count(), 0, "nobody else was let in");
    assert_eq!(ask(&proxy, &["--user", "me:mine", "-H", "X-User: root"]).0, 200);
    assert_eq!(upstream.last().head.get("x-user"), Some("me"));
    // What is wrong leaves in force what was before.
    std::fs::write(&file, "me:plain\n").unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(ask(&proxy, &["--user", "me:mine"]).0, 200);
    std::fs::write(&file, line("me", "other", 5)).unwrap();
    eventually("the new file holds", || {
        (ask(&proxy, &["--user", "me:other"]).0 == 200).then_some(())
    });
    assert_eq!(ask(&proxy, &["--user", "me:mine"]).0, 401, "nobody is remembered from before");
}

/// A file without a name is right, and lets nobody in: that is told, as it is hardly meant.
#[test]
fn a_file_without_a_name_is_warned_of() {
    let (upstream, folder) = (Upstream::pages(), Folder::new());
    let file = folder.write("passwords", "# nobody yet\n");
    let mut proxy = asking(&upstream, &folder, &format!("{{ basic = \"{file}\" }}"));
    let warning = format!("{file}: there is no name in it: nobody can come in until you add one");
    let told = |proxy: &mut Anteroom, times: usize| {
        eventually("a warning", || {
            (proxy.process().output().matches(&warning).count() == times).then_some(())
        });
    };
    let status = |proxy: &Anteroom| ask(proxy, &["--user", "me:mine"]).0;
    told(&mut proxy, 1);
    assert_eq!(status(&proxy), 401);
    std::fs::write(&file, line("me", "mine", 5)).unwrap();
    eventually("somebody", || (status(&proxy) == 200).then_some(()));
    told(&mut proxy, 1);
    std::fs::write(&file, "\n").unwrap();
    told(&mut proxy, 2);
    eventually("nobody", || (status(&proxy) == 401).then_some(()));
}

#[test]
fn many_wrong_passwords_slow_nobody_down_who_is_remembered() {
    let upstream = Upstream::pages();
    let folder = Folder::new();
    let file = folder.write("passwords", line("me", "mine", 11));
    let proxy = asking(&upstream, &folder, &format!("{{ basic = \"{file}\" }}"));
    assert_eq!(ask(&proxy, &["--user", "me:mine"]).0, 200);
    let address = proxy.address().to_owned();
    let crowd = std::thread::spawn(move || {
        let url = format!("http://{address}/[1-200]");
        let parallel = ["--parallel", "--parallel-max", "200", "--user", "me:wrong"];
        let mut line = vec!["--silent", "--output", "/dev/null", "--write-out", "%{http_code}\n"];
        line.extend(parallel);
        line.push(&url);
        run("curl", &line)
    });
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..20 {
        let began = std::time::Instant::now();
        assert_eq!(ask(&proxy, &["--user", "me:mine"]).0, 200, "it is remembered");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    let codes = crowd.join().unwrap().output;
    // Beside them curl draws how far it is.
    let codes: Vec<&str> = codes.lines().filter(|line| line.parse::<u16>().is_ok()).collect();
    let told = |code: &&str| ["401", "503"].contains(code);
    assert!(codes.len() == 200 && codes.iter().all(told) && codes.contains(&"401"), "{codes:?}");
}

#[test]
fn tokens_are_what_they_say_or_of_no_use() {
    let upstream = Upstream::pages();
    let folder = Folder::new();
    let signer = Signer::new("k");
    let public = signer.public();
    let asked = format!(
        "{{ jwt = {{ keys = \"{public}\", issuer = [\"i\"], audience = [\"us\"] }}, \
         subject_header = \"X-User\", pass_credentials = false }}"
    );
    let proxy = asking(&upstream, &folder, &asked);
    let now = in_seconds(0);
    let claims = |exp: u64, audience: &str| {
        format!("{{\"sub\":\"me\",\"iss\":\"i\",\"aud\":\"{audience}\",\"exp\":{exp}}}")
    };
    let rs256 = "{\"alg\":\"RS256\"}";
    let good = signer.sign(rs256, &claims(now + 600, "us"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    assert_eq!(ask(&proxy, &["-H", &bearer(&good)]).0, 200);
    let met = upstream.last();
    assert_eq!((met.head.get("x-user"), met.head.get("authorization")), (Some("me"), None));
    upstream.forget();
    let [_, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let none = URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}");
    for bad in [
        signer.sign(rs256, &claims(now - 600, "us")),
        signer.sign(rs256, &claims(now + 600, "them")),
        signer.sign("{\"alg\":\"HS256\"}", &claims(now + 600, "us")),
        signer.sign(
            "{\"alg\":\"RS256\",\"kid\":\"../../x\",\"crit\":[\"b64\"]}",
            &claims(now + 600, "us"),
        ),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        "a".repeat(7000),
        "a".repeat(12_000),
        "..".to_owned(),
    ] {
        let (status, text) = ask(&proxy, &["-H", &bearer(&bad)]);
        assert_eq!(status, 401, "{bad}");
        assert!(
            text.contains("WWW-Authenticate: Bearer realm=\"anteroom\", error=\"invalid_token\"")
        );
    }
    let (status, text) = ask(&proxy, &[]);
    assert!(status == 401 && !text.contains("invalid_token"), "{text}");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_authorization_server_decides_by_the_head() {
    let upstream = Upstream::pages();
    let door = Upstream::http(|request, _, stream| {
        match request.head.get("cookie") {
            Some("good") => stream
                .write_all(b"HTTP/1.1 204 No Content\r\nX-Role: reader\r\nX-Name: me\r\n\r\n")?,
            Some("bad") => respond(stream, 403, b"")?,
            Some("ill") => respond(stream, 500, b"")?,
            _ => stream.write_all(
                b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
            )?,
        }
        Ok(Next::Keep)
    });
    let asked = format!(
        "{{ request = \"http://{}/check\", copy = [\"X-Role\"], user = \"X-Name\", \
         subject_header = \"X-User\" }}",
        door.address()
    );
    let mut proxy = asking(&upstream, &Folder::new(), &asked);
    let with = |proxy: &Anteroom, cookie: &str| {
        ask(proxy, &["-H", &format!("Cookie: {cookie}"), "-H", "X-Role: root"])
    };
    assert_eq!(with(&proxy, "good").0, 200);
    let met = upstream.last();
    assert_eq!((met.head.get("x-role"), met.head.get("x-user")), (Some("reader"), Some("me")));
    let question = door.last();
    assert_eq!(question.head.get("x-original-uri"), Some("/a"));
    assert_eq!(question.head.get("x-original-method"), Some("GET"));
    assert_eq!(question.head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(with(&proxy, "bad").0, 403);
    assert_eq!(with(&proxy, "ill").0, 503);
    let (status, text) = with(&proxy, "none");
    assert!(status == 302 && text.contains("Location: /login"), "{text}");
    assert_eq!(upstream.count(), 1);
    let address = door.address().to_owned();
    drop(door);
    assert_eq!(with(&proxy, "good").0, 503);
    // Why nobody can come in is told, but not for each request.
    let silent = format!("warning: http://{address}/check does not say whether a client may: ");
    let output = eventually("a warning", || {
        let output = proxy.process().output();
        output.contains(&silent).then_some(output)
    });
    assert!(output.contains(&(silent.clone() + "the answer is 500;")), "{output}");
    assert_eq!(output.matches(&silent).count(), 1, "{output}");
}

/// A configuration with TLS, for clients with certificates, and this `authorize`.
fn certified(upstream: &Upstream, issuer: &Certificates, authorize: &str) -> Anteroom {
    let folder = Folder::new();
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let own = issuer.issue("localhost", &["localhost"]);
    let content = format!(
        "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\nlog = {{ access = \"stderr\" }}\n[[listen]]\n\
         address = \"127.0.0.1:0\"\nproxy = \"http\"\nauthorize = {authorize}\n\
         tls = {{ certificates = [{{ certificate = \"{own}\", key = \"{own}\" }}], \
         client_certificates = \"optional\", client_ca = \"{ca}\" }}\n[[upstream]]\n\
         servers = [\"{}\"]\n",
        upstream.address(),
        ca = issuer.ca(),
    );
    Anteroom::run(&folder.write("a.toml", content))
}

/// Status of an answer over TLS.
fn ask_secured(proxy: &Anteroom, issuer: &Certificates, arguments: &[&str]) -> u16 {
    let port = proxy.address().rsplit(':').next().unwrap_or_default();
    let (url, ca) = (format!("https://localhost:{port}/a"), issuer.ca());
    let line =
        ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert", &ca];
    let told = run("curl", &[&line, arguments, &[&url]].concat());
    told.output.trim().parse().unwrap_or_else(|_| panic!("no answer: {told:?}"))
}

#[test]
fn certificates_let_in_whom_they_name() {
    let (upstream, issuer) = (Upstream::pages(), Certificates::new());
    let [me, other] = ["me", "other"].map(|name| issuer.issue(name, &[]));
    let asked = "{ certificate = true, subjects = [\"CN=me\"], subject_header = \"X-User\" }";
    let mut proxy = certified(&upstream, &issuer, asked);
    let ask = |proxy: &Anteroom, line: &[&str]| ask_secured(proxy, &issuer, line);
    assert_eq!(ask(&proxy, &[]), 403);
    assert_eq!(ask(&proxy, &["--cert", &other]), 403);
    assert_eq!(upstream.count(), 0);
    assert_eq!(ask(&proxy, &["--cert", &me, "-H", "X-User: root"]), 200);
    assert_eq!(upstream.last().head.get("x-user"), Some("CN=me"));
    eventually("the log", || {
        let told = proxy.process().output();
        told.contains("\"user\":\"CN=me\"").then_some(())
    });
    // With a password, both are needed.
    let folder = Folder::new();
    let file = folder.write("passwords", line("user", "mine", 4));
    let asked = format!("{{ certificate = true, basic = \"{file}\" }}");
    let proxy = certified(&upstream, &issuer, &asked);
    assert_eq!(ask(&proxy, &["--user", "user:mine"]), 403);
    assert_eq!(ask(&proxy, &["--cert", &other]), 401);
    assert_eq!(ask(&proxy, &["--cert", &other, "--user", "user:wrong"]), 401);
    assert_eq!(ask(&proxy, &["--cert", &other, "--user", "user:mine"]), 200);
}

/// A subject may be empty where other names are said (RFC 5280 §4.1.2.6), and too long to be told.
#[test]
fn a_certificate_without_a_subject_is_one() {
    let (upstream, issuer) = (Upstream::pages(), Certificates::new());
    let long = "a".repeat(600);
    let [nobody, long] = ["", &long].map(|subject| {
        let (certificate, key) = issuer.sign(subject, &["me.example"], |params| {
            if subject.is_empty() {
                params.distinguished_name = rcgen::DistinguishedName::new();
            }
        });
        let name = if subject.is_empty() { "nobody.pem" } else { "long.pem" };
        issuer.folder().write(name, certificate + &key)
    });
    let anybody =
        certified(&upstream, &issuer, "{ certificate = true, subject_header = \"X-User\" }");
    let me = certified(&upstream, &issuer, "{ certificate = true, subjects = [\"CN=me\"] }");
    for shown in [&nobody, &long] {
        let line = ["--cert", shown, "-H", "X-User: root"];
        assert_eq!(ask_secured(&anybody, &issuer, &line), 200, "{shown}");
        assert_eq!(upstream.last().head.get("x-user"), None, "{shown}");
        assert_eq!(ask_secured(&me, &issuer, &line), 403, "{shown}");
    }
    assert_eq!(ask_secured(&anybody, &issuer, &[]), 403);
}

/// RFC 9110 §15.5.2.
#[test]
fn a_401_has_a_challenge_whoever_decides() {
    let (upstream, folder) = (Upstream::pages(), Folder::new());
    let door = Upstream::http(|_, _, stream| {
        respond(stream, 401, b"")?;
        Ok(Next::Keep)
    });
    let file = folder.write("passwords", line("me", "mine", 4));
    let signer = Signer::new("k");
    for (decides, challenge) in [
        (format!("basic = \"{file}\""), "Basic realm=\"here\", charset=\"UTF-8\""),
        (format!("jwt = {{ keys = \"{}\" }}", signer.public()), "Bearer realm=\"here\""),
        // It says nothing of credentials itself.
        (format!("request = \"http://{}/\"", door.address()), "Bearer realm=\"here\""),
    ] {
        let proxy = asking(&upstream, &folder, &format!("{{ {decides}, realm = \"here\" }}"));
        let (status, text) = ask(&proxy, &[]);
        let line = format!("WWW-Authenticate: {challenge}\r\n");
        assert!(status == 401 && text.contains(&line), "{decides}: {text}");
    }
    assert_eq!(upstream.count(), 0);
}

/// Nothing that a client shows, or that its authorization server is shown, is written anywhere.
#[test]
fn no_secret_is_told_in_a_log_or_a_figure() {
    let signer = Signer::new("k");
    let upstream = Upstream::pages();
    let door = Upstream::http(|request, _, stream| {
        let known = request.head.get("cookie").is_some_and(|it| it.contains("c00kie"));
        respond(stream, if known { 204 } else { 401 }, b"")?;
        Ok(Next::Keep)
    });
    let folder = Folder::new();
    let file = folder.write("passwords", line("me", "pa55word", 4));
    let token = signer.bearer();
    let signature = token.rsplit('.').next().unwrap_or_default();
    let basic = base64::engine::general_purpose::STANDARD.encode("me:pa55word");
    for asked in [
        format!("basic = \"{file}\""),
        format!("jwt = {{ keys = \"{}\" }}", signer.public()),
        format!("request = \"http://{}/check?key=p4th\"", door.address()),
    ] {
        let mut proxy = asking(&upstream, &folder, &format!("{{ {asked} }}"));
        let served = [
            vec!["--user", "me:pa55word", "-H", "Cookie: id=c00kie"],
            vec!["-H", &token, "-H", "Cookie: id=c00kie"],
        ];
        let codes = served.map(|line| ask(&proxy, &line).0);
        assert!(codes.contains(&200), "{asked}: {codes:?}");
        // And all that is wrong about them.
        for line in [
            vec!["--user", "me:pa55word2"],
            vec!["--user", "nobody:pa55word"],
            vec!["-H", "Authorization: Bearer x.pa55word.y"],
            vec!["-H", "Authorization: Basic pa55word%"],
            vec!["-H", "Authorization: pa55word"],
            vec!["-H", &format!("{token}x"), "-H", "Cookie: id=c00ki"],
        ] {
            let status = ask(&proxy, &line).0;
            assert!([401, 503].contains(&status), "{line:?}: {status}");
        }
        eventually("eight lines", || {
            let told = proxy.process().output();
            (told.matches("\"status\":").count() == 8).then_some(())
        });
        let figures = proxy.ask("/metrics").text() + &proxy.ask("/status").text();
        let told = proxy.process().output() + &figures;
        for secret in ["pa55word", "c00ki", "p4th", signature, &basic, "cGE1NX"] {
            assert!(!told.contains(secret), "{secret} is told: {told}");
        }
    }
}
