//! The first message of a TLS client (RFC 8446 §4.1.2), for the one thing that is read of it: the
//! name it is for (RFC 6066 §3). Nothing is decrypted or changed.

/// Longest fragment of one record (RFC 8446 §5.1).
const FRAGMENT_MAX: usize = 1 << 14;
/// A record's header, and that of a handshake message.
const RECORD_HEAD: usize = 5;
const MESSAGE_HEAD: usize = 4;

/// What the first bytes of a connection turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello<'h> {
    /// More must come: so many bytes at least, before it can be whole.
    Incomplete(usize),
    /// A whole `ClientHello`, and the name it asks for, if any: a host's, without a dot at its end,
    /// in the case it was sent in.
    Whole(Option<&'h str>),
    /// No TLS, or a malformed one.
    Malformed,
}

/// Reads the first bytes of a connection. The message may be spread over records: they are joined
/// in place, so that `bytes` are of no further use.
pub fn read_hello(bytes: &mut [u8]) -> Hello<'_> {
    let (joined, missing) = match join(bytes) {
        Ok(found) => found,
        Err(Broken) => return Hello::Malformed,
    };
    if missing > 0 {
        return Hello::Incomplete(missing);
    }
    match bytes.get(MESSAGE_HEAD..joined).ok_or(Broken).and_then(server_name) {
        Ok(name) => Hello::Whole(name),
        Err(Broken) => Hello::Malformed,
    }
}

/// What is no `ClientHello`.
struct Broken;

/// Moves the fragments together, to the front, up to the end of the first message. How many bytes
/// the message has with its header, and how many are missing at least.
fn join(bytes: &mut [u8]) -> Result<(usize, usize), Broken> {
    let (mut at, mut joined) = (0, 0);
    loop {
        let whole = match message_length(bytes.get(..joined).unwrap_or_default())? {
            Some(whole) if joined >= whole => return Ok((whole, 0)),
            Some(whole) => whole,
            None => MESSAGE_HEAD,
        };
        let rest = bytes.get(at..).unwrap_or_default();
        let fragment = match rest {
            // What can be refused by its first bytes does not wait for the others.
            [kind, ..] if *kind != 22 => return Err(Broken),
            [_, major, ..] if *major != 3 => return Err(Broken),
            [_, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Ok((0, whole - joined + RECORD_HEAD - rest.len())),
        };
        if !(1..=FRAGMENT_MAX).contains(&fragment) {
            return Err(Broken);
        }
        let there = fragment.min(rest.len() - RECORD_HEAD);
        let start = at + RECORD_HEAD;
        bytes.copy_within(start..start + there, joined);
        joined += there;
        at = start + there;
        if there < fragment {
            let whole = message_length(bytes.get(..joined).unwrap_or_default())?;
            let whole = whole.unwrap_or(MESSAGE_HEAD);
            // Records behind this one have heads, too, which are not counted here.
            return match whole.saturating_sub(joined) {
                0 => Ok((whole, 0)),
                missing => Ok((0, missing)),
            };
        }
    }
}

/// Length of the message with its header, once that is there.
fn message_length(joined: &[u8]) -> Result<Option<usize>, Broken> {
    match joined {
        [kind, ..] if *kind != 1 => Err(Broken),
        [_, a, b, c, ..] => {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            Ok(Some(MESSAGE_HEAD + length))
        }
        _ => Ok(None),
    }
}

/// The name in the extensions of a `ClientHello`.
fn server_name(body: &[u8]) -> Result<Option<&str>, Broken> {
    let mut body = Take(body);
    // Version and random.
    body.take(2 + 32)?;
    let session = body.vector8()?;
    let suites = body.vector16()?;
    let compression = body.vector8()?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compression.is_empty() {
        return Err(Broken);
    }
    if body.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = Take(body.vector16()?);
    if !body.0.is_empty() {
        return Err(Broken);
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let content = extensions.vector16()?;
        if kind != 0 {
            continue;
        }
        // Each extension occurs once (RFC 8446 §4.2).
        if found.is_some() {
            return Err(Broken);
        }
        found = Some(name_in(content)?);
    }
    Ok(found)
}

/// The host name in a `server_name` extension: there is exactly one kind of name, and one of it.
fn name_in(content: &[u8]) -> Result<&str, Broken> {
    let mut content = Take(content);
    let mut list = Take(content.vector16()?);
    let kind = list.take(1)?;
    let name = list.vector16()?;
    if kind != [0] || !list.0.is_empty() || !content.0.is_empty() || !is_name(name) {
        return Err(Broken);
    }
    core::str::from_utf8(name).map_err(|_| Broken)
}

fn is_name(name: &[u8]) -> bool {
    let plain = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=255).contains(&name.len()) && name.iter().all(plain) && !name.ends_with(b".")
}

/// Bytes that are taken from the front.
struct Take<'b>(&'b [u8]);

