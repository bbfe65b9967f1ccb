//! `Upgrade` (RFC 9110 §7.8): which protocol is asked for, and whether the server switched to it.

use core::num::NonZeroU8;

use super::bytes::{elements, is_token};
use super::fields::FieldKind;
use super::framing::Version;
use super::request::RequestHead;
use super::response::ResponseHead;

/// Longest name of a protocol that is passed on, bytes.
pub const PROTOCOL_MAX: usize = 31;

/// The protocol that a request asks to go on with, as it is remembered until the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    length: NonZeroU8,
    name: [u8; PROTOCOL_MAX],
}

impl Protocol {
    /// A name of this length; `None` if it is empty or too long.
    fn new(name: &[u8]) -> Option<Self> {
        let length = u8::try_from(name.len()).ok().and_then(NonZeroU8::new)?;
        let mut kept = [0; PROTOCOL_MAX];
        kept.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self { length, name: kept })
    }

    /// The name as the client spelled it.
    pub fn name(&self) -> &[u8] {
        self.name.get(..usize::from(self.length.get())).unwrap_or_default()
    }
}

impl core::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Protocol({})", self.name().escape_ascii())
    }
}

impl RequestHead<'_> {
    /// The first protocol of those it offers that may be passed on. None in HTTP/1.0, whose
    /// `Upgrade` is ignored, nor without `Connection: upgrade` (RFC 9110 §7.8).
    pub fn upgrade(&self) -> Option<Protocol> {
        if self.version == Version::V10 || !self.fields.has(FieldKind::Upgrade) {
            return None;
        }
        if !self.fields.has_option("upgrade") {
            return None;
        }
        let mut offered = self.fields.of(FieldKind::Upgrade).flat_map(elements);
        offered.find(|name| is_passable(name)).and_then(Protocol::new)
    }
}

impl ResponseHead<'_> {
    /// Whether this 101 switches to the protocol that was asked for, and to no other.
    pub fn switches_to(&self, asked: &Protocol) -> bool {
        let named = self.fields.of(FieldKind::Upgrade).flat_map(elements);
        let mut named = named.filter(|name| !name.is_empty());
        let matches = named.next().is_some_and(|name| name.eq_ignore_ascii_case(asked.name()));
        self.version == Version::V11 && matches && named.next().is_none()
    }
}

/// Whether a tunnel of this protocol would hide nothing from us that we are here to look at.
/// Another version of HTTP would smuggle requests past us (h2c: RFC 9113 §3.1, whose upgrade is
/// gone), and TLS within the connection (RFC 2817) would, too.
fn is_passable(name: &[u8]) -> bool {
    let mut parts = name.splitn(2, |&byte| byte == b'/');
    let protocol = parts.next().unwrap_or_default();
    let well_formed = is_token(protocol) && parts.next().is_none_or(is_token);
    let is = |other: &[u8]| protocol.eq_ignore_ascii_case(other);
    let hidden = [&b"h2c"[..], b"h2", b"h3", b"http", b"https", b"tls"];
    well_formed && name.len() <= PROTOCOL_MAX && !hidden.into_iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::super::fields::space;
    use super::super::{Limits, parse_request, parse_response};
    use super::*;
    use std::format;
    use std::string::String;

    const LIMITS: Limits = Limits { target: 64, fields: 16 };

    fn asked(lines: &str, version: &str) -> Option<String> {
        let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{lines}\r\n");
        let head = parse_request(text.as_bytes(), &LIMITS, space()).unwrap();
        head.upgrade().map(|asked| String::from_utf8_lossy(asked.name()).into_owned())
    }

    #[test]
    fn what_is_asked_for() {
        let ask = "Connection: upgrade\r\n";
        let table = [
            ("Upgrade: websocket\r\n", "1.1", Some("websocket")),
            ("Upgrade: WebSocket\r\n", "1.1", Some("WebSocket")),
            ("Upgrade: websocket\r\n", "1.0", None),
            ("Upgrade: h2c\r\n", "1.1", None),
            ("Upgrade: H2C\r\n", "1.1", None),
            ("Upgrade: HTTP/2.0\r\n", "1.1", None),
            ("Upgrade: TLS/1.0, h2c\r\n", "1.1", None),
            ("Upgrade: h2c, websocket\r\n", "1.1", Some("websocket")),
            ("Upgrade: h2c\r\nUpgrade: spdy/3.1\r\n", "1.1", Some("spdy/3.1")),
            ("Upgrade: a/b/c, d e, /f, g\r\n", "1.1", Some("g")),
            ("Upgrade: a-name-that-nobody-has-ever-heard-of\r\n", "1.1", None),
            ("Upgrade:\r\n", "1.1", None),
            ("Upgrade: ,\r\n", "1.1", None),
            ("", "1.1", None),
        ];
        for (lines, version, expected) in table {
            let got = asked(&format!("{ask}{lines}"), version);
            assert_eq!(got.as_deref(), expected, "{lines:?}");
        }
        // Without the option the field is for nobody.
        assert_eq!(asked("Upgrade: websocket\r\n", "1.1"), None);
        assert_eq!(asked("Connection: close\r\nUpgrade: websocket\r\n", "1.1"), None);
        let listed = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
        assert_eq!(asked(listed, "1.1").as_deref(), Some("websocket"));
    }

    #[test]
    fn what_is_switched_to() {
        let asked = Protocol::new(b"WebSocket").unwrap();
        let table = [
            // The option that names it (RFC 9110 §7.8) is there so that nobody passes the field on unseen.
            // A server that leaves it out has switched all the same: its next byte is no HTTP. The
            // client is told the option.
            ("1.1", "Upgrade: websocket\r\n", true),
            ("1.1", "Upgrade: WEBSOCKET\r\nConnection: upgrade\r\n", true),
            ("1.1", "Upgrade: websocket, foo\r\n", false),
            ("1.1", "Upgrade: websocket\r\nUpgrade: websocket\r\n", false),
            ("1.1", "Upgrade: websocke\r\n", false),
            // Empty elements of a list say nothing (RFC 9110 §5.6.1.2).
            ("1.1", "Upgrade: , websocket,\r\n", true),
            ("1.1", "Upgrade:\r\nUpgrade: websocket\r\n", true),
            ("1.1", "Upgrade: ,\r\n", false),
            ("1.1", "Upgrade:\r\n", false),
            ("1.1", "", false),
            ("1.0", "Upgrade: websocket\r\n", false),
        ];
        for (version, lines, expected) in table {
            let text = format!("HTTP/{version} 101 x\r\n{lines}\r\n");
            let head = parse_response(text.as_bytes(), false, &LIMITS, space()).unwrap();
            assert_eq!(head.switches_to(&asked), expected, "{text:?}");
        }
    }

    #[test]
    fn an_absent_protocol_takes_no_room_of_its_own() {
        assert_eq!(size_of::<Option<Protocol>>(), PROTOCOL_MAX + 1);
    }
}
