//! What proxies in front, if they are trusted, tell of a request's way: `X-Forwarded-For`,
//! `X-Forwarded-Proto` and `X-Forwarded-Host`.

use core::net::{IpAddr, SocketAddr};

use super::bytes::elements;
use super::fields::{FieldKind, Fields};
use super::host;

/// Most proxies in a row that are believed. Beyond, what is farther away counts for nothing.
pub const HOPS_MAX: usize = 32;

/// What is believed of a request's way; by default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Believed<'h> {
    /// Whom the request is from, as the last of the trusted proxies in a row says.
    pub client: Option<IpAddr>,
    /// Entries in front of that one: anybody may have written them.
    skipped: usize,
    /// How the client reached the first of the proxies: `http` or `https`.
    pub proto: Option<&'static str>,
    /// The host that the client asked for.
    pub host: Option<&'h str>,
}

impl<'h> Believed<'h> {
    /// Nothing is believed.
    pub const NOTHING: Self = Self { client: None, skipped: 0, proto: None, host: None };

    /// Reads what a trusted proxy says. The client is the last address of `X-Forwarded-For` that
    /// `trusts` does not hold for: each address was seen by the proxy behind it, so that a trusted
    /// one is believed in turn, and what stands in front of the client is hearsay. If all are
    /// trusted it is the first one. What is no address ends the row.
    ///
    /// Of the other fields the last one counts, and of several in it the last: that of the proxy
    /// that is the nearest.
    pub fn read(fields: &Fields<'h>, trusts: impl Fn(IpAddr) -> bool) -> Self {
        if !fields.has(FieldKind::Forwarding) {
            return Self::default();
        }
        let skipped = entries(fields).count().saturating_sub(HOPS_MAX);
        let mut read = Self { skipped, ..Self::default() };
        for (at, entry) in entries(fields).enumerate().skip(skipped) {
            match address(entry) {
                None => (read.client, read.skipped) = (None, at + 1),
                Some(address) if read.client.is_none() || !trusts(address) => {
                    (read.client, read.skipped) = (Some(address), at);
                }
                Some(_) => {}
            }
        }
        read.proto = match last(fields, b"x-forwarded-proto") {
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => Some("https"),
            Some(proto) if proto.eq_ignore_ascii_case(b"http") => Some("http"),
            _ => None,
        };
        let host = last(fields, b"x-forwarded-host").and_then(|host| host::parse(host).ok());
        read.host = host.filter(|host| !host.is_empty());
        read
    }

    /// The addresses of the way from the client on.
    pub(super) fn way(&self, fields: &Fields<'h>) -> impl Iterator<Item = IpAddr> {
        let known = usize::from(self.client.is_some()) * HOPS_MAX;
        entries(fields).skip(self.skipped).take(known).filter_map(address)
    }
}

/// The entries of `X-Forwarded-For`, over all its lines.
fn entries<'h>(fields: &Fields<'h>) -> impl Iterator<Item = &'h [u8]> {
    values(fields, b"x-forwarded-for").flat_map(elements).filter(|entry| !entry.is_empty())
}

/// The last element of the last field of this name.
fn last<'h>(fields: &Fields<'h>, name: &'static [u8]) -> Option<&'h [u8]> {
    values(fields, name).last().and_then(|value| elements(value).last())
}