impl<'b> Take<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], Broken> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Broken)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number16(&mut self) -> Result<u16, Broken> {
        match self.take(2)? {
            [high, low] => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err(Broken),
        }
    }

    /// A vector whose length stands in one byte.
    fn vector8(&mut self) -> Result<&'b [u8], Broken> {
        let length = self.take(1)?.first().copied().unwrap_or(0);
        self.take(usize::from(length))
    }

    /// A vector whose length stands in two bytes.
    fn vector16(&mut self) -> Result<&'b [u8], Broken> {
        let length = self.number16()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};
    use std::vec;
    use std::vec::Vec;

    fn vector16(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&length[..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector16(content)].concat()
    }

    fn name_list(name: &str) -> Vec<u8> {
        vector16(&[&[0][..], &vector16(name.as_bytes())].concat())
    }

    /// The handshake message.
    fn message(extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([2, 1, 2]);
        body.extend(vector16(&[0x13, 0x01]));
        body.extend([1, 0]);
        body.extend(extensions.map(vector16).unwrap_or_default());
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1][..], &length[1..], &body].concat()
    }

    /// Records of at most `most` bytes each.
    fn records(message: &[u8], most: usize) -> Vec<u8> {
        let record = |piece: &[u8]| [&[22, 3, 1][..], &vector16(piece)].concat();
        message.chunks(most).flat_map(record).collect()
    }

    fn hello(name: &str) -> Vec<u8> {
        let other = extension(43, &[2, 3, 4]);
        message(Some(&[other, extension(0, &name_list(name))].concat()))
    }

    fn read(bytes: &[u8]) -> Result<Option<String>, &'static str> {
        match read_hello(&mut bytes.to_vec()) {
            Hello::Whole(name) => Ok(name.map(ToString::to_string)),
            Hello::Incomplete(_) => Err("incomplete"),
            Hello::Malformed => Err("malformed"),
        }
    }

    #[test]
    fn the_name_is_found_however_the_message_is_cut() {
        let message = hello("a.Example");
        for most in 1..=message.len() {
            let mut bytes = records(&message, most);
            assert_eq!(read(&bytes), Ok(Some("a.Example".into())), "{most}");
            // What follows is of no concern.
            bytes.extend(b"and more");
            assert_eq!(read(&bytes), Ok(Some("a.Example".into())), "{most}");
        }
        assert_eq!(read(&records(&super::tests::message(None), 64)), Ok(None));
        assert_eq!(read(&records(&super::tests::message(Some(&[])), 64)), Ok(None));
    }

    #[test]
    fn what_is_missing_is_never_overstated() {
        let message = hello("a.example");
        for most in [1, 2, 3, 7, 50, 1000] {
            let bytes = records(&message, most);
            let mut looks = 0;
            let mut there = 0;
            while there < bytes.len() {
                let Hello::Incomplete(missing) = read_hello(&mut bytes[..there].to_vec()) else {
                    panic!("{there} of {} bytes", bytes.len());
                };
                assert!(missing > 0);
                there += missing;
                looks += 1;
            }
            assert_eq!(there, bytes.len(), "records of {most}");
            assert!(looks <= message.len() + 2, "{looks}");
        }
    }

    #[test]
    fn what_is_no_hello_is_refused_by_its_first_wrong_byte() {
        for bytes in [
            &b"G"[..],
            b"SSH-2.0",
            b"\x16\x02",
            b"\x15\x03\x01\x00\x02",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x01",
            b"\x16\x03\x01\x00\x04\x02",
        ] {
            assert_eq!(read(bytes), Err("malformed"), "{}", bytes.escape_ascii());
        }
        for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x00\x04", b"\x16\x03\x01\x00\x04\x01"] {
            assert_eq!(read(bytes), Err("incomplete"), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn malformed_hellos_are_refused() {
        let twice = [extension(0, &name_list("a")), extension(0, &name_list("a"))].concat();
        let two = vector16(&[&[0][..], &vector16(b"a"), &[0], &vector16(b"b")].concat());
        let tail = [name_list("a"), vec![0]].concat();
        let bad = [
            twice,
            extension(0, &two),
            extension(0, &tail),
            extension(0, &[]),
            extension(0, &name_list("")),
            extension(0, &name_list("a.")),
            extension(0, &name_list("a b")),
            extension(0, &name_list("a\0b")),
            extension(0, &name_list(&"a".repeat(256))),
            vec![0, 0, 0],
            vec![0, 0, 0, 9, 1],
        ];
        for extensions in bad {
            let bytes = records(&message(Some(&extensions)), 20);
            assert_eq!(read(&bytes), Err("malformed"), "{extensions:?}");
        }
        let mut behind = message(Some(&extension(0, &name_list("a"))));
        behind.push(0);
        let length = u32::try_from(behind.len() - 4).unwrap().to_be_bytes();
        behind[1..4].copy_from_slice(&length[1..]);
        assert_eq!(read(&records(&behind, 1000)), Err("malformed"), "{behind:?}");
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_does_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let length = bytes.len();
            if let Hello::Incomplete(missing) = read_hello(&mut bytes) {
                prop_assert!(missing > 0 && missing < 1 << 25, "{} after {}", missing, length);
            }
        }

        #[test]
        fn nor_a_hello_with_a_byte_changed(place in 0usize..90, byte: u8) {
            let mut bytes = records(&hello("a.example"), 33);
            let place = place % bytes.len();
            bytes[place] = byte;
            let _ = read_hello(&mut bytes);
        }
    }
}
