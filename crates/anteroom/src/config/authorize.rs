//! `authorize` of a `[[listen]]`: its files are read here, so that a wrong one is found before a client
//! is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::limits;
use control::authorize::{
    Algorithm, Authorities, AuthorizationServer, Fetch, HeaderName, KeyServer, Keys, Passwords,
    TokenRules, Url,
};
use exchange::{Asks, Authorization};

use super::fields::{Fields, or_list};
use super::own_field::own_field;
use super::schema::Preset::{Default, Needed, Unset};
use super::schema::{Section, key, time};
use crate::authorize::{AuthorizeSettings, Ca, Source, Watched, doubt};
use crate::settings::Complaints;

/// `authorize`.
pub(crate) static AUTHORIZE: Section = Section {
    title: "authorize",
    keys: &[
        key(
            "basic",
            Unset { example: "\"/etc/anteroom/passwords\"", means: "no passwords" },
            "A file of names and hashed passwords (Basic, RFC 7617); read again when it changes.",
        ),
        key(
            "jwt",
            Unset { example: "{ keys = \"keys.json\" }", means: "no tokens" },
            "How tokens are checked (Bearer, RFC 6750).",
        ),
        key(
            "request",
            Unset { example: "\"http://127.0.0.1:9000/check\"", means: "no server is asked" },
            "An authorization server, which is shown each request's head.",
        ),
        key(
            "certificate",
            Default(|| false.to_string()),
            "Whether the client must have shown a certificate; with others, both are needed.",
        ),
        key(
            "subjects",
            Unset { example: "[\"CN=me\"]", means: "anybody's certificate will do" },
            "Whose certificate it must be.",
        ),
        key("realm", Default(|| "\"anteroom\"".to_owned()), "What credentials are asked for."),
        key(
            "subject_header",
            Unset { example: "\"X-User\"", means: "servers are not told" },
            "The field that tells servers who the client is; a client's own is removed.",
        ),
        key(
            "pass_credentials",
            Default(|| true.to_string()),
            "Whether servers are passed `Authorization`.",
        ),
        key(
            "copy",
            Unset { example: "[\"X-Role\"]", means: "none" },
            "Fields of the authorization server's answer that servers are told.",
        ),
        key(
            "user",
            Unset { example: "\"X-User\"", means: "nobody is named" },
            "The field of that answer that says who the client is.",
        ),
        key(
            "ca",
            Unset { example: "\"ca.pem\"", means: "those that the system trusts" },
            "Whose certificate that server may show: a file; read again when it changes.",
        ),
        key(
            "cache",
            Unset { example: "\"1m\"", means: "`1m`; `0s` where a server is asked" },
            "How long it is remembered who was let in.",
        ),
        key(
            "queue",
            Default(|| limits::QUESTIONS.to_string()),
            "Most questions at one time; one beyond is answered 503.",
        ),
    ],
};

/// `jwt`.
pub(crate) static JWT: Section = Section {
    title: "jwt",
    keys: &[
        key(
            "keys",
            Needed("\"/etc/anteroom/keys.json\""),
            "Public keys, PEM, a JWK or a set of them: a file, or a URL where they stand.",
        ),
        key(
            "refresh",
            Default(|| time(limits::KEYS_REFRESH[0])),
            "How often keys are fetched from a URL; sooner if a token names one that is not known.",
        ),
        key(
            "ca",
            Unset { example: "\"ca.pem\"", means: "those that the system trusts" },
            "Whose certificate the server of that URL may show: a file; read again when it changes.",
        ),
        key(
            "issuer",
            Unset { example: "[\"https://id.example\"]", means: "anybody" },
            "Whom tokens must be from: one of these.",
        ),
        key(
            "audience",
            Unset { example: "[\"app\"]", means: "tokens must not say" },
            "Whom they must be for: one of these.",
        ),
        key(
            "algorithms",
            Unset { example: "[\"ES256\"]", means: "all with public keys" },
            "How they may be signed; HS256 and the like only if named.",
        ),
        key("leeway", Default(|| time(Duration::from_secs(30))), "By how much clocks may differ."),
        key("claim", Default(|| "\"sub\"".to_owned()), "The claim that says who the client is."),
    ],
};

const PUBLIC: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];
const SECRET: [(&str, Algorithm); 3] =
    [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)];

