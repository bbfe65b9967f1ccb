//! Where a record ends: five bytes tell (RFC 8446 §5.1).

use base::limits::{TLS_HEADER, TLS_RECORD_MAX};

/// What the bytes received begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A record of so many bytes, its header among them, and all of them are here.
    Whole(usize),
    /// The beginning of one; nothing can be done with it.
    Part,
    /// No record, or one that is longer than any may be. A session that is shown it answers with
    /// the alert that is due.
    Bad,
}

/// Looks at the first record of what was received.
pub fn next_record(bytes: &[u8]) -> Record {
    // change_cipher_spec, alert, handshake, application_data.
    if bytes.first().is_some_and(|kind| !(20..=23).contains(kind))
        || bytes.get(1).is_some_and(|major| *major != 3)
    {
        return Record::Bad;
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<TLS_HEADER>() else {
        return Record::Part;
    };
    let whole = TLS_HEADER + usize::from(u16::from_be_bytes([high, low]));
    match whole {
        _ if whole > TLS_RECORD_MAX => Record::Bad,
        _ if whole > bytes.len() => Record::Part,
        _ => Record::Whole(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_bytes_tell_where_a_record_ends() {
        let record = [23, 3, 3, 0, 2, 7, 7, 23, 3];
        for part in 0..7 {
            assert_eq!(next_record(&record[..part]), Record::Part);
        }
        assert_eq!(next_record(&record), Record::Whole(7));
        assert_eq!(next_record(&record[7..]), Record::Part);
    }

    #[test]
    fn what_is_no_record_is_known_by_its_first_bytes() {
        assert_eq!(next_record(b"G"), Record::Bad);
        assert_eq!(next_record(&[22, 2]), Record::Bad);
        assert_eq!(next_record(&[24]), Record::Bad, "heartbeats are not spoken");
        assert_eq!(next_record(&[23, 3, 3, 0x41, 0x00]), Record::Part, "the longest of TLS 1.2");
        assert_eq!(next_record(&[23, 3, 3, 0x48, 0x01]), Record::Bad);
    }
}
