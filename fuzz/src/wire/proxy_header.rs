//! PROXY headers: in whatever pieces they come, and as another reader of the protocol has them.

use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};
use wire::proxy_protocol::{HEADER_MAX, Header, Version, read_header, write_header};

/// The bytes are the first of a connection.
pub fn check(bytes: &[u8]) {
    let whole = read_header(bytes);
    let mut decided = false;
    // What comes first decides: nothing longer than this is text, or has undecided bytes before.
    for cut in (0..bytes.len().min(300)).chain([bytes.len()]) {
        match read_header(&bytes[..cut]) {
            Header::Incomplete => assert!(!decided, "it changed its mind after {cut} bytes"),
            told => {
                assert_eq!(told, whole, "{cut} bytes");
                decided = true;
            }
        }
    }
    match whole {
        Header::Whole { length, client } => {
            assert!(length <= bytes.len() && length <= HEADER_MAX);
            assert_eq!(read_header(&bytes[..length]), whole, "it looked at what follows");
            match others(bytes) {
                Others::Taken(other) => assert_eq!(client, other),
                Others::Nothing => {}
                Others::Refused => panic!("nobody else takes it for a header"),
            }
            if let Some(client) = client {
                is_told_on(client);
            }
        }
        Header::Incomplete => {
            assert!(bytes.len() < HEADER_MAX);
            assert!(!matches!(others(bytes), Others::Taken(_)), "to others it is whole");
        }
        Header::Malformed => assert!(!matches!(others(bytes), Others::Taken(_)), "others take it"),
    }
}

/// What another reader makes of it.
enum Others {
    /// A header, with this address.
    Taken(Option<SocketAddr>),
    /// They are more lenient or stricter there, and say nothing.
    Nothing,
    Refused,
}

fn others(bytes: &[u8]) -> Others {
    if bytes.starts_with(b"PROXY") { text(bytes) } else { binary(bytes) }
}

fn text(bytes: &[u8]) -> Others {
    // What follows UNKNOWN is to be ignored, and they want it to be text.
    if bytes.starts_with(b"PROXY UNKNOWN") {
        return Others::Nothing;
    }
    let Ok(header) = v1::Header::try_from(bytes) else { return Others::Refused };
    // They read +5 as a number, and a space as CR.
    if header.header.contains('+') || !header.header.ends_with("\r\n") {
        return Others::Nothing;
    }
    Others::Taken(match header.addresses {
        v1::Addresses::Tcp4(it) => Some((it.source_address, it.source_port).into()),
        v1::Addresses::Tcp6(it) => Some((it.source_address, it.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

fn binary(bytes: &[u8]) -> Others {
    // Of one that is the sender's own, they read the addresses that are to be ignored; and of one
    // without a transport, those that nobody asked for.
    let says_nothing = |it: &[u8; 2]| it[0] == 0x20 || it[1] << 4 == 0;
    if bytes.get(12..14).and_then(|it| it.first_chunk()).is_some_and(says_nothing) {
        return Others::Nothing;
    }
    let Ok(header) = v2::Header::try_from(bytes) else { return Others::Refused };
    if header.len() > HEADER_MAX {
        return Others::Nothing;
    }
    let is_stream = header.protocol == v2::Protocol::Stream;
    Others::Taken(match header.addresses {
        v2::Addresses::IPv4(it) if is_stream => Some((it.source_address, it.source_port).into()),
        v2::Addresses::IPv6(it) if is_stream => Some((it.source_address, it.source_port).into()),
        _ => None,
    })
}

/// A server behind us hears the same address.
fn is_told_on(client: SocketAddr) {
    let plain = |it: SocketAddr| -> (IpAddr, u16) { (it.ip().to_canonical(), it.port()) };
    for version in [Version::V1, Version::V2] {
        let written = write_header(version, Some([client; 2]));
        let Header::Whole { length, client: Some(read) } = read_header(&written) else {
            panic!("{}", written.escape_ascii());
        };
        assert_eq!((length, plain(read)), (written.len(), plain(client)));
    }
}