/// Reads it, if it is there. `patience`: how long a verdict is waited for.
pub(super) fn read(
    listen: &Fields<'_>,
    shows_certificates: bool,
    patience: Duration,
    out: &mut Complaints,
) -> Option<AuthorizeSettings> {
    let fields = listen.table("authorize", &AUTHORIZE, out)?;
    if !asks_one_way(&fields, out) {
        return None;
    }
    let certificates = certificates(&fields, shows_certificates, out);
    let source = source(&fields, patience, out);
    let asks = match &source {
        Some(Source::Passwords(_)) => Asks::Passwords,
        Some(Source::Keys(..) | Source::KeyServer(..)) => Asks::Tokens,
        Some(Source::Server(..)) => Asks::Server,
        None => Asks::Nobody,
    };
    if asks == Asks::Nobody && certificates.is_none() && !out.has_errors() {
        let text =
            "`authorize` asks for nothing: add `basic`, `jwt`, `request` or certificate = true";
        out.error(Some(fields.span()), text);
    }
    let subject_field = field(&fields, "subject_header", out);
    let mut own_fields: Vec<String> = subject_field.iter().cloned().collect();
    if let Some(Source::Server(server, _)) = &source {
        own_fields.extend(server.copied.iter().map(|name| name.as_str().to_owned()));
    }
    let otherwise = if asks == Asks::Server { Duration::ZERO } else { limits::REMEMBER[0] };
    let cache = if fields.has("cache") { cache(&fields, out) } else { Some(otherwise) };
    let [least, most] = limits::QUESTIONS_RANGE;
    let questions = fields.count("queue", least..=most, out);
    Some(AuthorizeSettings {
        asked: Authorization {
            number: 0,
            asks,
            challenge: match &source {
                Some(Source::Server(server, _)) => server.challenge.as_str().into(),
                _ => challenge(&fields, asks, out).into(),
            },
            certificates,
            subject_field: subject_field.map(Into::into),
            passes_credentials: fields.switch("pass_credentials", out).unwrap_or(true),
        },
        source,
        own_fields,
        cache: cache.unwrap_or(otherwise),
        questions: questions.map_or(limits::QUESTIONS, |given| given.value),
    })
}

/// Whether no more than one of those that decide is named: nobody could say which of them is meant.
fn asks_one_way(fields: &Fields<'_>, out: &mut Complaints) -> bool {
    let mut ways = ["basic", "jwt", "request"].into_iter().filter(|name| fields.has(name));
    let Some(first) = ways.next() else { return true };
    let mut only = true;
    for other in ways {
        let text = format!(
            "stands beside `{first}`, and a listener goes by one of them: leave one out, or have a \
             [[listen]] for each"
        );
        fields.misplaced(other, &text, out);
        only = false;
    }
    only
}

fn cache(fields: &Fields<'_>, out: &mut Complaints) -> Option<Duration> {
    let parse = |text: &str| {
        let longest = limits::REMEMBER[1];
        let length =
            if text == "0s" { Ok(Duration::ZERO) } else { crate::quantity::parse_duration(text) }?;
        if length > longest { Err("at most 1h".to_owned()) } else { Ok(length) }
    };
    Some(fields.parsed("cache", parse, out)?.value)
}

fn certificates(fields: &Fields<'_>, shown: bool, out: &mut Complaints) -> Option<Box<[Box<str>]>> {
    let asked = fields.switch("certificate", out).unwrap_or(false);
    let subjects = fields.list("subjects", |text| Ok(Box::from(text)), out);
    if asked && !shown {
        let text = "`certificate`: clients are not asked for certificates: add client_certificates = \
                    \"optional\" or \"required\" to `tls`";
        out.error(Some(fields.span()), text);
    }
    if !asked && !subjects.is_empty() {
        fields.misplaced("subjects", "goes with certificate = true", out);
    }
    asked.then(|| subjects.into_iter().map(|given| given.value).collect())
}

