//! Whom a client's certificate names, and files that should hold certificates and keys.

use base::limits::TLS_SUBJECT_MAX;
use tls::{Authorities, Identity, PemError, subject_of};

/// The first byte says what the others are: attributes of a subject, a certificate, a file.
pub fn check(bytes: &[u8]) {
    let Some((&mode, bytes)) = bytes.split_first() else { return };
    match mode % 3 {
        0 => named(bytes),
        1 => drop(stands(bytes)),
        _ => file(bytes),
    }
}

/// What is told of a certificate can stand in a field and in a log.
fn stands(certificate: &[u8]) -> Option<Box<str>> {
    let subject = subject_of(certificate)?;
    assert!((1..=TLS_SUBJECT_MAX).contains(&subject.len()), "{} bytes", subject.len());
    assert!(subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{subject:?}");
    Some(subject)
}

/// One attribute: what it is of, how its text is written, and the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute<'b> {
    /// Its place among [`KINDS`].
    kind: usize,
    tag: u8,
    value: &'b [u8],
    /// Whether it stands in one set with the one before it.
    joined: bool,
}

/// Attributes that have a name (RFC 4514 §3), and one that has none.
const KINDS: [(&str, &[u8]); 8] = [
    ("CN", &[0x55, 4, 3]),
    ("O", &[0x55, 4, 10]),
    ("OU", &[0x55, 4, 11]),
    ("C", &[0x55, 4, 6]),
    ("L", &[0x55, 4, 7]),
    ("UID", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1]),
    ("DC", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25]),
    ("1.2.3.4", &[0x2a, 3, 4]),
];
const NAMELESS: usize = 7;
/// `UTF8String`, `PrintableString`, `IA5String`, `OCTET STRING`.
const TAGS: [u8; 4] = [0x0c, 0x13, 0x16, 0x04];

/// What is told names one subject and no other: read as RFC 4514 has it, it is what stands in the
/// certificate, attribute by attribute.
fn named(mut bytes: &[u8]) {
    let mut all = Vec::new();
    while let [form, length, rest @ ..] = bytes {
        let (value, behind) = rest.split_at(usize::from(length % 128).min(rest.len()));
        all.push(Attribute {
            kind: usize::from(form & 7),
            tag: TAGS[usize::from(form >> 3 & 3)],
            value,
            joined: form & 32 == 32 && !all.is_empty(),
        });
        bytes = behind;
    }
    let told = stands(&certificate(&all));
    let Some(told) = told else {
        // A byte that is no text may become a character of three, each of which is told as `\\XX`.
        let most: usize = all.iter().map(|one| 16 + 9 * one.value.len()).sum();
        let plain = all.iter().all(|one| !one.joined);
        assert!(all.is_empty() || most > TLS_SUBJECT_MAX || !plain, "{all:?} is not told");
        return;
    };
    // The last set is told first.
    let sets = parted(told.as_bytes(), b',').into_iter().rev();
    let sets: Vec<Vec<&[u8]>> = sets.map(|set| parted(set, b'+')).collect();
    let meant = all.chunk_by(|_, next| next.joined).map(<[_]>::len);
    assert!(sets.iter().map(Vec::len).eq(meant), "{told:?} for {all:?}");
    // Within a set there is no order but that of DER, which whoever reads one gives it.
    let mut meant = all.chunk_by(|_, next| next.joined);
    for set in &sets {
        let mut meant: Vec<_> = meant.next().unwrap_or_default().iter().map(shown).collect();
        let mut read: Vec<_> = set.iter().filter_map(|text| read(text)).collect();
        meant.sort();
        read.sort();
        assert_eq!(read, meant, "{told:?} for {all:?}");
    }
}

