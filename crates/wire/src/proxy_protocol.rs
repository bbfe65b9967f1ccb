//! The PROXY protocol, versions 1 and 2: the header by which a balancer before us says whose
//! connection it passes on, and by which we say so to a server behind us
//! (haproxy.org/download/2.9/doc/proxy-protocol.txt).
//!
//! A header stands before the first byte of the connection, and of what follows nothing is read
//! here. What it says beside the client's address is skipped.

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use arrayvec::{ArrayString, ArrayVec};

/// Longest header that is read, as nginx has it: one of version 2 may carry a chain of values.
pub const HEADER_MAX: usize = 4096;
/// Longest header of version 1 (§2.1), and of all that we write.
pub const TEXT_MAX: usize = 107;

/// What version 1 begins with.
const TEXT: &[u8] = b"PROXY ";
/// What version 2 begins with (§2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;

/// What the first bytes of a connection turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// More must come.
    Incomplete,
    /// A whole header of so many bytes.
    Whole {
        /// Its bytes; what is behind them is the client's.
        length: usize,
        /// The client's address; none if the connection is the sender's own (`LOCAL`), or it does
        /// not know better (`UNKNOWN`), or the client has no address of the Internet.
        client: Option<SocketAddr>,
    },
    /// No header, or a malformed one, or one beyond [`HEADER_MAX`].
    Malformed,
}

/// Reads the first bytes of a connection. What can be refused by its first bytes does not wait for
/// the others.
pub fn read_header(bytes: &[u8]) -> Header {
    if begins(bytes, SIGNATURE) {
        return binary(bytes);
    }
    if !begins(bytes, TEXT) {
        return Header::Malformed;
    }
    let head = bytes.get(..TEXT_MAX).unwrap_or(bytes);
    match memchr::memchr(b'\n', head) {
        Some(end) => {
            let client = head.get(TEXT.len()..end).and_then(text);
            let whole = |client| Header::Whole { length: end + 1, client };
            client.map_or(Header::Malformed, whole)
        }
        None if head.len() < TEXT_MAX => Header::Incomplete,
        None => Header::Malformed,
    }
}

/// Whether `bytes` begin as `with` does, as far as they are there.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let length = bytes.len().min(with.len());
    bytes.get(..length) == with.get(..length)
}

/// Version 1, between its first word and its LF. `None` if it is malformed.
#[expect(clippy::option_option, reason = "the inner one is whether there is an address")]
fn text(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = line.strip_suffix(b"\r")?;
    // What stands behind it is to be ignored, whatever it is.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Some(None);
    }
    let line = core::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let mut word = || words.next();
    let (family, client, own) = (word()?, word()?, word()?);
    let client: IpAddr = address(family, client)?;
    address(family, own)?;
    let (from, _) = (port(word()?)?, port(word()?)?);
    word().is_none().then_some(Some(SocketAddr::new(client, from)))
}

fn address(family: &str, text: &str) -> Option<IpAddr> {
    match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    }
}

/// A number from 0 to 65535 without leading zeroes.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let leads = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| plain && !leads)
}

/// Version 2.
fn binary(bytes: &[u8]) -> Header {
    // What is wrong is told by each byte as it comes.
    let (command, family) = (bytes.get(12).copied(), bytes.get(13).copied());
    // Of a connection of the sender's own, the family is nothing to us (§2.2).
    let local = command == Some(0x20);
    if command.is_some_and(|it| !matches!(it, 0x20 | 0x21))
        || family.is_some_and(|it| !local && (it >> 4 > 3 || it & 0xf > 2))
    {
        return Header::Malformed;
    }
    let (Some(family), Some(&[high, low])) = (family, bytes.get(14..FIXED)) else {
        return Header::Incomplete;
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    // Addresses of a family take so many bytes of what follows at least.
    let least = match family {
        _ if local => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => 0,
    };
    if length > HEADER_MAX || length < FIXED + least {
        return Header::Malformed;
    }
    if bytes.len() < length {
        return Header::Incomplete;
    }
    let client = match (local, family) {
        (false, 0x11) => source::<4>(bytes, 24),
        (false, 0x21) => source::<16>(bytes, 48),
        // Its own, not known, a datagram's, or on a Unix socket.
        _ => None,
    };
    Header::Whole { length, client }
}

/// The address that begins behind the fixed part, and its port.
fn source<const N: usize>(bytes: &[u8], port: usize) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let address: &[u8; N] = bytes.get(FIXED..)?.first_chunk()?;
    let port: &[u8; 2] = bytes.get(port..)?.first_chunk()?;
    Some(SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port)))
}

