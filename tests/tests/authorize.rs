//! Who may have a request served: passwords, tokens, an authorization server.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::tools::{bytes, run};
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::eventually;

/// A proxy before this server that asks this.
fn asking(upstream: &Upstream, folder: &Folder, authorize: &str) -> Anteroom {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let content = format!(
        "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\nlog = {{ access = \"stderr\" }}\n[[listen]]\n\
         address = \"127.0.0.1:0\"\nproxy = \"http\"\nauthorize = {authorize}\n[[upstream]]\n\
         servers = [\"{}\"]\n",
        upstream.address()
    );
    Anteroom::run(&folder.write("a.toml", content))
}

/// Status and everything else of an answer, as curl shows it.
fn ask(proxy: &Anteroom, arguments: &[&str]) -> (u16, String) {
    let url = format!("http://{}/a", proxy.address());
    let mut line = vec!["--silent", "--show-error", "--include", "--max-time", "30"];
    line.extend(arguments);
    line.push(&url);
    let text = String::from_utf8_lossy(&bytes("curl", &line)).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {text:?}")), text)
}

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

#[test]
fn many_wrong_passwords_slow_nobody_else_down() {
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
    crowd.join().unwrap();
}

/// A token that openssl signs.
fn token(folder: &Folder, key: &str, header: &str, claims: &str) -> String {
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let file = folder.write("message", &message);
    let signed = bytes("openssl", &["dgst", "-sha256", "-sign", key, &file]);
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signed))
}

#[test]
fn tokens_are_what_they_say_or_of_no_use() {
    let upstream = Upstream::pages();
    let folder = Folder::new();
    let (key, public) = (folder.file("key.pem"), folder.file("public.pem"));
    let made = run("openssl", &["genpkey", "-algorithm", "RSA", "-out", &key]);
    assert_eq!(made.code, Some(0), "{made:?}");
    run("openssl", &["pkey", "-in", &key, "-pubout", "-out", &public]);
    let asked = format!(
        "{{ jwt = {{ keys = \"{public}\", issuer = [\"i\"], audience = [\"us\"] }}, \
         subject_header = \"X-User\", pass_credentials = false }}"
    );
    let proxy = asking(&upstream, &folder, &asked);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = |exp: u64, audience: &str| {
        format!("{{\"sub\":\"me\",\"iss\":\"i\",\"aud\":\"{audience}\",\"exp\":{exp}}}")
    };
    let rs256 = "{\"alg\":\"RS256\"}";
    let good = token(&folder, &key, rs256, &claims(now + 600, "us"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    assert_eq!(ask(&proxy, &["-H", &bearer(&good)]).0, 200);
    let met = upstream.last();
    assert_eq!((met.head.get("x-user"), met.head.get("authorization")), (Some("me"), None));
    upstream.forget();
    let [_, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let none = URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}");
    for bad in [
        token(&folder, &key, rs256, &claims(now - 600, "us")),
        token(&folder, &key, rs256, &claims(now + 600, "them")),
        token(&folder, &key, "{\"alg\":\"HS256\"}", &claims(now + 600, "us")),
        token(
            &folder,
            &key,
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
    let proxy = asking(&upstream, &Folder::new(), &asked);
    let with =
        |cookie: &str| ask(&proxy, &["-H", &format!("Cookie: {cookie}"), "-H", "X-Role: root"]);
    assert_eq!(with("good").0, 200);
    let met = upstream.last();
    assert_eq!((met.head.get("x-role"), met.head.get("x-user")), (Some("reader"), Some("me")));
    let question = door.last();
    assert_eq!(question.head.get("x-original-uri"), Some("/a"));
    assert_eq!(question.head.get("x-original-method"), Some("GET"));
    assert_eq!(question.head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(with("bad").0, 403);
    assert_eq!(with("ill").0, 503);
    let (status, text) = with("none");
    assert!(status == 302 && text.contains("Location: /login"), "{text}");
    assert_eq!(upstream.count(), 1);
    drop(door);
    assert_eq!(with("good").0, 503);
}