/// Who decides.
fn source(fields: &Fields<'_>, patience: Duration, out: &mut Complaints) -> Option<Source> {
    for name in ["copy", "user", "ca"] {
        if !fields.has("request") {
            fields.misplaced(name, "goes with `request`", out);
        }
    }
    if let Some(path) = fields.text("basic", out) {
        return match Watched::read(Path::new(path.value), Passwords::parse) {
            Ok(file) => {
                if let Some(doubt) = doubt(&file.path, &file.known) {
                    out.warning(path.span, format_args!("`basic`: {doubt}"));
                }
                Some(Source::Passwords(file))
            }
            Err(error) => {
                out.error(path.span, format_args!("`basic`: {error}"));
                None
            }
        };
    }
    if let Some(table) = fields.table("jwt", &JWT, out) {
        return tokens(&table, patience, out);
    }
    let url = fields.parsed("request", Url::parse, out)?;
    if !url.value.is_safe() {
        let text = "`request`: whoever is on the way to this URL reads what clients send, and can let \
                    anybody in: write https://";
        out.warning(url.span, text);
    }
    let name = |text: &str| {
        let name = own_field(text, "X-Role")?;
        name.parse::<HeaderName>().map_err(|error| error.to_string())
    };
    let copied = fields.list("copy", name, out);
    let copied = copied.into_iter().map(|given| given.value).collect();
    let user = fields.parsed("user", name, out).map(|given| given.value);
    let (fetch, ca) = fetch(fields, &url.value, patience, out)?;
    let challenge = challenge(fields, Asks::Server, out);
    let server = AuthorizationServer { fetch, url: url.value, copied, user, challenge };
    Some(Source::Server(Arc::new(server), ca))
}

fn tokens(fields: &Fields<'_>, patience: Duration, out: &mut Complaints) -> Option<Source> {
    if !fields.has("keys") {
        fields.missing("keys", out);
    }
    let texts = |name, out: &mut Complaints| -> Vec<String> {
        let read = fields.list(name, |text| Ok(text.to_owned()), out);
        read.into_iter().map(|given| given.value).collect()
    };
    let (issuers, audiences) = (texts("issuer", out), texts("audience", out));
    let names: Vec<&str> = PUBLIC.iter().chain(&SECRET).map(|(name, _)| *name).collect();
    let parse = |text: &str| {
        let known = PUBLIC.iter().chain(&SECRET).find(|(name, _)| *name == text);
        known.map(|(_, algorithm)| *algorithm).ok_or_else(|| or_list("there are", &names, text))
    };
    let algorithms = fields.list("algorithms", parse, out);
    let algorithms: Vec<Algorithm> = if fields.has("algorithms") {
        algorithms.into_iter().map(|given| given.value).collect()
    } else {
        PUBLIC.iter().map(|(_, algorithm)| *algorithm).collect()
    };
    let leeway = fields.duration("leeway", out).unwrap_or(Duration::from_secs(30));
    let claim = fields.text("claim", out).map_or("sub", |given| given.value).to_owned();
    let rules = TokenRules { algorithms, issuers, audiences, leeway, claim };
    let keys = fields.text("keys", out)?;
    if Url::is_meant(keys.value) {
        let (server, ca) = key_server(fields, patience, out)?;
        return Some(Source::KeyServer(Arc::new(server), ca, Arc::new(rules)));
    }
    for name in ["refresh", "ca"] {
        fields.misplaced(name, "goes with `keys` at a URL", out);
    }
    match Watched::read(Path::new(keys.value), Keys::parse) {
        Ok(file) => Some(Source::Keys(file, Arc::new(rules))),
        Err(error) => {
            out.error(keys.span, format_args!("`keys`: {error}"));
            None
        }
    }
}

/// Keys that stand at a URL. They are not fetched here: who checks a configuration asks nobody.
fn key_server(
    fields: &Fields<'_>,
    patience: Duration,
    out: &mut Complaints,
) -> Option<(KeyServer, Ca)> {
    let url = fields.parsed("keys", Url::parse, out)?;
    if !url.value.is_safe() {
        let text = "`keys`: whoever is on the way to this URL can replace the keys, and sign tokens: \
                    write https://";
        out.warning(url.span, text);
    }
    let parse = |text: &str| {
        let [least, most] = limits::KEYS_REFRESH_RANGE;
        let length = crate::quantity::parse_duration(text)?;
        let fits = (least..=most).contains(&length).then_some(length);
        fits.ok_or_else(|| format!("write {} to {}", time(least), time(most)))
    };
    let every = fields.parsed("refresh", parse, out).map(|given| given.value);
    let (fetch, ca) = fetch(fields, &url.value, patience, out)?;
    let every = every.unwrap_or(limits::KEYS_REFRESH[0]);
    Some((KeyServer { fetch, url: url.value, every }, ca))
}