/// The versions that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The header that says whose connection it is: from the client's address to the one it came in at.
/// Without them it says that they are not known.
pub fn write_header(version: Version, ends: Option<[SocketAddr; 2]>) -> ArrayVec<u8, TEXT_MAX> {
    let ends = ends.map(|ends| ends.map(|end| (end.ip().to_canonical(), end.port())));
    match version {
        Version::V1 => write_text(ends),
        Version::V2 => write_binary(ends),
    }
}

fn write_text(ends: Option<[(IpAddr, u16); 2]>) -> ArrayVec<u8, TEXT_MAX> {
    let mut text = ArrayString::<TEXT_MAX>::new();
    // The longest line of all has just this length.
    let written = match ends {
        None => text.write_str("PROXY UNKNOWN\r\n"),
        Some([(IpAddr::V4(from), from_port), (IpAddr::V4(to), to_port)]) => {
            write!(text, "PROXY TCP4 {from} {to} {from_port} {to_port}\r\n")
        }
        Some([(from, from_port), (to, to_port)]) => {
            let [from, to] = [from, to].map(six);
            write!(text, "PROXY TCP6 {from} {to} {from_port} {to_port}\r\n")
        }
    };
    debug_assert!(written.is_ok());
    text.bytes().collect()
}

fn write_binary(ends: Option<[(IpAddr, u16); 2]>) -> ArrayVec<u8, TEXT_MAX> {
    let mut bytes = ArrayVec::new();
    bytes.extend(SIGNATURE.iter().copied());
    match ends {
        None => bytes.extend([0x21, 0x00, 0, 0]),
        Some([(IpAddr::V4(from), from_port), (IpAddr::V4(to), to_port)]) => {
            bytes.extend([0x21, 0x11, 0, 12]);
            bytes.extend(from.octets().into_iter().chain(to.octets()));
            bytes.extend(from_port.to_be_bytes().into_iter().chain(to_port.to_be_bytes()));
        }
        Some([(from, from_port), (to, to_port)]) => {
            bytes.extend([0x21, 0x21, 0, 36]);
            bytes.extend(six(from).octets().into_iter().chain(six(to).octets()));
            bytes.extend(from_port.to_be_bytes().into_iter().chain(to_port.to_be_bytes()));
        }
    }
    bytes
}

