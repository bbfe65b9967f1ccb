//! Request methods (RFC 9110 §9).

use core::fmt;

use super::bytes::is_token;
use super::fault::Fault;

/// A request's method; names are case-sensitive (RFC 9110 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the methods of RFC 9110 §9.3 and RFC 5789 explain themselves")]
pub enum Method<'h> {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Trace,
    Patch,
    /// A method of another specification, never CONNECT.
    Other(&'h str),
}

impl<'h> Method<'h> {
    pub(super) fn parse(name: &'h [u8]) -> Result<Self, Fault> {
        Ok(match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            b"CONNECT" => return Err(Fault::ConnectNotSupported),
            _ if !is_token(name) => return Err(Fault::BadRequestLine),
            _ => Self::Other(str::from_utf8(name).map_err(|_| Fault::BadRequestLine)?),
        })
    }

    /// The name as it is written.
    pub const fn as_str(&self) -> &'h str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other(name) => name,
        }
    }

    /// Whether the client asks for no change of state (RFC 9110 §9.2.1).
    pub const fn is_safe(&self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether several such requests have the effect of one (RFC 9110 §9.2.2).
    pub const fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn names_safety_and_idempotence() {
        let table = [
            ("GET", true, true),
            ("HEAD", true, true),
            ("OPTIONS", true, true),
            ("TRACE", true, true),
            ("PUT", false, true),
            ("DELETE", false, true),
            ("POST", false, false),
            ("PATCH", false, false),
            ("get", false, false),
            ("PROPFIND", false, false),
        ];
        for (name, safe, idempotent) in table {
            let method = Method::parse(name.as_bytes()).unwrap();
            assert_eq!(method.to_string(), name);
            assert_eq!((method.is_safe(), method.is_idempotent()), (safe, idempotent), "{name}");
        }
        assert_eq!(Method::parse(b"get"), Ok(Method::Other("get")));
    }

    #[test]
    fn refused() {
        assert_eq!(Method::parse(b"CONNECT"), Err(Fault::ConnectNotSupported));
        for name in [&b""[..], b"G@T", b"GET\t", b"G\xc3\xa9T"] {
            assert_eq!(Method::parse(name), Err(Fault::BadRequestLine));
        }
    }
}
