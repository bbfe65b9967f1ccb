//! Addresses of the command line, host names among them, resolved once at start.

use std::net::ToSocketAddrs;

use driver::{Address, AddressError};

/// Reads `:8080`, `127.0.0.1:8080`, `[::1]:8080`, `unix:/path` or `host:port`.
///
/// A host name is looked up now and never again; of several addresses the first is taken.
///
/// # Errors
/// In words that fit behind the flag and the value: what is wrong and what would be right.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    let error = match text.parse() {
        Ok(address) => return Ok(address),
        Err(error) => error,
    };
    if text.starts_with("unix:") || text.starts_with(':') {
        return Err(AddressError::to_string(&error));
    }
    if !is_host_and_port(text) {
        return Err("write IP:PORT, [IPV6]:PORT, :PORT, HOST:PORT or unix:/path".to_owned());
    }
    look_up(text).ok_or("no such host; check the name, or give its IP address".to_owned())
}

/// Whether the text has the form of a host name and a port: letters, digits, `-` and `.`.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    !host.is_empty()
        && host.chars().all(named)
        && host.chars().any(|c| c.is_ascii_alphabetic())
        && port.parse::<u16>().is_ok()
}

fn look_up(text: &str) -> Option<Address> {
    text.to_socket_addrs().ok()?.next().map(Address::Ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_host_names_are_read() {
        assert_eq!(address("127.0.0.1:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(address("unix:/run/a.sock").unwrap().to_string(), "unix:/run/a.sock");
        assert!(address("localhost:80").unwrap().to_string().ends_with(":80"));
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
