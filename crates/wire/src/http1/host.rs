//! The host a request is for: `uri-host [":" port]` (RFC 9110 §7.2, RFC 3986 §3.2.2).

use core::net::Ipv6Addr;

use super::bytes::{REG_NAME, all, decimal};
use super::fault::Fault;

/// Longest host with its port: a domain name has at most 253 characters. It is written up to
/// three times, so that its bound is part of the bound of what a head may grow by.
pub const HOST_MAX: usize = 255 + 6;

/// Checks a host with an optional port. Nothing at all is allowed, as `Host` may be empty; a port
/// without a host is not (RFC 9110 §4.2.1).
pub(super) fn parse(host: &[u8]) -> Result<&str, Fault> {
    let valid = host.len() <= HOST_MAX && !host.starts_with(b":") && is_host_and_port(host);
    str::from_utf8(host).ok().filter(|_| valid).ok_or(Fault::HostInvalid)
}

fn is_host_and_port(host: &[u8]) -> bool {
    let (name_valid, port) = if let Some(rest) = host.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', rest) else {
            return false;
        };
        (is_ipv6(&rest[..end]), &rest[end + 1..])
    } else {
        let end = memchr::memchr(b':', host).unwrap_or(host.len());
        (is_reg_name(&host[..end]), &host[end..])
    };
    name_valid && is_port_suffix(port)
}

fn is_ipv6(address: &[u8]) -> bool {
    str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// A registered name or an IPv4 address; every `%` begins an escape of two hex digits.
fn is_reg_name(name: &[u8]) -> bool {
    let escaped = |after: &[u8]| matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    all(REG_NAME, name) && memchr::memchr_iter(b'%', name).all(|at| escaped(&name[at + 1..]))
}

/// Nothing, or a colon and a port, which may be empty (RFC 3986 §3.2.3).
fn is_port_suffix(suffix: &[u8]) -> bool {
    match suffix {
        [] | [b':'] => true,
        [b':', digits @ ..] => decimal(digits).is_some_and(|port| u16::try_from(port).is_ok()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn accepted() {
        let longest = "a".repeat(HOST_MAX);
        let table = [
            "",
            "example.org",
            "EXAMPLE.org.",
            "a_b",
            "127.0.0.1",
            "127.0.0.1:8080",
            "a:",
            "a:0",
            "a:65535",
            "[::1]",
            "[::1]:80",
            "[2001:db8::1]:",
            "[::ffff:1.2.3.4]",
            "a%20b",
            "xn--bcher-kva.example",
            &longest,
        ];
        for host in table {
            assert_eq!(parse(host.as_bytes()), Ok(host));
        }
    }

    #[test]
    fn refused() {
        let too_long: String = "a".repeat(HOST_MAX + 1);
        let table = [
            ":",
            ":80",
            "a b",
            "a,b",
            "a/b",
            "user@a",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:-1",
            "a:+1",
            "a: 80",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]80",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "a%2",
            "a%zz",
            "a%",
            "a?b",
            "a#b",
            "a\\b",
            "a\"b",
            "a<b",
            "a\tb",
            "é.example",
            &too_long,
        ];
        for host in table {
            assert_eq!(parse(host.as_bytes()), Err(Fault::HostInvalid), "{host:?}");
        }
        assert_eq!(parse(b"a\xff"), Err(Fault::HostInvalid));
    }
}