/// The values of the fields that are spelled so. A twin with `_` was not meant by anybody who is
/// trusted.
fn values<'h>(fields: &Fields<'h>, name: &'static [u8]) -> impl Iterator<Item = &'h [u8]> {
    let forwarding = fields.iter().filter(|field| field.kind == FieldKind::Forwarding);
    forwarding.filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// An address, perhaps with a port or in brackets; that of nobody is none.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|socket| socket.ip());
    let address = bare.parse::<IpAddr>().or_else(|_| with_port()).ok()?.to_canonical();
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::super::fields::space;
    use super::super::{Limits, parse_request};
    use super::*;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// Whom it is from, and the way from there; 10.0.0.0/8 and `fc00::/8` are trusted.
    fn read(lines: &str) -> (Option<String>, Vec<String>, Option<&'static str>, Option<String>) {
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let limits = Limits { target: 100, fields: 128 };
        let head = parse_request(text.as_bytes(), &limits, space()).unwrap();
        let believed = Believed::read(&head.fields, |address| match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.octets()[0] == 0xfc,
        });
        let way = believed.way(&head.fields).map(|address| address.to_string()).collect();
        let client = believed.client.map(|address| address.to_string());
        (client, way, believed.proto, believed.host.map(String::from))
    }

    #[test]
    fn the_client_is_the_last_one_that_is_not_trusted() {
        let table: [(&str, &[&str]); 14] = [
            ("192.0.2.1", &["192.0.2.1"]),
            ("6.6.6.6, 192.0.2.1", &["192.0.2.1"]),
            ("6.6.6.6, 192.0.2.1, 10.0.0.1,10.0.0.2", &["192.0.2.1", "10.0.0.1", "10.0.0.2"]),
            ("10.0.0.3, 10.0.0.1", &["10.0.0.3", "10.0.0.1"]),
            ("10.0.0.3, 192.0.2.1, 10.0.0.1", &["192.0.2.1", "10.0.0.1"]),
            ("192.0.2.1, unknown, 10.0.0.1", &["10.0.0.1"]),
            ("192.0.2.1, 10.0.0.1, unknown", &[]),
            ("192.0.2.1, 0.0.0.0", &[]),
            ("192.0.2.1:4711, [fc00::1]:80, [fc00::2]", &["192.0.2.1", "fc00::1", "fc00::2"]),
            ("2001:db8::1", &["2001:db8::1"]),
            ("::ffff:10.0.0.9, 6.6.6.6, ::ffff:10.0.0.1", &["6.6.6.6", "10.0.0.1"]),
            ("192.0.2.1,,  ,10.0.0.1,", &["192.0.2.1", "10.0.0.1"]),
            ("", &[]),
            ("\"192.0.2.1\"", &[]),
        ];
        for (value, way) in table {
            let (client, found, ..) = read(&format!("X-Forwarded-For: {value}\r\n"));
            assert_eq!(found, way, "{value}");
            assert_eq!(client.as_deref(), way.first().copied(), "{value}");
        }
        let lines = "x-forwarded-for: 6.6.6.6, 192.0.2.1\r\nX_Forwarded_For: 7.7.7.7\r\n\
            X-FORWARDED-FOR: 10.0.0.1\r\n";
        assert_eq!(read(lines).1, ["192.0.2.1", "10.0.0.1"], "lines are one list");
        assert_eq!(read("X_Forwarded_For: 7.7.7.7\r\nForwarded: for=7.7.7.7\r\n").0, None);
    }

    #[test]
    fn a_row_of_proxies_has_a_bound() {
        let row = ["10.0.0.1"; HOPS_MAX - 1].join(",");
        let (client, way, ..) = read(&format!("X-Forwarded-For: 192.0.2.1,{row}\r\n"));
        assert_eq!((client.as_deref(), way.len()), (Some("192.0.2.1"), HOPS_MAX));
        let (client, way, ..) = read(&format!("X-Forwarded-For: 192.0.2.1,10.0.0.2,{row}\r\n"));
        assert_eq!((client.as_deref(), way.len()), (Some("10.0.0.2"), HOPS_MAX));
    }

    #[test]
    fn of_scheme_and_host_the_nearest_counts() {
        let found = |lines: &str| {
            let (_, _, proto, host) = read(lines);
            (proto, host)
        };
        assert_eq!(found(""), (None, None));
        let lines = "X-Forwarded-Proto: http, HTTPS\r\nX-Forwarded-Host: evil, a.example:8443\r\n";
        assert_eq!(found(lines), (Some("https"), Some("a.example:8443".into())));
        let lines = "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: \r\n";
        assert_eq!(found(lines), (Some("http"), None));
        let lines = "X-Forwarded-Proto: wss\r\nX-Forwarded-Host: a b\r\n";
        assert_eq!(found(lines), (None, None));
    }
}