/// One of IPv4 as one of IPv6, where the other end is one of those.
const fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::ToString;
    use std::vec::Vec;

    fn whole(length: usize, client: &str) -> Header {
        Header::Whole { length, client: client.parse().ok() }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    #[test]
    fn text_is_read_with_what_follows_left_alone() {
        for (line, client) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.7 5000 443\r\n", "192.0.2.1:5000"),
            ("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0:0"),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "[2001:db8::1]:1"),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "[::ffff:192.0.2.1]:1"),
            ("PROXY UNKNOWN\r\n", ""),
            ("PROXY UNKNOWN what \x07 ever\r\n", ""),
        ] {
            assert_eq!(read_header(line.as_bytes()), whole(line.len(), client), "{line}");
            let followed = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(read_header(followed.as_bytes()), whole(line.len(), client), "{line}");
            for cut in 0..line.len() {
                assert_eq!(
                    read_header(&line.as_bytes()[..cut]),
                    Header::Incomplete,
                    "{line} {cut}"
                );
            }
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        let long = format!("PROXY UNKNOWN {}", "x".repeat(100));
        let too_long = format!("{}\r\n", &long[..106]);
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXX ",
            "proxy tcp4",
            "PROXY TCP4 192.0.2.1 198.51.100.7 5000 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 5000\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 5000 443 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 5000 443 1\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.7 5000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 +5 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 05 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 5  443\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.7 5 443\r\n",
            "PROXY TCP4 192.0.02.1 198.51.100.7 5 443\r\n",
            "PROXY TCP4 ::1 ::1 5 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.7 5 443\r\n",
            "PROXY TCP5 192.0.2.1 198.51.100.7 5 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            &long,
            &too_long,
        ] {
            assert_eq!(read_header(line.as_bytes()), Header::Malformed, "{line:?}");
        }
        let longest = format!("{}\r\n", &long[..105]);
        assert_eq!(read_header(longest.as_bytes()), whole(107, ""), "the longest there is");
    }

    #[test]
    fn binary_is_read_with_values_skipped() {
        let four = [192, 0, 2, 1, 198, 51, 100, 7, 0x13, 0x88, 1, 0xbb];
        let values = [&four[..], &[3, 0, 4, 1, 2, 3, 4, 0x20, 0, 1, 9]].concat();
        let six =
            [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1], &[0, 5, 0, 6]].concat();
        for (bytes, client) in [
            (binary(0x21, 0x11, &four), "192.0.2.1:5000"),
            (binary(0x21, 0x11, &values), "192.0.2.1:5000"),
            (binary(0x21, 0x21, &six), "[2001:db8::1]:5"),
            (binary(0x20, 0x00, &[]), ""),
            (binary(0x20, 0x11, &four), ""),
            (binary(0x20, 0x11, &[1, 2, 3]), ""),
            (binary(0x20, 0x41, &[1, 2, 3]), ""),
            (binary(0x20, 0xff, &[]), ""),
            (binary(0x21, 0x00, &[7; 90]), ""),
            (binary(0x21, 0x12, &four), ""),
            (binary(0x21, 0x31, &[b'/'; 216]), ""),
            (binary(0x21, 0x11, &[four.to_vec(), std::vec![0; 4068]].concat()), "192.0.2.1:5000"),
        ] {
            assert_eq!(read_header(&bytes), whole(bytes.len(), client), "{bytes:?}");
            let followed = [&bytes[..], b"\x16\x03\x01"].concat();
            assert_eq!(read_header(&followed), whole(bytes.len(), client), "{bytes:?}");
            for cut in 0..bytes.len() {
                assert_eq!(read_header(&bytes[..cut]), Header::Incomplete, "{bytes:?} {cut}");
            }
        }
    }

    #[test]
    fn malformed_binary_is_refused() {
        for bytes in [
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x21, 0x41, &[0; 12]),
            binary(0x21, 0x13, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x31, &[0; 215]),
            binary(0x20, 0x00, &[0; 4081]),
            [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
            b"\r\n\r\n\0\r\nQUIX".to_vec(),
        ] {
            assert_eq!(read_header(&bytes), Header::Malformed, "{bytes:?}");
        }
    }

    fn ends() -> impl Strategy<Value = [SocketAddr; 2]> {
        let four = any::<(u32, u16)>().prop_map(|(ip, port)| (Ipv4Addr::from(ip), port).into());
        let six = any::<(u128, u16)>().prop_map(|(ip, port)| (Ipv6Addr::from(ip), port).into());
        let end = prop_oneof![four, six].boxed();
        [end.clone(), end]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(ends in prop::option::of(ends())) {
            for version in [Version::V1, Version::V2] {
                let written = write_header(version, ends);
                let Header::Whole { length, client } = read_header(&written) else {
                    panic!("{written:?}");
                };
                prop_assert_eq!(length, written.len());
                let plain = |end: SocketAddr| (end.ip().to_canonical(), end.port());
                prop_assert_eq!(client.map(plain), ends.map(|[client, _]| plain(client)));
            }
        }

        /// Another reader of the same protocol understands what we write.
        #[test]
        fn others_read_what_is_written(ends in ends()) {
            let text = write_header(Version::V1, Some(ends));
            let read = ppp::v1::Header::try_from(&text[..]).unwrap();
            let (from, port) = match read.addresses {
                ppp::v1::Addresses::Tcp4(four) => (IpAddr::V4(four.source_address), four.source_port),
                ppp::v1::Addresses::Tcp6(six) => (IpAddr::V6(six.source_address), six.source_port),
                ppp::v1::Addresses::Unknown => panic!("{}", read.to_string()),
            };
            prop_assert_eq!((from.to_canonical(), port), (ends[0].ip().to_canonical(), ends[0].port()));
            let binary = write_header(Version::V2, Some(ends));
            let read = ppp::v2::Header::try_from(&binary[..]).unwrap();
            let (from, port) = match read.addresses {
                ppp::v2::Addresses::IPv4(four) => (IpAddr::V4(four.source_address), four.source_port),
                ppp::v2::Addresses::IPv6(six) => (IpAddr::V6(six.source_address), six.source_port),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!((from.to_canonical(), port), (ends[0].ip().to_canonical(), ends[0].port()));
        }

        /// Neither panics nor reads more than there is, and never changes its mind when more comes.
        #[test]
        fn any_bytes_are_read(
            kind in 0..3usize,
            noise in prop::collection::vec(any::<u8>(), 0..300),
            cut: prop::sample::Index,
        ) {
            let start: [&[u8]; 3] = [b"", TEXT, SIGNATURE];
            let bytes = [start[kind], &noise].concat();
            let all = read_header(&bytes);
            if let Header::Whole { length, .. } = all {
                prop_assert!(length <= bytes.len());
            }
            match read_header(&bytes[..cut.index(bytes.len() + 1)]) {
                Header::Incomplete => {}
                decided => prop_assert_eq!(decided, all),
            }
        }
    }
}
