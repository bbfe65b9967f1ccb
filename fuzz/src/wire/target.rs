//! Request targets and hosts: in all their forms, against the grammar told a second time.

use wire::http1::{FieldSpace, HOST_MAX, parse_request};

use super::LIMITS;

/// The bytes are a method, a target and a `Host`, a line each.
pub fn check(bytes: &[u8]) {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (method, target, host) = (next(), next(), next());
    let bytes = [method, b" ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat();
    let mut space = FieldSpace::new();
    let Ok(head) = parse_request(&bytes, &LIMITS, &mut space) else { return };
    let text = head.target.to_string();
    let path = head.target.path();
    assert!(text.starts_with(path) && !path.contains('?') && !path.is_empty());
    assert_eq!(text.split('?').next(), Some(path));
    let [root, rest] = head.target.parts();
    assert_eq!(format!("{root}{rest}"), text);
    assert!(head.target.scheme().is_none() || head.host.is_some_and(|host| !host.is_empty()));
    if let Some(host) = head.host {
        assert!(is_host(host), "{host:?}");
    }
}

/// `uri-host [":" port]`, or nothing (RFC 9110 §7.2, RFC 3986 §3.2.2).
fn is_host(host: &str) -> bool {
    if host.is_empty() {
        return true;
    }
    let (name, port) = match host.rfind(':').filter(|at| !host[*at..].contains(']')) {
        Some(at) => (&host[..at], &host[at + 1..]),
        None => (host, ""),
    };
    let port_holds = port.is_empty() || port.parse::<u16>().is_ok_and(|_| !port.starts_with('+'));
    let name_holds = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<core::net::Ipv6Addr>().is_ok(),
        None => is_registered(name),
    };
    host.len() <= HOST_MAX && port_holds && name_holds && !name.is_empty()
}

fn is_registered(name: &str) -> bool {
    let escapes = name.split('%').skip(1).all(|after| {
        after.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    });
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+;=".contains(c);
    escapes && name.chars().all(allowed)
}
