//! Files of passwords and of keys, and what a token says that was signed by one of these.
//!
//! No password is measured against a hash here: that takes long, and is others' code.

use std::sync::LazyLock;
use std::time::Duration;

use base::limits::{PASSWORDS_MAX, SUBJECT_MAX, TOKEN_KEYS_MAX};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control::authorize::{Algorithm, FileFault, Finding, Keys, Passwords, Token, TokenRules};
use jsonwebtoken::EncodingKey;
use serde_json::{Map, Value};

/// The first byte says what the others are.
pub fn check(bytes: &[u8]) {
    let Some((&mode, bytes)) = bytes.split_first() else { return };
    match mode % 4 {
        0 => passwords(bytes),
        1 => keys(bytes),
        2 => signed(mode, bytes),
        _ => unsigned(bytes),
    }
}

/// Each line that says something is one name; or the first line with something wrong is told, in a
/// line that holds nothing of its hash.
fn passwords(text: &[u8]) {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let fault = match Passwords::parse(text) {
        Ok(read) => {
            let text = str::from_utf8(text).unwrap_or_default();
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            let said = text.split('\n').map(str::trim);
            let said: Vec<&str> =
                said.filter(|it| !it.is_empty() && !it.starts_with('#')).collect();
            assert_eq!((read.len(), read.is_empty()), (said.len(), said.is_empty()));
            assert!(read.len() <= PASSWORDS_MAX && read.memory() <= 256 << 20);
            let of_kinds = |line: &&str| {
                line.split_once(':').is_some_and(|(user, hash)| {
                    (1..=SUBJECT_MAX).contains(&user.len()) && hash.starts_with('$')
                })
            };
            assert!(said.iter().all(of_kinds));
            assert_eq!(read.memory() == 0, read.is_empty());
            return;
        }
        Err(fault) => fault,
    };
    told(&fault);
    let Some(number) = fault.line else {
        assert!(str::from_utf8(text).is_err(), "{}", fault.why);
        return;
    };
    assert!((1..=lines.len()).contains(&number), "there is no line {number}");
    assert!(Passwords::parse(&lines[..number - 1].concat()).is_ok(), "a line above is wrong");
    let again = Passwords::parse(&lines[..number].concat());
    assert_eq!(again.err().as_ref(), Some(&fault), "it is another line");
    let line = String::from_utf8_lossy(lines[number - 1]);
    let (user, hash) = line.trim().split_once(':').unwrap_or_default();
    // What is shorter is a word that says what is wrong.
    let secret = hash.len() >= 16 && !user.escape_debug().to_string().contains(hash);
    assert!(!secret || !fault.why.contains(hash), "a secret is told");
}

/// No more keys than are written there, and no more than may be; or what is wrong, with nothing
/// of a key.
fn keys(text: &[u8]) {
    let told_as = str::from_utf8(text).unwrap_or_default();
    let plain = told_as.strip_prefix('\u{feff}').unwrap_or(told_as);
    let value: Option<Value> = serde_json::from_str(plain).ok();
    let written: Vec<Value> = match value {
        Some(Value::Object(mut set)) => match set.remove("keys") {
            Some(Value::Array(keys)) => keys,
            Some(_) => Vec::new(),
            None => vec![Value::Object(set)],
        },
        _ => Vec::new(),
    };
    match Keys::parse(text) {
        Ok(keys) => {
            assert!((1..=TOKEN_KEYS_MAX).contains(&keys.len()), "{}", keys.len());
            assert_eq!(format!("{keys:?}"), format!("Keys({})", keys.len()));
            if plain.trim_start().starts_with('{') {
                let usable = written.iter().filter(|key| may_be_of_use(key)).count();
                assert!(keys.len() <= usable, "{} of {usable}", keys.len());
            } else {
                assert_eq!(keys.len(), plain.matches("-----BEGIN ").count());
                assert!(keys.len() <= plain.matches("PUBLIC KEY-----").count());
                assert!(!plain.contains("-----BEGIN PRIVATE KEY-----"));
            }
        }
        Err(fault) => {
            told(&fault);
            let lines = plain.split('\n').count();
            assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)), "{fault:?}");
            let secrets = written.iter().filter_map(|key| key.get("k")?.as_str());
            for secret in secrets.filter(|secret| secret.len() >= 16) {
                assert!(!fault.why.contains(secret), "a secret is told");
            }
        }
    }
}