/// How a server is asked, whose certificate must be by `ca`.
fn fetch(
    fields: &Fields<'_>,
    url: &Url,
    patience: Duration,
    out: &mut Complaints,
) -> Option<(Fetch, Ca)> {
    if !url.is_secured() {
        let remedy = "says whose certificate is believed, and none is shown at a URL that begins with \
                      http://: write https://, or leave it out";
        fields.misplaced("ca", remedy, out);
    }
    let given = fields.text("ca", out);
    let path = given.as_ref().map(|given| Path::new(given.value));
    let read = |ca: Ca| {
        let fetch = Fetch::new(ca.as_ref().map(|file| &*file.known), patience)?;
        Ok((fetch, ca))
    };
    let file = path.map(|path| Watched::read(path, Authorities::parse)).transpose();
    match file.map_err(|unread| unread.to_string()).and_then(read) {
        Ok(asked) => Some(asked),
        Err::<_, String>(error) => {
            out.error(given.and_then(|given| given.span), format_args!("`ca`: {error}"));
            None
        }
    }
}

fn field(fields: &Fields<'_>, name: &str, out: &mut Complaints) -> Option<String> {
    let parse = |text: &str| own_field(text, "X-User").map(str::to_owned);
    Some(fields.parsed(name, parse, out)?.value)
}

