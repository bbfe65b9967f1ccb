//! Keys by which tokens are checked: from a file in PEM or JSON, or from a URL (RFC 7517).

use std::fmt;

use base::limits::TOKEN_KEYS_MAX;
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use serde_json::Value;

use super::FileFault;

/// Shortest secret of an HMAC that is worth anything (RFC 7518 §3.2).
const SECRET_MIN: usize = 32;

/// Keys of one algorithm that may mean any token, as they have no name: each of them is tried.
const NAMELESS_MAX: usize = 8;

/// Keys, each with the algorithms that it may be used by.
#[derive(Clone)]
pub struct Keys(Vec<Key>);

#[derive(Clone)]
pub(super) struct Key {
    /// By what name tokens call it.
    pub(super) id: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) checks: DecodingKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// None are known yet.
    pub const NONE: Self = Self(Vec::new());

    /// Reads keys: a JWK, a set of them, or public keys in PEM.
    ///
    /// # Errors
    /// What is wrong. No part of a key is told.
    pub fn parse(text: &[u8]) -> Result<Self, FileFault> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let text = std::str::from_utf8(text)
            .map_err(|_| FileFault::whole("it is no text: name a file of keys in PEM or JSON"))?;
        let keys = if text.trim_start().starts_with('{') { json(text)? } else { pem(text)? };
        if keys.len() > TOKEN_KEYS_MAX {
            return Err(FileFault::whole(format!("more than {TOKEN_KEYS_MAX} keys")));
        }
        let nameless = |algorithm| {
            let may = |key: &&Key| key.id.is_none() && key.algorithms.contains(algorithm);
            keys.iter().filter(may).count()
        };
        if keys.iter().flat_map(|key| &key.algorithms).any(|it| nameless(it) > NAMELESS_MAX) {
            return Err(FileFault::whole(format!(
                "more than {NAMELESS_MAX} keys of one kind without a name, each of which would be tried: \
                 write a set in JSON, each with its `kid`"
            )));
        }
        Ok(Self(keys))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that a token may have been signed by: of that name if it names one, or without a name.
    pub(super) fn of<'k>(
        &'k self,
        id: Option<&'k str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'k Key> {
        let meant = self.0.iter().filter(move |key| key.may_be(id));
        meant.filter(move |key| key.algorithms.contains(&algorithm))
    }

    /// Whether there is one that a token may mean that names its key so.
    pub(super) fn knows(&self, id: Option<&str>) -> bool {
        self.0.iter().any(|key| key.may_be(id))
    }
}

impl Key {
    /// Whether a token may mean it: by its name, or where one of both names none.
    fn may_be(&self, id: Option<&str>) -> bool {
        match (id, &self.id) {
            (Some(wanted), Some(id)) => wanted == id,
            (None, _) | (_, None) => true,
        }
    }
}

fn json(text: &str) -> Result<Vec<Key>, FileFault> {
    let value: Value = serde_json::from_str(text).map_err(|error| FileFault {
        line: Some(error.line()),
        why: "this is no JSON: write a set of keys (RFC 7517)".to_owned(),
    })?;
    let values = match value.get("keys") {
        Some(Value::Array(values)) => values.clone(),
        Some(_) => {
            return Err(FileFault::whole("`keys` is no list: write a set of keys (RFC 7517)"));
        }
        None => vec![value],
    };
    // Keys of a kind that is not known are for others (RFC 7517 §5).
    let mut faults = Vec::new();
    let mut keys = Vec::new();
    for value in values {
        match key_of(value) {
            Ok(key) => keys.push(key),
            Err(why) => faults.push(why),
        }
    }
    match faults.first() {
        Some(why) if keys.is_empty() => Err(FileFault::whole(format!("no key of use: {why}"))),
        None if keys.is_empty() => Err(FileFault::whole("there is no key: add one")),
        _ => Ok(keys),
    }
}

fn key_of(value: Value) -> Result<Key, String> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| "one is no JWK".to_owned())?;
    let common = &jwk.common;
    let verifies = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) || !verifies {
        return Err("one is not for signatures".to_owned());
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().to_vec(),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return Err("one is on a curve that is not known".to_owned()),
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        AlgorithmParameters::OctetKey(_) => AlgorithmFamily::Hmac.algorithms().to_vec(),
        _ => return Err("one is of a kind that is not known".to_owned()),
    };
    if let Some(own) = common.key_algorithm {
        let own: Option<Algorithm> = own.to_string().parse().ok();
        algorithms.retain(|algorithm| Some(*algorithm) == own);
        if algorithms.is_empty() {
            return Err(
                "one is for an algorithm that it is not of, or that is not known".to_owned()
            );
        }
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "one is malformed".to_owned())?;
    if key.family() == AlgorithmFamily::Hmac
        && key.try_get_as_bytes().is_ok_and(|secret| secret.len() < SECRET_MIN)
    {
        return Err(format!("a secret has at least {SECRET_MIN} bytes"));
    }
    Ok(Key { id: common.key_id.clone(), algorithms, checks: key })
}

