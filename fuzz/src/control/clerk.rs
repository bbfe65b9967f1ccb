//! A certificate authority that does what it should (RFC 8555, RFC 9773): it issues whatever is asked
//! for once it was told to look.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Response;
use hyper::body::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use serde_json::{Value, json};

/// Where it is.
pub(super) const DIRECTORY: &str = "https://ca.example/directory";
/// What its challenges' tokens begin with; the place of the name follows.
pub(super) const TOKEN: &str = "token-";

/// What it knows.
#[derive(Default)]
pub(super) struct Clerk {
    /// The accounts it gave.
    accounts: u32,
    nonces: u32,
    /// The names of the last order, and which of them were proved.
    names: Vec<String>,
    proved: Vec<bool>,
    /// What that order replaces.
    replaces: Value,
    /// Whose key was to be certified.
    point: Option<Vec<u8>>,
    /// Whether it certifies other names than it was asked for.
    pub(super) careless: bool,
}

/// What somebody wants.
pub(super) struct Wish<'w> {
    /// The path it was sent to.
    pub(super) path: &'w str,
    /// What was sent: a JWS, or nothing.
    pub(super) body: &'w [u8],
}

/// What a JWS says: whose it is, and what.
struct Said {
    account: Option<String>,
    payload: Value,
}

impl Wish<'_> {
    fn said(&self) -> Said {
        let part = |name: &str| {
            let jws: Value = serde_json::from_slice(self.body).ok()?;
            let text = URL_SAFE_NO_PAD.decode(jws.get(name)?.as_str()?).ok()?;
            serde_json::from_slice::<Value>(&text).ok()
        };
        let (head, payload) = (part("protected"), part("payload").unwrap_or_default());
        let account = head.and_then(|head| Some(head.get("kid")?.as_str()?.to_owned()));
        Said { account, payload }
    }

    /// Whether it says that the authority may look now.
    pub(super) fn is_ready(&self) -> bool {
        self.said().payload == json!({})
    }
}

fn url(path: &str) -> String {
    format!("https://ca.example{path}")
}

impl Clerk {
    pub(super) fn answer(&mut self, wish: &Wish<'_>) -> Response<Bytes> {
        let said = wish.said();
        let (kind, place) = wish
            .path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or((wish.path.trim_start_matches('/'), ""));
        let place: usize = place.parse().unwrap_or_default();
        let is_known = said.account.as_ref().is_some_and(|it| {
            let number = it.strip_prefix(&url("/account/")).and_then(|it| it.parse::<u32>().ok());
            number.is_some_and(|number| (1..=self.accounts).contains(&number))
        });
        let (status, location, body) = match kind {
            "directory" => (200, None, directory()),
            "nonce" => (200, None, Value::Null),
            "renewal" => (200, None, window()),
            "new-account" => {
                self.accounts += 1;
                (201, Some(format!("/account/{}", self.accounts)), json!({ "status": "valid" }))
            }
            _ if !is_known => (400, None, problem("accountDoesNotExist")),
            "account" => (200, None, json!({ "status": "valid" })),
            "new-order" => {
                self.begin(&said.payload);
                (201, Some("/order/1".to_owned()), self.order())
            }
            "order" => (200, None, self.order()),
            "authorization" if place < self.names.len() => (200, None, self.authorization(place)),
            "challenge" if place < self.names.len() => {
                self.proved[place] = true;
                (200, None, self.challenge("http-01", place))
            }
            "finalize" => {
                self.point = point(&said.payload);
                (200, None, self.order())
            }
            "certificate" => return self.with_nonce(Response::new(Bytes::from(self.chain()))),
            _ => (404, None, problem("malformed")),
        };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let mut answer = Response::builder().status(status);
        if let Some(path) = location {
            answer = answer.header("location", url(&path));
        }
        if kind == "renewal" {
            answer = answer.header("retry-after", "21600");
        }
        let answer = answer.body(Bytes::from(text)).unwrap_or_default();
        self.with_nonce(answer)
    }

    fn with_nonce(&mut self, mut answer: Response<Bytes>) -> Response<Bytes> {
        self.nonces += 1;
        answer.headers_mut().insert("replay-nonce", self.nonces.into());
        answer
    }

    fn begin(&mut self, payload: &Value) {
        let names = payload["identifiers"].as_array().cloned().unwrap_or_default();
        let named = |name: &Value| name["value"].as_str().unwrap_or_default().to_owned();
        self.names = names.iter().map(named).collect();
        self.proved = vec![false; self.names.len()];
        self.replaces = payload["replaces"].clone();
        self.point = None;
    }

    fn order(&self) -> Value {
        let places = 0..self.names.len();
        let all: Vec<String> =
            places.map(|place| url(&format!("/authorization/{place}"))).collect();
        let status = match (&self.point, self.proved.iter().all(|proved| *proved)) {
            (Some(_), _) => "valid",
            (None, true) => "ready",
            (None, false) => "pending",
        };
        let mut order =
            json!({ "status": status, "authorizations": all, "finalize": url("/finalize") });
        if self.point.is_some() {
            order["certificate"] = url("/certificate").into();
        }
        if !self.replaces.is_null() {
            order["replaces"] = self.replaces.clone();
        }
        order
    }

    fn authorization(&self, place: usize) -> Value {
        let status = if self.proved[place] { "valid" } else { "pending" };
        json!({
            "identifier": { "type": "dns", "value": self.names[place] },
            "status": status,
            "challenges": [self.challenge("http-01", place), self.challenge("tls-alpn-01", place)],
        })
    }

    fn challenge(&self, kind: &str, place: usize) -> Value {
        let status = if self.proved[place] { "valid" } else { "pending" };
        json!({
            "type": kind,
            "url": url(&format!("/challenge/{place}")),
            "token": format!("{TOKEN}{place}"),
            "status": status,
        })
    }

    /// A certificate for the names of the order, and the key in what was sent.
    fn chain(&self) -> String {
        let Some(point) = self.point.clone() else { return String::new() };
        let made = || {
            let others = || vec!["other.example".to_owned()];
            let names = if self.careless { others() } else { self.names.clone() };
            let mut params = CertificateParams::new(names)?;
            params.use_authority_key_identifier_extension = true;
            params.signed_by(&Key(point), &OWN)
        };
        made().map(|certificate| certificate.pem()).unwrap_or_default()
    }
}

fn directory() -> Value {
    json!({
        "newNonce": url("/nonce"),
        "newAccount": url("/new-account"),
        "newOrder": url("/new-order"),
        "renewalInfo": url("/renewal"),
    })
}

fn window() -> Value {
    json!({ "suggestedWindow": { "start": "2026-01-02T03:04:05Z", "end": "2026-01-03T00:00:00Z" } })
}

fn problem(kind: &str) -> Value {
    json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "so it is" })
}

/// What it signs with.
static OWN: LazyLock<Issuer<'static, KeyPair>> = LazyLock::new(|| {
    let key = KeyPair::generate().unwrap_or_else(|error| panic!("no key: {error}"));
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::new(params, key)
});

/// Somebody's key: a point of the curve P-256.
struct Key(Vec<u8>);

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// The key that is to be certified (RFC 2986): the first bit string of that length.
fn point(payload: &Value) -> Option<Vec<u8>> {
    let request = URL_SAFE_NO_PAD.decode(payload.get("csr")?.as_str()?).ok()?;
    let at = request.windows(4).position(|four| four == [3, 66, 0, 4])? + 3;
    request.get(at..at + 65).map(<[u8]>::to_vec)
}
