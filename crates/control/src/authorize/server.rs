//! An authorization server: shown the head of a request, it says whether that may pass.

use hyper::header::{HeaderName, HeaderValue, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use hyper::http::response::Parts;
use hyper::{HeaderMap, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};

use super::{Denial, Fetch, Finding, Url};

/// One of them, to which `C` opens connections.
#[derive(Clone, Debug)]
pub struct AuthorizationServer<C = HttpsConnector<HttpConnector>> {
    /// How it is asked.
    pub fetch: Fetch<C>,
    /// Where.
    pub url: Url,
    /// Fields of its answer that the server behind is told.
    pub copied: Vec<HeaderName>,
    /// One that says who the client is.
    pub user: Option<HeaderName>,
    /// What `WWW-Authenticate` says to a client where the answer is 401 and says nothing of it.
    pub challenge: String,
}

impl<C: Connect + Clone + Send + Sync + 'static> AuthorizationServer<C> {
    /// Asks it. `question`: field lines, each with its end.
    ///
    /// # Errors
    /// Why it does not say whether the client may, in a few words.
    pub async fn ask(&self, question: &[u8]) -> Result<Finding, String> {
        let fields = fields(question).ok_or("no question can be made of a request's head")?;
        self.read(&self.fetch.ask(&self.url, fields).await?)
    }

    fn read(&self, answer: &Parts) -> Result<Finding, String> {
        let told = |names: &[HeaderName]| {
            let of = |name: &HeaderName| {
                let values = answer.headers.get_all(name).iter();
                let name = spelled(name);
                values
                    .map(move |value| (name.clone(), value.as_bytes().to_vec()))
                    .collect::<Vec<_>>()
            };
            names.iter().flat_map(of).collect::<Vec<_>>()
        };
        let denied = |why, names: &[HeaderName]| Finding::Denied { why, fields: told(names) };
        Ok(match answer.status {
            status if status.is_success() => {
                let named = self.user.as_ref().and_then(|user| answer.headers.get(user));
                Finding::LetIn {
                    subject: named.map(|value| value.as_bytes().to_vec()).unwrap_or_default(),
                    fields: told(&self.copied),
                    until: None,
                }
            }
            StatusCode::UNAUTHORIZED => {
                let mut fields = told(&[WWW_AUTHENTICATE, SET_COOKIE]);
                // RFC 9110 §15.5.2: a 401 has a challenge.
                if !is_said(&answer.headers, &WWW_AUTHENTICATE) {
                    let challenge = self.challenge.as_bytes().to_vec();
                    fields.insert(0, (spelled(&WWW_AUTHENTICATE), challenge));
                }
                Finding::Denied { why: Denial::Credentials, fields }
            }
            StatusCode::FORBIDDEN => denied(Denial::Forbidden, &[]),
            status if status.is_redirection() && answer.headers.contains_key(LOCATION) => {
                denied(Denial::Elsewhere, &[LOCATION, SET_COOKIE])
            }
            status => return Err(format!("the answer is {}", status.as_u16())),
        })
    }
}

/// Whether a field says something.
fn is_said(fields: &HeaderMap, name: &HeaderName) -> bool {
    fields.get_all(name).iter().any(|value| !value.as_bytes().trim_ascii().is_empty())
}

/// As people write it: each word with a capital letter, but for the one that is short for three.
fn spelled(name: &HeaderName) -> String {
    if name == WWW_AUTHENTICATE {
        return "WWW-Authenticate".to_owned();
    }
    let mut begins = true;
    let capital = |letter: char| {
        let written = if begins { letter.to_ascii_uppercase() } else { letter };
        begins = letter == '-';
        written
    };
    name.as_str().chars().map(capital).collect()
}

/// The fields that stand in these lines, as they are asked; none if they are no lines of fields.
pub fn fields(lines: &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        fields.try_append(name, value).ok()?;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Response;
    use std::time::Duration;

    fn server() -> AuthorizationServer {
        AuthorizationServer {
            fetch: Fetch::new(None, Duration::from_secs(1)).unwrap(),
            url: Url::parse("http://127.0.0.1:1/").unwrap(),
            copied: vec![HeaderName::from_static("x-role"), HeaderName::from_static("x-none")],
            user: Some(HeaderName::from_static("x-user")),
            challenge: "Bearer realm=\"here\"".to_owned(),
        }
    }

    fn found(status: u16, told: &[(&str, &str)]) -> Result<Finding, String> {
        let mut answer = Response::builder().status(status);
        for (name, value) in told {
            answer = answer.header(*name, *value);
        }
        server().read(&answer.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn what_it_says_is_what_is_done() {
        let told = [("x-user", "me"), ("x-role", "a"), ("x-role", "b"), ("x-other", "c")];
        let role = |value: &str| ("X-Role".to_owned(), value.as_bytes().to_vec());
        let let_in = Finding::LetIn {
            subject: b"me".to_vec(),
            fields: vec![role("a"), role("b")],
            until: None,
        };
        assert_eq!(found(204, &told), Ok(let_in));
        let denied = |why, name: &str, value: &str| {
            let fields = vec![(name.to_owned(), value.as_bytes().to_vec())];
            Ok(Finding::Denied { why, fields })
        };
        assert_eq!(
            found(401, &[("www-authenticate", "Custom"), ("location", "/x")]),
            denied(Denial::Credentials, "WWW-Authenticate", "Custom")
        );
        assert_eq!(
            found(307, &[("location", "/login")]),
            denied(Denial::Elsewhere, "Location", "/login")
        );
        // RFC 9110 §15.5.2.
        let challenge = ("WWW-Authenticate".to_owned(), b"Bearer realm=\"here\"".to_vec());
        for (told, fields) in [
            (&[][..], vec![challenge.clone()]),
            (&[("set-cookie", "a")], vec![challenge, ("Set-Cookie".to_owned(), b"a".to_vec())]),
        ] {
            let denied = Finding::Denied { why: Denial::Credentials, fields };
            assert_eq!(found(401, told), Ok(denied));
        }
        let Ok(Finding::Denied { fields, .. }) = found(401, &[("www-authenticate", " ")]) else {
            panic!("what is empty is no challenge");
        };
        assert!(fields.iter().any(|(_, value)| value.starts_with(b"Bearer")));
        let forbidden = Finding::Denied { why: Denial::Forbidden, fields: Vec::new() };
        assert_eq!(found(403, &told), Ok(forbidden));
        for status in [302, 304, 400, 404, 500, 503] {
            assert_eq!(found(status, &[]), Err(format!("the answer is {status}")));
        }
    }

    #[test]
    fn fields_are_read_line_by_line() {
        let read = fields(b"X-Original-URI: /a?b: c\r\nCookie: a\r\nCookie: b\r\n").unwrap();
        assert_eq!(read.get("x-original-uri").unwrap(), "/a?b: c");
        assert_eq!(read.get_all("cookie").iter().count(), 2);
        assert!(fields(b"no colon\r\n").is_none() && fields(b"a b: c\r\n").is_none());
    }
}
