//! Tokens: whether one is what it says, meant for us, and of now (RFC 7519, RFC 8725).

use std::time::Duration;

use base::limits::SUBJECT_MAX;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::Finding;
use super::keys::Keys;

/// What tokens must say.
#[derive(Clone, Debug)]
pub struct TokenRules {
    /// By which they may be signed; `none` is no algorithm.
    pub algorithms: Vec<Algorithm>,
    /// One of whom they must be from, if that matters.
    pub issuers: Vec<String>,
    /// One of whom they must be for. Without, those that say whom they are for are for others.
    pub audiences: Vec<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// Which claim says who the client is.
    pub claim: String,
}

/// What a token turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// One that was checked.
    Found(Finding),
    /// It names a key that is not known: there may be new ones.
    UnknownKey,
}

impl TokenRules {
    /// Checks a token by the system's clock. `now`, seconds since 1970, says how long it will hold.
    pub fn check(&self, token: &[u8], keys: &Keys, now: u64) -> Token {
        let bad = Token::Found(Finding::bad_credentials());
        let Ok(header) = decode_header(token) else { return bad };
        // RFC 7515 §4.1.11: we know no extension that would have to be understood.
        if !self.algorithms.contains(&header.alg) || header.crit.is_some() {
            return bad;
        }
        let id = header.kid.as_deref();
        if !keys.knows(id) {
            return Token::UnknownKey;
        }
        let rules = self.validation(header.alg);
        for key in keys.of(id, header.alg) {
            if let Ok(token) = decode::<Map<String, Value>>(token, &key.checks, &rules) {
                return Token::Found(self.let_in(&token.claims, now));
            }
        }
        bad
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut rules = Validation::new(algorithm);
        let mut required = vec!["exp"];
        rules.leeway = self.leeway.as_secs();
        rules.validate_nbf = true;
        if !self.issuers.is_empty() {
            rules.set_issuer(&self.issuers);
            required.push("iss");
        }
        if !self.audiences.is_empty() {
            rules.set_audience(&self.audiences);
            required.push("aud");
        }
        rules.set_required_spec_claims(&required);
        rules
    }

