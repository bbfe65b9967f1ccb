//! Classes of bytes, and the few operations on them that every part of the codec shares.

/// `tchar` of RFC 9110 §5.6.2.
pub(super) const TCHAR: u8 = 1;
/// What may stand in a request target: visible ASCII but `#`.
pub(super) const TARGET: u8 = 2;
/// What may stand in a registered name (RFC 3986 §3.2.2), but no comma.
pub(super) const REG_NAME: u8 = 4;
/// What may stand in a field value (RFC 9110 §5.5): HTAB, SP, visible ASCII and obs-text.
pub(super) const VALUE: u8 = 8;

static CLASSES: [u8; 256] = classes();

#[expect(clippy::cast_possible_truncation, reason = "the index runs from 0 to 255")]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let word = byte.is_ascii_alphanumeric();
        if word || listed(byte, b"!#$%&'*+-.^_`|~") {
            table[index] |= TCHAR;
        }
        if byte > b' ' && byte < 0x7f && byte != b'#' {
            table[index] |= TARGET;
        }
        if word || listed(byte, b"-._~%!$&'()*+;=") {
            table[index] |= REG_NAME;
        }
        if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
            table[index] |= VALUE;
        }
        index += 1;
    }
    table
}

const fn listed(byte: u8, list: &[u8]) -> bool {
    let mut index = 0;
    while index < list.len() {
        if list[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether `byte` belongs to `class`.
pub(super) fn is(class: u8, byte: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Whether every byte belongs to `class`; true for none.
pub(super) fn all(class: u8, bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| is(class, byte))
}

/// Whether `bytes` is a `token` (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(TCHAR, bytes)
}

/// How many bytes stand before the first control byte (below SP, or DEL): eight at a time.
pub(super) fn text_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let hits = controls(u64::from_le_bytes(*word));
        if hits != 0 {
            return index * 8 + (hits.trailing_zeros() / 8) as usize;
        }
    }
    let tail = rest.iter().position(|&byte| byte < b' ' || byte == 0x7f);
    words.len() * 8 + tail.unwrap_or(rest.len())
}

/// A word whose lowest set bit lies in the lowest control byte of `word`. Borrows can set bits
/// above that byte by mistake, never below.
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let without_del = word ^ (ONES * 0x7f);
    let del = without_del.wrapping_sub(ONES) & !without_del;
    (below_space | del) & TOPS
}

/// `bytes` without the SP and HTAB around it (OWS of RFC 9110 §5.6.3).
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list, trimmed, empty ones included (RFC 9110 §5.6.1).
/// Quoted strings are not understood: none of the lists read here may hold one.
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(trim)
}

/// The number that one or more digits write; `None` for anything else or beyond `u64`.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let unit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(u64::from(unit))
    })
}

/// A length as positions in a head are counted; heads are bounded far below the top.
pub(super) fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn text_ends_at_every_control_byte_and_at_no_other() {
        for byte in 0..=255_u8 {
            for place in 0..20 {
                let mut text: Vec<u8> = b"aZ~ \x80\xff\xa0 0123456789\xdf!".to_vec();
                text[place] = byte;
                let control = byte < 0x20 || byte == 0x7f;
                let expected = if control { place } else { text.len() };
                assert_eq!(text_length(&text), expected, "{byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn first_of_several_controls_counts() {
        assert_eq!(text_length(b"abc\r\n\x00\x7f12345678"), 3);
        assert_eq!(text_length(b"\x7f\x00abcdef"), 0);
        assert_eq!(text_length(b" \x1f !\x7f   "), 1);
        assert_eq!(text_length(b""), 0);
    }

    #[test]
    fn token_bytes_are_those_of_the_grammar() {
        let separators = b"\"(),/:;<=>?@[\\]{} \t\x7f\x80";
        assert!(separators.iter().all(|&byte| !is(TCHAR, byte)));
        let count = (0..=255).filter(|&byte| is(TCHAR, byte)).count();
        assert_eq!(count, 26 * 2 + 10 + 15);
        assert!(!is_token(b"") && is_token(b"x"));
    }

    #[test]
    fn trimming_takes_both_ends_only() {
        for (from, to) in [("", ""), (" \t ", ""), ("\ta b ", "a b"), ("ab", "ab")] {
            assert_eq!(trim(from.as_bytes()), to.as_bytes());
        }
    }

    #[test]
    fn decimals_are_digits_that_fit() {
        let table: [(&str, Option<u64>); 9] = [
            ("0", Some(0)),
            ("0042", Some(42)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999999999999999999", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1 2", None),
        ];
        for (text, number) in table {
            assert_eq!(decimal(text.as_bytes()), number, "{text:?}");
        }
    }
}