/// The parts between the places where `by` stands without a backslash before it.
fn parted(text: &[u8], by: u8) -> Vec<&[u8]> {
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        if text[at] == by {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    parts.push(&text[start..]);
    parts
}

/// The name of an attribute, whether its value is told in DER, and the value (RFC 4514 §3).
fn read(text: &[u8]) -> Option<(String, bool, Vec<u8>)> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let name = String::from_utf8(text[..equals].to_vec()).ok()?;
    let mut rest = &text[equals + 1..];
    if let [b'#', hex @ ..] = rest {
        let pairs = hex.chunks(2).map(|pair| hexadecimal(pair[0], *pair.get(1)?));
        return Some((name, true, pairs.collect::<Option<_>>()?));
    }
    let mut value = Vec::new();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'\\' {
            value.push(*byte);
        } else if let [high, low, behind @ ..] = rest
            && let Some(meant) = hexadecimal(*high, *low)
        {
            value.push(meant);
            rest = behind;
        } else {
            let [escaped, behind @ ..] = rest else { return None };
            value.push(*escaped);
            rest = behind;
        }
    }
    Some((name, false, value))
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// As [`read`] should have it.
fn shown(one: &Attribute<'_>) -> (String, bool, Vec<u8>) {
    let is_text = match one.tag {
        0x0c => str::from_utf8(one.value).is_ok(),
        0x13 => one.value.iter().all(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(b)),
        0x16 => one.value.is_ascii(),
        _ => false,
    };
    let (name, identifier) = KINDS[one.kind];
    if is_text && one.kind != NAMELESS {
        return (name.to_owned(), false, one.value.to_vec());
    }
    let numbers = match one.kind {
        5 => "0.9.2342.19200300.100.1.1".to_owned(),
        6 => "0.9.2342.19200300.100.1.25".to_owned(),
        NAMELESS => name.to_owned(),
        _ => format!("2.5.4.{}", identifier[2]),
    };
    (numbers, true, der(one.tag, &[one.value]))
}

/// DER: a tag, the length, and what is in it.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    let head = match content.len() {
        0..128 => vec![tag, length[3]],
        128..65536 => vec![tag, 0x82, length[2], length[3]],
        _ => vec![tag, 0x83, length[1], length[2], length[3]],
    };
    // The shortest form is the only one.
    let head = if (128..256).contains(&content.len()) { vec![tag, 0x81, length[3]] } else { head };
    [head, content].concat()
}

/// A certificate of this subject; nobody signed it, which is looked at elsewhere.
fn certificate(all: &[Attribute<'_>]) -> Vec<u8> {
    let sets = all.chunk_by(|_, next| next.joined).map(|set| {
        let pairs: Vec<Vec<u8>> = set
            .iter()
            .map(|one| {
                let kind = der(6, &[KINDS[one.kind].1]);
                der(0x30, &[&kind, &der(one.tag, &[one.value])])
            })
            .collect();
        der(0x31, &[&pairs.concat()])
    });
    let subject = der(0x30, &[&sets.collect::<Vec<_>>().concat()]);
    let algorithm = der(0x30, &[&[6, 3, 0x2b, 0x65, 0x70]]);
    let times = [b"200101000000Z", b"300101000000Z"].map(|time| der(0x17, &[time]));
    let signed = der(
        0x30,
        &[
            &[0xa0, 3, 2, 1, 2, 2, 1, 1],
            &algorithm,
            &der(0x30, &[]),
            &der(0x30, &[&times.concat()]),
            &subject,
            &der(0x30, &[&algorithm, &der(3, &[&[0; 33]])]),
        ],
    );
    der(0x30, &[&signed, &algorithm, &der(3, &[&[0; 65]])])
}

/// A file is read or refused with one line that says what is wrong with which of the two and tells
/// nothing that stands in it; who is trusted is who stands there.
fn file(text: &[u8]) {
    // Who reads PEM is lenient with what stands behind that.
    const BEGIN: &[u8] = b"-----BEGIN";
    let places = text.windows(BEGIN.len()).filter(|it| *it == BEGIN).count();
    match Authorities::from_pem(text) {
        Ok(trusted) => assert!((1..=places).contains(&trusted.len()), "{}", trusted.len()),
        Err(error) => {
            told(error, text);
            assert!(!error.is_of_key());
            assert!(places > 0 || error != PemError::OtherKey);
        }
    }
    // Of two texts, each is judged by itself: neither is taken for the other one.
    let certificate = include_bytes!("../../../crates/sim/keys/world.pem");
    let key = include_bytes!("../../../crates/sim/keys/world.key");
    let as_key = Identity::from_pem(certificate, text);
    match &as_key {
        Ok(identity) => assert_eq!(identity.names(), [Box::from("world")]),
        Err(error) => {
            told(*error, text);
            assert!(error.is_of_key(), "{error}");
        }
    }
    match Identity::from_pem(text, key) {
        Ok(identity) => {
            assert!(places > 0);
            let lower = |name: &str| !name.bytes().any(|byte| byte.is_ascii_uppercase());
            assert!(identity.names().iter().all(|name| lower(name)));
        }
        Err(error) => told(error, text),
    }
}

fn told(error: PemError, text: &[u8]) {
    let why = error.to_string();
    assert!(!why.is_empty() && !why.chars().any(char::is_control), "{why:?}");
    // Bytes of a key are in lines of 64 characters, in base 64: none of them gets into the log.
    let coded = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let lines = text.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| line.len() >= 32 && line.iter().all(coded)) {
        assert!(!why.as_bytes().windows(line.len()).any(|it| it == line));
    }
}