/// What `WWW-Authenticate` says.
fn challenge(fields: &Fields<'_>, asks: Asks, out: &mut Complaints) -> String {
    let parse = |text: &str| {
        let plain = |c: char| c == ' ' || c.is_ascii_graphic() && c != '"' && c != '\\';
        let fits = text.len() <= 200 && text.chars().all(plain);
        if fits {
            Ok(text.to_owned())
        } else {
            Err("a realm has up to 200 ASCII characters, no quotes".to_owned())
        }
    };
    let realm = fields.parsed("realm", parse, out).map_or("anteroom".to_owned(), |it| it.value);
    match asks {
        Asks::Passwords => format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
        // A server knows best which credentials it asks for. Where it does not say, browsers know
        // nothing to ask their users for by this, while `Basic` would show them a form for a password.
        Asks::Tokens | Asks::Server => format!("Bearer realm=\"{realm}\""),
        Asks::Nobody => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Machine, Settings};

    const LISTEN: &str = "[[listen]]\naddress = \":8080\"\n";
    const UPSTREAM: &str = "[[upstream]]\nservers = [\"127.0.0.1:9000\"]\n";

    fn checked(content: &str) -> Result<Settings, String> {
        let machine = Machine { descriptors: 20_000, cores: 2 };
        super::super::check_text("a.toml", content, machine).map(|configured| configured.settings)
    }

    #[test]
    fn what_is_asked_of_requests_is_read_with_its_files() {
        let folder =
            std::env::temp_dir().join(format!("anteroom-{}-authorize", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("passwords");
        let hash = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        std::fs::write(&file, format!("me:{hash}\n")).unwrap();
        let path = file.display();
        let settings = checked(&format!(
            "{LISTEN}authorize = {{ basic = \"{path}\", subject_header = \"X-User\", queue = 7 }}\n{UPSTREAM}"
        ))
        .unwrap();
        let authorize = settings.listeners[0].authorize.as_ref().unwrap();
        assert_eq!((authorize.questions(), authorize.asked.asks), (7, exchange::Asks::Passwords));
        assert_eq!(&*authorize.asked.challenge, "Basic realm=\"anteroom\", charset=\"UTF-8\"");
        let plan = settings.plan(base::id::WorkerId(0));
        assert_eq!(&*plan.listeners[0].tls.own_fields, "X-User");
        std::fs::write(&file, "# nobody yet\n").unwrap();
        let content = format!("{LISTEN}authorize = {{ basic = \"{path}\" }}\n{UPSTREAM}");
        let machine = Machine { descriptors: 20_000, cores: 2 };
        let warnings = super::super::check_text("a.toml", &content, machine).unwrap().warnings;
        let told = format!("a.toml:3:23: warning: `basic`: {path}: there is no name in it");
        assert!(warnings.starts_with(&told), "{warnings}");
        std::fs::write(&file, "\nme:plain\n").unwrap();
        for (asked, says) in [
            (format!("basic = \"{path}\""), "passwords:2: "),
            ("basic = \"/nowhere/at/all\"".to_owned(), "create it"),
            ("certificate = true".to_owned(), "client_certificates"),
            ("realm = \"a\"".to_owned(), "asks for nothing"),
            ("request = \"ftp://h\"".to_owned(), "write a URL"),
            (
                "request = \"http://h/\", copy = [\"Host\"]".to_owned(),
                "write another, as in X-Role",
            ),
            (
                "certificate = true, subject_header = \"Content-Length\"".to_owned(),
                ":3:52: error: `subject_header` = \"Content-Length\": messages are framed",
            ),
            (
                "basic = \"/a\", jwt = { keys = \"/b\" }".to_owned(),
                ":3:35: error: `jwt` stands beside `basic`",
            ),
            (
                "basic = \"/a\", request = \"http://h/\"".to_owned(),
                "`request` stands beside `basic`, and a listener goes by one of them: leave one out",
            ),
            ("jwt = {}, request = \"http://h/\"".to_owned(), "`request` stands beside `jwt`"),
            ("jwt = { keys = \"/nowhere\", algorithms = [\"none\"] }".to_owned(), "there are"),
            ("jwt = {}".to_owned(), "has no `keys`"),
            ("jwt = { keys = \"https://\" }".to_owned(), "write a URL"),
            ("jwt = { keys = \"https://h/\", refresh = \"1s\" }".to_owned(), "30s"),
            ("jwt = { keys = \"https://h/\", ca = \"/nowhere/ca\" }".to_owned(), "/nowhere/ca"),
            (
                "jwt = { keys = \"http://h/\", ca = \"/nowhere/ca\" }".to_owned(),
                ":3:48: error: `ca` says whose certificate is believed",
            ),
            (
                "request = \"http://127.0.0.1:1/\", ca = \"/nowhere/ca\"".to_owned(),
                "write https://, or leave it out",
            ),
            ("jwt = { keys = \"/a\", refresh = \"1m\" }".to_owned(), "at a URL"),
            ("jwt = { keys = \"https://h/\" }, ca = \"/a\"".to_owned(), "goes with `request`"),
            (format!("basic = \"{path}\", copy = [\"X-Role\"]"), "goes with `request`"),
            ("request = \"http://h/\", copy = [\"Cookie\"]".to_owned(), "judged by"),
            (
                "request = \"http://h/\", copy = [\"X-User\"], subject_header = \"x-user\""
                    .to_owned(),
                "twice",
            ),
        ] {
            let said =
                checked(&format!("{LISTEN}authorize = {{ {asked} }}\n{UPSTREAM}")).unwrap_err();
            assert!(said.starts_with("a.toml:") && said.contains(says), "{asked}: {said}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn keys_at_a_url_are_not_fetched_to_be_checked() {
        let asking = |url: &str| {
            let machine = Machine { descriptors: 20_000, cores: 2 };
            let content =
                format!("{LISTEN}authorize = {{ jwt = {{ keys = \"{url}\" }} }}\n{UPSTREAM}");
            super::super::check_text("a.toml", &content, machine).unwrap()
        };
        let configured = asking("https://id.example/keys");
        assert!(!configured.warnings.contains("sign tokens"), "{}", configured.warnings);
        let authorize = configured.settings.listeners[0].authorize.as_ref().unwrap();
        let Some(Source::KeyServer(server, ..)) = &authorize.source else { panic!() };
        assert_eq!(server.every, limits::KEYS_REFRESH[0]);
        assert_eq!(authorize.asked.asks, Asks::Tokens);
        let warnings = asking("http://id.example/keys").warnings;
        assert!(warnings.contains("a.toml:3:") && warnings.contains("sign tokens"), "{warnings}");
        assert!(!asking("http://127.0.0.1:1/keys").warnings.contains("sign tokens"));
    }

    #[test]
    fn who_is_asked_in_the_clear_is_warned_of() {
        let warnings = |url: &str| {
            let machine = Machine { descriptors: 20_000, cores: 2 };
            let content = format!("{LISTEN}authorize = {{ request = \"{url}\" }}\n{UPSTREAM}");
            super::super::check_text("a.toml", &content, machine).unwrap().warnings
        };
        let warned = warnings("http://id.example/check");
        assert!(warned.contains("a.toml:3:") && warned.contains("let anybody in"), "{warned}");
        for url in ["https://id.example/check", "http://127.0.0.1:1/check", "http://localhost/"] {
            assert!(!warnings(url).contains("let anybody in"), "{url}");
        }
    }
}