    /// It is right: who it is of, and for how long.
    fn let_in(&self, claims: &Map<String, Value>, now: u64) -> Finding {
        let subject = match claims.get(&self.claim) {
            Some(Value::String(text)) => text.clone().into_bytes(),
            Some(Value::Number(number)) => number.to_string().into_bytes(),
            _ => Vec::new(),
        };
        // What was asked for must be there, fit, and be able to stand in a field as it is.
        let is_value = hyper::header::HeaderValue::from_bytes(&subject).is_ok();
        let stands = is_value && subject.trim_ascii() == subject;
        if subject.is_empty() && self.claim != "sub" || subject.len() > SUBJECT_MAX || !stands {
            return Finding::bad_credentials();
        }
        // Fractions of a second are of no use to anybody: what has one ends before it.
        let whole = |value: &Value| match value.as_u64() {
            Some(seconds) => Some(seconds),
            None => Duration::try_from_secs_f64(value.as_f64()?).ok().map(|it| it.as_secs()),
        };
        let end = claims.get("exp").and_then(whole).unwrap_or(0);
        let end = end.saturating_add(self.leeway.as_secs());
        let until = Some(Duration::from_secs(end.saturating_sub(now)));
        Finding::LetIn { subject, fields: Vec::new(), until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
    use serde_json::json;

    /// Far from any clock that this runs by.
    const LATER: u64 = 4_000_000_000;

    fn rules() -> TokenRules {
        TokenRules {
            algorithms: vec![Algorithm::ES256, Algorithm::RS256],
            issuers: vec!["https://issuer".to_owned()],
            audiences: vec!["us".to_owned()],
            leeway: Duration::from_secs(30),
            claim: "sub".to_owned(),
        }
    }

    struct Issuer {
        keys: KeyPair,
        public: String,
    }

    impl Issuer {
        fn new() -> Self {
            let keys = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            let public = keys.public_key_pem();
            Self { keys, public }
        }

        fn sign(&self, header: &Header, claims: &Value) -> Vec<u8> {
            let key = EncodingKey::from_ec_der(&self.keys.serialize_der());
            encode(header, claims, &key).unwrap().into_bytes()
        }

        fn keys(&self) -> Keys {
            Keys::parse(self.public.as_bytes()).unwrap()
        }

        /// A set in which its key has a name.
        fn named(&self, id: &str) -> Keys {
            let point = self.keys.der_bytes();
            let [x, y] = [&point[1..33], &point[33..65]].map(|half| URL_SAFE_NO_PAD.encode(half));
            let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y}]});
            Keys::parse(set.to_string().as_bytes()).unwrap()
        }
    }

    fn claims() -> Value {
        json!({"sub": "me", "iss": "https://issuer", "aud": ["them", "us"], "exp": LATER})
    }

    fn subject(token: &Token) -> Option<String> {
        match token {
            Token::Found(Finding::LetIn { subject, .. }) => {
                Some(String::from_utf8(subject.clone()).unwrap())
            }
            _ => None,
        }
    }

    #[test]
    fn what_is_right_comes_in_until_it_ends() {
        let issuer = Issuer::new();
        let token = issuer.sign(&Header::new(Algorithm::ES256), &claims());
        let found = rules().check(&token, &issuer.keys(), LATER - 100);
        let until = Some(Duration::from_secs(130));
        let expected = Finding::LetIn { subject: b"me".to_vec(), fields: Vec::new(), until };
        assert_eq!(found, Token::Found(expected));
        let by_claim = TokenRules { claim: "email".to_owned(), ..rules() };
        assert_eq!(subject(&by_claim.check(&token, &issuer.keys(), 0)), None, "it is not there");
        let mut told = claims();
        told["sub"] = json!("a".repeat(SUBJECT_MAX + 1));
        let long = issuer.sign(&Header::new(Algorithm::ES256), &told);
        assert_eq!(subject(&rules().check(&long, &issuer.keys(), 0)), None, "it is no name");
        for name in ["me\r\nX-Role: admin", "me\u{0}", " me", "me\t"] {
            told["sub"] = json!(name);
            let token = issuer.sign(&Header::new(Algorithm::ES256), &told);
            assert_eq!(subject(&rules().check(&token, &issuer.keys(), 0)), None, "{name:?}");
        }
        told["email"] = json!("me@example");
        let token = issuer.sign(&Header::new(Algorithm::ES256), &told);
        assert_eq!(
            subject(&by_claim.check(&token, &issuer.keys(), 0)).as_deref(),
            Some("me@example")
        );
    }

    #[test]
    fn what_is_missing_or_wrong_keeps_it_out() {
        let issuer = Issuer::new();
        let changes: [(&str, Option<Value>); 11] = [
            ("exp", None),
            ("exp", Some(json!(1000))),
            ("exp", Some(json!("soon"))),
            ("nbf", Some(json!(LATER))),
            ("iss", None),
            ("iss", Some(json!("https://issuer.evil"))),
            ("iss", Some(json!(7))),
            ("aud", None),
            ("aud", Some(json!("them"))),
            ("aud", Some(json!([]))),
            ("aud", Some(json!({"us": true}))),
        ];
        for (claim, value) in changes {
            let mut told = claims();
            match &value {
                Some(value) => told[claim] = value.clone(),
                None => drop(told.as_object_mut().unwrap().remove(claim)),
            }
            let token = issuer.sign(&Header::new(Algorithm::ES256), &told);
            let found = rules().check(&token, &issuer.keys(), 0);
            assert_eq!(found, Token::Found(Finding::bad_credentials()), "{claim}: {value:?}");
        }
        // Whoever says for whom it is, and not for us.
        let without = TokenRules { audiences: Vec::new(), ..rules() };
        let token = issuer.sign(&Header::new(Algorithm::ES256), &claims());
        assert_eq!(subject(&without.check(&token, &issuer.keys(), 0)), None);
    }

    #[test]
    fn algorithms_are_those_of_the_keys_and_none_is_none() {
        let issuer = Issuer::new();
        let good = issuer.sign(&Header::new(Algorithm::ES256), &claims());
        let text = String::from_utf8(good.clone()).unwrap();
        let [header, body, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!() };
        let bad = Token::Found(Finding::bad_credentials());
        let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for none in ["none", "None", "NONE", "nOnE", ""] {
            let header = b64(&json!({"alg": none, "typ": "JWT"}).to_string());
            for signature in ["", signature] {
                let token = format!("{header}.{body}.{signature}");
                assert_eq!(rules().check(token.as_bytes(), &issuer.keys(), 0), bad, "{none}");
            }
        }
        // The public key is no secret, though HMAC be allowed (RFC 8725 §2.1).
        let secret = EncodingKey::from_secret(issuer.public.as_bytes());
        let forged = encode(&Header::new(Algorithm::HS256), &claims(), &secret).unwrap();
        let lax = TokenRules { algorithms: vec![Algorithm::HS256, Algorithm::ES256], ..rules() };
        assert_eq!(lax.check(forged.as_bytes(), &issuer.keys(), 0), bad);
        assert_eq!(rules().check(forged.as_bytes(), &issuer.keys(), 0), bad);
        // Another's key, a changed body, a changed signature, too few and too many parts.
        let other = Issuer::new().sign(&Header::new(Algorithm::ES256), &claims());
        let mut told = claims();
        told["sub"] = json!("root");
        let changed = b64(&told.to_string());
        let flipped =
            signature.replace(&signature[..1], if signature.starts_with('A') { "B" } else { "A" });
        let hostile = [
            String::from_utf8(other).unwrap(),
            format!("{header}.{changed}.{signature}"),
            format!("{header}.{body}.{flipped}"),
            format!("{header}.{body}."),
            format!("{header}.{body}"),
            format!("{header}.{body}.{signature}.{signature}"),
            "..".to_owned(),
            ".".repeat(8000),
            "a".repeat(8000),
            String::new(),
        ];
        for token in hostile {
            assert_eq!(rules().check(token.as_bytes(), &issuer.keys(), 0), bad, "{token}");
        }
        let critical =
            Header { crit: Some(vec!["exp".to_owned()]), ..Header::new(Algorithm::ES256) };
        let token = issuer.sign(&critical, &claims());
        assert_eq!(rules().check(&token, &issuer.keys(), 0), bad);
        assert_eq!(subject(&rules().check(&good, &issuer.keys(), 0)).as_deref(), Some("me"));
    }

    #[test]
    fn a_key_that_is_not_known_is_asked_for_and_nothing_else_is_done_with_its_name() {
        let issuer = Issuer::new();
        let signed = |id: &str| {
            let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
            issuer.sign(&header, &claims())
        };
        let keys = issuer.named("2026");
        assert_eq!(subject(&rules().check(&signed("2026"), &keys, 0)).as_deref(), Some("me"));
        for id in ["2027", "", "../../../dev/null", "' OR 1=1 --", "2026\0"] {
            assert_eq!(rules().check(&signed(id), &keys, 0), Token::UnknownKey, "{id}");
        }
        let nameless = issuer.sign(&Header::new(Algorithm::ES256), &claims());
        assert_eq!(subject(&rules().check(&nameless, &keys, 0)).as_deref(), Some("me"));
        // Before any key is known, every token that may be right waits for one.
        assert_eq!(rules().check(&nameless, &Keys::NONE, 0), Token::UnknownKey);
        let forged = b"eyJhbGciOiJub25lIn0.e30.";
        assert_eq!(rules().check(forged, &Keys::NONE, 0), Token::Found(Finding::bad_credentials()));
        // What a token says of where its key is, is not looked at.
        let header = Header {
            jku: Some("http://evil/keys".to_owned()),
            x5u: Some("http://evil/keys".to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        let other = Issuer::new().sign(&header, &claims());
        assert_eq!(subject(&rules().check(&other, &keys, 0)), None);
    }
}
