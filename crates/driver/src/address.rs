//! Addresses as the command line and the configuration write them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen or to connect: `:8080`, `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IPv4 or IPv6 address and port. `:8080` is every address of both families.
    Ip(SocketAddr),
    /// A Unix socket in the file system.
    Unix(PathBuf),
}

/// Why a text is no address, in words for the one who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    text: String,
    remedy: &'static str,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no address: {}", self.text, self.remedy)
    }
}

impl std::error::Error for AddressError {}

/// Longest path a `sockaddr_un` holds, its closing NUL set aside.
const UNIX_PATH_MAX: usize = 107;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |remedy| AddressError { text: text.to_owned(), remedy };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                _ if path.contains('\0') => Err(wrong("a path holds no NUL")),
                0 => Err(wrong("name a path after `unix:`, as in unix:/run/app.sock")),
                1..=UNIX_PATH_MAX => Ok(Self::Unix(PathBuf::from(path))),
                _ => Err(wrong("the path of a Unix socket has at most 107 bytes")),
            };
        }
        if let Some(port) = text.strip_prefix(':') {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|_| digits);
            let port = port.ok_or_else(|| wrong("a port is a number from 0 to 65535"))?;
            return Ok(Self::Ip(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)));
        }
        text.parse().map(Self::Ip).map_err(|_| {
            wrong(
                "write IP:PORT, [IPV6]:PORT, :PORT or unix:/path (host names are not resolved yet)",
            )
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_command_line_writes() {
        for (text, shown) in [
            (":8080", "[::]:8080"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()), Ok(shown.to_owned()));
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_would_be_right() {
        let long = format!("unix:/{}", "x".repeat(200));
        for (text, remedy) in [
            ("", "IP:PORT"),
            ("8080", "IP:PORT"),
            ("localhost:80", "IP:PORT"),
            (":99999", "0 to 65535"),
            (":+80", "0 to 65535"),
            ("unix:", "name a path"),
            ("unix:/a\0b", "NUL"),
            (long.as_str(), "107 bytes"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }
}
