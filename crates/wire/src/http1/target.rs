//! Request targets (RFC 9112 §3.2), brought to origin-form.

use core::fmt;

use super::bytes::{TARGET, all};
use super::fault::Fault;
use super::host;
use super::method::Method;

/// A request's target in origin-form, or `*`: what the upstream sees.
///
/// It has two parts, because a target in absolute-form may leave out the path, and nothing is
/// allocated to put the `/` in.
#[derive(Clone, Copy, Debug)]
pub struct Target<'h> {
    root: &'static str,
    rest: &'h str,
    scheme: Option<Scheme>,
}

/// The scheme of a target in absolute-form (RFC 9110 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Scheme {
    Http,
    Https,
}

impl<'h> Target<'h> {
    /// The target, and the authority if it came in absolute-form (which then replaces `Host`,
    /// RFC 9112 §3.2.2).
    pub(super) fn parse(
        target: &'h [u8],
        method: Method<'h>,
    ) -> Result<(Self, Option<&'h str>), Fault> {
        if !all(TARGET, target) {
            return Err(Fault::BadTarget);
        }
        let text = str::from_utf8(target).map_err(|_| Fault::BadTarget)?;
        if text.starts_with('/') {
            return Ok((Self { root: "", rest: text, scheme: None }, None));
        }
        if text == "*" && method == Method::Options {
            return Ok((Self { root: "", rest: text, scheme: None }, None));
        }
        let (scheme, authority, rest) = split_absolute(text).ok_or(Fault::BadTarget)?;
        let host = host::parse(authority.as_bytes())?;
        if host.is_empty() {
            return Err(Fault::HostInvalid);
        }
        let root = match rest.as_bytes() {
            [b'/', ..] => "",
            [] if method == Method::Options => "*",
            _ => "/",
        };
        Ok((Self { root, rest, scheme: Some(scheme) }, Some(host)))
    }

    /// The target as two pieces, to be written one after the other.
    pub const fn parts(&self) -> [&'h str; 2] {
        [self.root, self.rest]
    }

    /// The scheme, if the target came in absolute-form.
    pub const fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// The path, or `*`; without the query.
    pub fn path(&self) -> &'h str {
        let path = self.rest.split('?').next().unwrap_or_default();
        if path.is_empty() { self.root } else { path }
    }
}

/// Scheme and authority of a target in absolute-form, and what follows them.
fn split_absolute(target: &str) -> Option<(Scheme, &str, &str)> {
    let (scheme, hierarchy) = target.split_once("://")?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return None,
    };
    let end = hierarchy.find(['/', '?']).unwrap_or(hierarchy.len());
    let (authority, rest) = hierarchy.split_at(end);
    Some((scheme, authority, rest))
}

impl PartialEq for Target<'_> {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |target: &Self| target.parts().map(str::bytes).into_iter().flatten();
        bytes(self).eq(bytes(other))
    }
}

impl Eq for Target<'_> {}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root)?;
        f.write_str(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn forms_become_origin_form() {
        let table = [
            (Method::Get, "/", "/", "/", None),
            (Method::Get, "/a%20b?c=d/e?f", "/a%20b?c=d/e?f", "/a%20b", None),
            (Method::Get, "//a//b", "//a//b", "//a//b", None),
            (Method::Get, "/{a}|\"b\"\\^`<>", "/{a}|\"b\"\\^`<>", "/{a}|\"b\"\\^`<>", None),
            (Method::Options, "*", "*", "*", None),
            (Method::Get, "http://a", "/", "/", Some("a")),
            (Method::Get, "HTTPS://a:1/b", "/b", "/b", Some("a:1")),
            (Method::Get, "http://a?b=/c", "/?b=/c", "/", Some("a")),
            (Method::Get, "http://[::1]:80//b?c", "//b?c", "//b", Some("[::1]:80")),
            (Method::Options, "http://a", "*", "*", Some("a")),
            (Method::Options, "http://a/", "/", "/", Some("a")),
            (Method::Get, "http://a/http://b", "/http://b", "/http://b", Some("a")),
        ];
        for (method, sent, written, path, authority) in table {
            let (target, host) = Target::parse(sent.as_bytes(), method).unwrap();
            assert_eq!(target.to_string(), written);
            assert_eq!((target.path(), host), (path, authority), "{sent}");
            let scheme = authority.map(|_| match sent.as_bytes()[4] {
                b':' => Scheme::Http,
                _ => Scheme::Https,
            });
            assert_eq!(target.scheme(), scheme, "{sent}");
        }
    }

    #[test]
    fn refused() {
        let table: [(&[u8], Fault); 17] = [
            (b"", Fault::BadTarget),
            (b"*", Fault::BadTarget),
            (b"a", Fault::BadTarget),
            (b"a:80", Fault::BadTarget),
            (b"?a", Fault::BadTarget),
            (b"/a#b", Fault::BadTarget),
            (b"/a b", Fault::BadTarget),
            (b"/a\x7f", Fault::BadTarget),
            (b"/\xc3\xa9", Fault::BadTarget),
            (b"/a\0", Fault::BadTarget),
            (b"ftp://a/", Fault::BadTarget),
            (b"http:/a", Fault::BadTarget),
            (b"http:///a", Fault::HostInvalid),
            (b"http://:80/a", Fault::HostInvalid),
            (b"http://user@a/", Fault::HostInvalid),
            (b"http://a,b/", Fault::HostInvalid),
            (b"http://a:x/", Fault::HostInvalid),
        ];
        for (target, fault) in table {
            assert_eq!(Target::parse(target, Method::Get), Err(fault), "{}", target.escape_ascii());
        }
    }

    #[test]
    fn equality_is_that_of_the_written_form() {
        let slash = Target::parse(b"http://a", Method::Get).unwrap().0;
        assert_eq!(slash, Target::parse(b"/", Method::Get).unwrap().0);
        assert_ne!(slash, Target::parse(b"/a", Method::Get).unwrap().0);
    }
}
