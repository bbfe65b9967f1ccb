//! A host and a port.

use std::fmt;
use std::str::FromStr;

/// A server's host name and port, `app.internal:8000`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The host, as it was written.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
}

/// A text is no host name with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError;

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write HOST:PORT, the host in letters, digits, `-`, `_` and `.`")
    }
}

impl std::error::Error for NameError {}

/// Most characters of a name (RFC 1035 §2.3.4, without the length bytes of its labels).
const HOST_MAX: usize = 253;

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (host, port) = text.rsplit_once(':').ok_or(NameError)?;
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let labels = host.strip_suffix('.').unwrap_or(host).split('.');
        let whole = labels.into_iter().all(|label| (1..=63).contains(&label.len()));
        // What is all digits and dots is meant as an address.
        let is_name = host.chars().all(named) && host.chars().any(|c| c.is_ascii_alphabetic());
        if !whole || !is_name || host.len() > HOST_MAX {
            return Err(NameError);
        }
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or(NameError)?;
        Ok(Self { host: host.into(), port })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["localhost:80", "app_1.internal:8000", "a.b.c.:1", "1and1.example:65535"] {
            assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}:80", "a.".repeat(130));
        let label = format!("{}:80", "a".repeat(64));
        for text in [
            "",
            ":80",
            "localhost",
            "a:",
            "a:b",
            "a:+1",
            "a:65536",
            "127.0.0.1:80",
            "a..b:80",
            ".a:80",
            "a b:80",
            "http://a:80",
            "[::1]:80",
            &long,
            &label,
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