/// Reads one kind of key.
type Read = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;

fn pem(text: &str) -> Result<Vec<Key>, FileFault> {
    const BEGIN: &str = "-----BEGIN ";
    let mut keys = Vec::new();
    for (start, _) in text.match_indices(BEGIN) {
        let line = text[..start].matches('\n').count() + 1;
        let block = &text[start..];
        let end = block[BEGIN.len()..].find(BEGIN).map_or(block.len(), |at| at + BEGIN.len());
        let block = &block[..end];
        let label = block[BEGIN.len()..].split("-----").next().unwrap_or_default();
        if label.contains("PRIVATE") {
            let why = "this is a private key: whoever checks tokens needs the public one, as \
                       openssl pkey -pubout writes it";
            return Err(FileFault::at(line, why));
        }
        let read: [Read; 3] =
            [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
        let key = read.iter().find_map(|read| read(block.as_bytes()).ok());
        let Some(key) = key.filter(|_| label.ends_with("PUBLIC KEY")) else {
            let why = "this is no public key of RSA, P-256, P-384 or Ed25519: name another";
            return Err(FileFault::at(line, why));
        };
        let algorithms = key.family().algorithms().to_vec();
        keys.push(Key { id: None, algorithms, checks: key });
    }
    if keys.is_empty() {
        return Err(FileFault::whole(
            "there is no key: write public keys in PEM, or a set in JSON",
        ));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        Keys::parse(text.as_bytes()).unwrap_err().why
    }

    #[test]
    fn keys_are_bound_to_the_algorithms_of_their_kind() {
        let set = r#"{"keys":[
            {"kty":"EC","kid":"e","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
            {"kty":"oct","kid":"h","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","alg":"HS256"},
            {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty":"unknown","kid":"u"},
            {"kty":"EC","crv":"P-521","x":"AA","y":"AA"},
            {"kty":"oct","k":"AAAA"}]}"#;
        let keys = Keys::parse(set.as_bytes()).unwrap();
        assert_eq!(keys.len(), 3, "what is of no use is for others");
        let count = |id, algorithm| keys.of(id, algorithm).count();
        assert_eq!(count(Some("e"), Algorithm::ES256), 1);
        assert_eq!(count(Some("e"), Algorithm::ES384), 0);
        assert_eq!(count(Some("e"), Algorithm::HS256), 0, "a public key is no secret");
        assert_eq!(count(Some("h"), Algorithm::HS256), 1);
        assert_eq!(count(Some("h"), Algorithm::HS512), 0, "it says which");
        assert_eq!(count(Some("other"), Algorithm::EdDSA), 1, "one without a name may be meant");
        assert_eq!(count(None, Algorithm::ES256), 1);
        assert!(!format!("{keys:?}").contains("AAAA"));
    }

    #[test]
    fn what_is_of_no_use_is_told() {
        assert!(told("").contains("no key"));
        assert!(told("{").contains("no JSON"));
        assert!(told(r#"{"keys":[]}"#).contains("no key"));
        assert!(told(r#"{"keys":{}}"#).contains("no list"));
        assert!(told(r#"{"kty":"oct","k":"AAAA"}"#).contains("32 bytes"));
        assert!(told(r#"{"kty":"oct","use":"enc","k":"AAAA"}"#).contains("signatures"));
        assert!(
            told("-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n").contains("public")
        );
        assert!(told("-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n").contains("RSA"));
        let many = |kid: fn(usize) -> String| {
            let key = |number| {
                format!(
                    r#"{{"kty":"OKP",{}"crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#,
                    kid(number)
                )
            };
            format!(r#"{{"keys":[{}]}}"#, (0..9).map(key).collect::<Vec<_>>().join(","))
        };
        assert!(told(&many(|_| String::new())).contains("more than 8"));
        let named = many(|number| format!(r#""kid":"{number}","#));
        assert_eq!(Keys::parse(named.as_bytes()).unwrap().len(), 9);
        // Wherever in its line it begins.
        for text in ["\n\n-----BEGIN CERTIFICATE-----\n", "\n\n  -----BEGIN CERTIFICATE-----\n"] {
            assert_eq!(Keys::parse(text.as_bytes()).unwrap_err().line, Some(3));
        }
    }
}
