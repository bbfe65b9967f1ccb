//! Who may have a request served: what is asked of a client, and what is known of one that was let
//! in.

use alloc::boxed::Box;
use alloc::vec;

use base::limits::{GRANT_MAX, PASSWORD_MAX, QUESTION_MAX, SUBJECT_MAX, TOKEN_MAX};

/// What a listener asks of the requests that come to it.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// By which number those who decide know it.
    pub number: u16,
    /// Who decides.
    pub asks: Asks,
    /// What `WWW-Authenticate` says to those who are not let in (RFC 9110 §11.6.1); empty where
    /// credentials are none of the matter.
    pub challenge: Box<str>,
    /// Whose client certificate must have been shown, if one must: anybody's, or one of these
    /// subjects (RFC 4514). Asked before anything else.
    pub certificates: Option<Box<[Box<str>]>>,
    /// The field in which servers are told who the client is; one of
    /// [`own_fields`](crate::Rules::own_fields).
    pub subject_field: Option<Box<str>>,
    /// Whether servers are passed the client's `Authorization`.
    pub passes_credentials: bool,
}

/// Who decides on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nobody else: the certificate alone.
    Nobody,
    /// Who knows passwords (RFC 7617): the question is what `Authorization` says.
    Passwords,
    /// Who knows the keys of tokens (RFC 6750): the question is what `Authorization` says.
    Tokens,
    /// A server: the question is the head.
    Server,
}

impl Asks {
    /// The scheme that credentials must have (RFC 9110 §11.1), if there must be some.
    pub const fn scheme(self) -> Option<&'static str> {
        match self {
            Self::Passwords => Some("Basic"),
            Self::Tokens => Some("Bearer"),
            Self::Nobody | Self::Server => None,
        }
    }

    /// Bytes of the longest question.
    pub const fn question_max(self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::Passwords => PASSWORD_MAX,
            Self::Tokens => TOKEN_MAX,
            Self::Server => QUESTION_MAX,
        }
    }

    /// Bytes that may be known of a client that is let in, or told to one that is not.
    pub const fn grant_max(self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::Passwords | Self::Tokens => SUBJECT_MAX,
            Self::Server => GRANT_MAX,
        }
    }
}

/// Room for what is known of a client that is let in: who it is, and field lines that servers are told.
/// Of one that is not: field lines for itself.
#[derive(Clone)]
pub struct Grant {
    bytes: Box<[u8]>,
    /// Bytes of the subject, which comes first, and of all.
    subject: u16,
    len: u16,
}

impl Grant {
    /// Nothing is known, and there is room for so many bytes.
    pub fn with_room(room: usize) -> Self {
        Self { bytes: vec![0; room.min(GRANT_MAX)].into(), subject: 0, len: 0 }
    }

    /// Who the client is. `None` if that could not stand in a field as it is, or is longer than
    /// [`SUBJECT_MAX`].
    pub fn of(subject: &[u8]) -> Option<Self> {
        let mut grant = Self::with_room(GRANT_MAX);
        grant.set(subject).then_some(grant)
    }

    /// The same in place, where everything is forgotten that was known before. False, and nothing is
    /// known, if it does not do.
    pub fn set(&mut self, subject: &[u8]) -> bool {
        (self.subject, self.len) = (0, 0);
        let room = SUBJECT_MAX.min(self.bytes.len());
        // Whoever reads a field leaves out spaces at its ends, and would read another name.
        if subject.len() > room || !is_value(subject) || subject.trim_ascii() != subject {
            return false;
        }
        self.push(subject);
        self.subject = self.len;
        true
    }

    /// One field line more. False, and nothing changes, if it has no room or is none.
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> bool {
        let length = name.len() + value.len() + 4;
        let room = self.bytes.len().saturating_sub(usize::from(self.len));
        if length > room || name.is_empty() || !is_value(value) {
            return false;
        }
        for part in [name, b": ", value, b"\r\n"] {
            self.push(part);
        }
        true
    }

    /// For those who have checked that there is room.
    fn push(&mut self, part: &[u8]) {
        let at = usize::from(self.len);
        if let Some(place) = self.bytes.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
            self.len += u16::try_from(part.len()).unwrap_or(0);
        }
    }

    /// What is known.
    pub fn known(&self) -> Granted<'_> {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        Granted::new(bytes, self.subject)
    }
}

impl core::fmt::Debug for Grant {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.known().fmt(f)
    }
}

/// What is known of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Granted<'a> {
    /// Who it is; empty if nobody said.
    pub subject: &'a [u8],
    /// Field lines, each with its end.
    pub fields: &'a [u8],
}

impl<'a> Granted<'a> {
    /// What stands in these bytes: so many of the subject, then the fields.
    pub fn new(bytes: &'a [u8], subject: u16) -> Self {
        let (subject, fields) = bytes.split_at(usize::from(subject).min(bytes.len()));
        Self { subject, fields }
    }
}

impl core::fmt::Debug for Granted<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // The fields may be secrets.
        write!(f, "Granted({})", self.subject.escape_ascii())
    }
}

/// Whether it can stand in a field line as its value (RFC 9110 §5.5).
fn is_value(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// What those who decide have said before.
pub trait Admission: core::fmt::Debug {
    /// What is known of a client that was let in upon this question, if one was.
    fn granted(&self, question: &[u8]) -> Option<Granted<'_>>;

    /// Field lines for a client that is not let in.
    fn told(&self) -> &[u8];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_holds_a_subject_and_field_lines() {
        let mut grant = Grant::of("jos\u{e9}".as_bytes()).unwrap();
        assert_eq!(grant.known().fields, b"");
        assert!(grant.add(b"X-Role", b"admin") && grant.add(b"X-Empty", b""));
        let known = grant.known();
        assert_eq!(known.subject, "jos\u{e9}".as_bytes());
        assert_eq!(known.fields, b"X-Role: admin\r\nX-Empty: \r\n");
        assert_eq!(Grant::with_room(8).known(), Granted { subject: b"", fields: b"" });
    }

    #[test]
    fn nothing_in_it_ends_a_field_line_and_it_does_not_grow() {
        let long = [b'a'; SUBJECT_MAX + 1];
        for subject in [&b"a\r\nX: y"[..], b"a\nb", b"\0", b"\x7f", b"a ", b"\ta", &long] {
            assert!(Grant::of(subject).is_none(), "{}", subject.escape_ascii());
        }
        let mut grant = Grant::of(b"a").unwrap();
        assert!(!grant.add(b"X", b"a\rb") && !grant.add(b"X", &[b'a'; GRANT_MAX]));
        assert!(!grant.add(b"", b"a"));
        while grant.add(b"X", &[b'a'; 100]) {}
        let fields = grant.known().fields;
        assert!(fields.len() > GRANT_MAX - 110 && fields.ends_with(b"a\r\n"));
        assert!(!grant.set(b"\n") && grant.known() == Granted { subject: b"", fields: b"" });
        assert!(Grant::of(&[b'a'; SUBJECT_MAX]).is_some());
        let mut full = Grant::with_room(9);
        assert!(full.set(b"four") && full.add(b"X", b"") && full.known().fields == b"X: \r\n");
        assert!(!Grant::with_room(4).add(b"X", b""));
        let mut small = Grant::with_room(4);
        assert!(!small.set(b"small") && small.set(b"four") && !small.add(b"X", b""));
        assert!(!Grant::with_room(0).set(b"a") && Grant::with_room(0).set(b""));
    }
}
