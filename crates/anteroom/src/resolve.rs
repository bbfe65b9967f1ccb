//! Addresses as they are written, host names among them.

use std::fmt;
use std::net::ToSocketAddrs;

use control::Name;
use driver::{Address, AddressError};

/// Where a server is: an address, or a name that is looked up at start and again later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// It stays there.
    Address(Address),
    /// Its addresses may change.
    Name(Name),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Reads a server: `:8080`, `127.0.0.1:8080`, `[::1]:8080`, `unix:/path` or `host:port`. Nothing
/// is looked up yet.
///
/// # Errors
/// In words that fit behind the flag and the value: what is wrong and what would be right.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    let error = match text.parse() {
        Ok(address) => return Ok(Target::Address(address)),
        Err(error) => error,
    };
    if text.starts_with("unix:") || text.starts_with(':') {
        return Err(AddressError::to_string(&error));
    }
    text.parse()
        .map(Target::Name)
        .map_err(|_| "write IP:PORT, [IPV6]:PORT, :PORT, HOST:PORT or unix:/path".to_owned())
}

/// Reads an address of our own, in the same forms. A host name is looked up now and never again;
/// of several addresses the first is taken.
///
/// # Errors
/// As [`target`], and when there is no such host.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    match target(text)? {
        Target::Address(address) => Ok(address),
        Target::Name(name) => look_up(&name).ok_or(UNKNOWN.to_owned()),
    }
}

/// What is said of a name that nobody knows.
pub(crate) const UNKNOWN: &str = "no such host; check the name, or give its IP address";

fn look_up(name: &Name) -> Option<Address> {
    if cfg!(fuzzing) {
        // What an input names must not be asked for.
        return None;
    }
    (&*name.host, name.port).to_socket_addrs().ok()?.next().map(Address::Ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_host_names_are_read() {
        assert_eq!(address("127.0.0.1:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(address("unix:/run/a.sock").unwrap().to_string(), "unix:/run/a.sock");
        assert!(address("localhost:80").unwrap().to_string().ends_with(":80"));
        assert!(matches!(target("localhost:80"), Ok(Target::Name(_))));
        assert!(matches!(target(":80"), Ok(Target::Address(_))));
    }

    #[test]
    fn what_is_no_address_gets_a_remedy() {
        for text in
            ["8080", "localhost", "localhost:http", "http://localhost:80", "127.0.0.1:99999", ""]
        {
            assert!(address(text).unwrap_err().contains("HOST:PORT"), "{text}");
        }
        assert!(address("unix:").unwrap_err().contains("name a path"));
        assert!(address(":http").unwrap_err().contains("0 to 65535"));
    }
}