/// Whether a key is not for other things, nor too short to be one.
fn may_be_of_use(key: &Value) -> bool {
    let says = |name: &str| key.get(name).and_then(Value::as_str);
    let is_long = || {
        let secret = says("k").and_then(|it| URL_SAFE_NO_PAD.decode(it.trim_end_matches('=')).ok());
        secret.is_some_and(|secret| secret.len() >= 32)
    };
    match says("kty") {
        Some("oct") => is_long() && says("use").is_none_or(|it| it == "sig"),
        Some("RSA" | "EC" | "OKP") => says("use").is_none_or(|it| it == "sig"),
        _ => false,
    }
}

fn told(fault: &FileFault) {
    assert!(!fault.why.is_empty() && !fault.why.chars().any(char::is_control), "{:?}", fault.why);
}

/// What signs tokens here.
const SECRET: &[u8; 32] = b"a secret of thirty-two bytes, so";
/// What is there of it.
static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    let key = format!(r#"{{"kty":"oct","kid":"one","alg":"HS256","k":"{secret}"}}"#);
    Keys::parse(key.as_bytes()).unwrap_or_else(|fault| panic!("{}", fault.why))
});
/// Far from any clock that this runs by.
const LATER: u64 = 4_000_000_000;
const LEEWAY: u64 = 30;
/// How much later than its end, in seconds, a token is good at that moment.
const PAST: f64 = 30.0 - 4_000_000_000.0;

fn rules(mode: u8) -> TokenRules {
    let listed = |asked: bool, name: &str| if asked { vec![name.to_owned()] } else { Vec::new() };
    TokenRules {
        algorithms: vec![Algorithm::HS256],
        issuers: listed(mode & 4 == 4, "them"),
        audiences: listed(mode & 8 == 8, "us"),
        leeway: Duration::from_secs(LEEWAY),
        claim: if mode & 16 == 16 { "email" } else { "sub" }.to_owned(),
    }
}

/// A token whose claims somebody signed whom we trust, whatever they are: who comes in is who they
/// say, can stand in a field, and is gone when they end.
fn signed(mode: u8, claims: &[u8]) {
    let rules = rules(mode);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    let Ok(signature) = signature else { panic!("nothing is signed") };
    let found = rules.check(format!("{message}.{signature}").as_bytes(), &KEYS, LATER);
    let Token::Found(Finding::LetIn { subject, fields, until }) = found else {
        assert_eq!(found, Token::Found(Finding::bad_credentials()));
        return;
    };
    let Ok(told) = serde_json::from_slice::<Map<String, Value>>(claims) else {
        panic!("let in by no claims: {}", claims.escape_ascii())
    };
    let expected = match told.get(&rules.claim) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    assert_eq!(subject, expected.as_bytes());
    assert!(subject.len() <= SUBJECT_MAX && (rules.claim == "sub" || !subject.is_empty()));
    assert!(!subject.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)), "{expected:?}");
    assert_eq!(subject.trim_ascii(), subject, "{expected:?}");
    assert!(fields.is_empty());
    let lists = |name: &str, word: &str| match told.get(name) {
        Some(Value::String(text)) => text == word,
        Some(Value::Array(all)) => all.iter().any(|one| one == word),
        _ => false,
    };
    assert!(rules.issuers.iter().all(|issuer| lists("iss", issuer)), "from another one");
    assert!(rules.audiences.iter().all(|audience| lists("aud", audience)), "for another one");
    let end = told.get("exp").and_then(Value::as_f64);
    let Some(end) = end else { panic!("without an end: {told:?}") };
    let until = until.unwrap_or(Duration::MAX).as_secs_f64();
    let left = (end + PAST).max(0.0);
    // Of so large numbers a fraction is lost.
    assert!(until <= left * 1.000_001 + 1.0, "{until} s of {left} s");
}

/// A token that nobody signed whom we know.
fn unsigned(token: &[u8]) {
    let found = rules(0).check(token, &KEYS, LATER);
    assert!(!matches!(found, Token::Found(Finding::LetIn { .. })), "anybody is let in");
    let none = rules(0).check(token, &Keys::NONE, LATER);
    assert!(!matches!(none, Token::Found(Finding::LetIn { .. })), "without any key");
}
