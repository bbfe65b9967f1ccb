//! Who may have a request served: what is asked of a client, and what is known of one that was let
//! in.

use alloc::boxed::Box;

use base::limits::GRANT_MAX;

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
}

/// What is known of a client that is let in: who it is, and field lines that servers are told. Of one
/// that is not: field lines for itself.
#[derive(Clone)]
pub struct Grant {
    bytes: [u8; GRANT_MAX],
    /// Bytes of the subject, which comes first, and of all.
    subject: u16,
    len: u16,
}

impl Grant {
    /// Nothing is known.
    pub const NONE: Self = Self { bytes: [0; GRANT_MAX], subject: 0, len: 0 };

    /// Who the client is. `None` if that could not stand in a field, or is longer than a quarter of
    /// [`GRANT_MAX`].
    pub fn of(subject: &[u8]) -> Option<Self> {
        let mut grant = Self::NONE;
        grant.set(subject).then_some(grant)
    }

    /// The same in place, where everything is forgotten that was known before. False, and nothing is
    /// known, if it does not do.
    pub fn set(&mut self, subject: &[u8]) -> bool {
        (self.subject, self.len) = (0, 0);
        if subject.len() > GRANT_MAX / 4 || !is_value(subject) {
            return false;
        }
        self.push(subject);
        self.subject = self.len;
        true
    }

    /// One field line more. False, and nothing changes, if it has no room or is none.
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> bool {
        let length = name.len() + value.len() + 4;
        if length > GRANT_MAX - usize::from(self.len) || name.is_empty() || !is_value(value) {
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

    /// Who it is; empty if nobody said.
    pub fn subject(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.subject)).unwrap_or_default()
    }

    /// The field lines, each with its end.
    pub fn fields(&self) -> &[u8] {
        self.bytes.get(usize::from(self.subject)..usize::from(self.len)).unwrap_or_default()
    }

    /// As another one is; only what that holds is copied.
    pub fn copy_from(&mut self, other: &Self) {
        (self.subject, self.len) = (other.subject, other.len);
        let held = ..usize::from(other.len);
        self.bytes[held].copy_from_slice(&other.bytes[held]);
    }
}

impl core::fmt::Debug for Grant {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // The fields may be secrets.
        write!(f, "Grant({})", self.subject().escape_ascii())
    }
}

/// Whether it can stand in a field line as its value (RFC 9110 §5.5).
fn is_value(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// What those who decide have said before.
pub trait Admission: core::fmt::Debug {
    /// What is known of a client that was let in upon this question, if one was.
    fn granted(&self, question: &[u8]) -> Option<&Grant>;

    /// Field lines for a client that is not let in.
    fn told(&self) -> &[u8];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_holds_a_subject_and_field_lines() {
        let mut grant = Grant::of("jos\u{e9}".as_bytes()).unwrap();
        assert_eq!(grant.fields(), b"");
        assert!(grant.add(b"X-Role", b"admin") && grant.add(b"X-Empty", b""));
        assert_eq!(grant.subject(), "jos\u{e9}".as_bytes());
        assert_eq!(grant.fields(), b"X-Role: admin\r\nX-Empty: \r\n");
        let mut copy = Grant::of(b"somebody whose name is longer").unwrap();
        copy.copy_from(&grant);
        assert_eq!((copy.subject(), copy.fields()), (grant.subject(), grant.fields()));
        assert_eq!(Grant::NONE.subject(), b"");
    }

    #[test]
    fn nothing_in_it_ends_a_field_line() {
        for subject in [&b"a\r\nX: y"[..], b"a\nb", b"\0", b"\x7f", &[b'a'; GRANT_MAX / 4 + 1]] {
            assert!(Grant::of(subject).is_none(), "{}", subject.escape_ascii());
        }
        let mut grant = Grant::of(b"a").unwrap();
        assert!(!grant.add(b"X", b"a\rb") && !grant.add(b"X", &[b'a'; GRANT_MAX]));
        assert!(!grant.add(b"", b"a"));
        while grant.add(b"X", &[b'a'; 100]) {}
        assert!(grant.fields().len() > GRANT_MAX - 110 && grant.fields().ends_with(b"a\r\n"));
        assert!(!grant.set(b"\n") && grant.subject().is_empty() && grant.fields().is_empty());
    }
}
