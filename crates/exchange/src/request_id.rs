//! Request IDs: by what name the client, we, the server and all their logs know one request.

use base::mix::mix;

/// Longest ID that is passed on, bytes.
pub const REQUEST_ID_MAX: usize = 64;

/// The ID of one request; empty when it has none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    bytes: [u8; REQUEST_ID_MAX],
    len: u8,
}

impl RequestId {
    /// None.
    pub const NONE: Self = Self { bytes: [0; REQUEST_ID_MAX], len: 0 };

    /// The ID that a client sent, if it may stand in every log and command line as it is: 1 to
    /// [`REQUEST_ID_MAX`] letters, digits and `-._~+/=:@`.
    pub fn sane(sent: &[u8]) -> Option<Self> {
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(byte);
        let mut id = Self { len: u8::try_from(sent.len()).ok()?, ..Self::NONE };
        id.bytes.get_mut(..sent.len())?.copy_from_slice(sent);
        (!sent.is_empty() && sent.iter().all(harmless)).then_some(id)
    }

    /// What a field says; `None` when there is no ID.
    pub fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..usize::from(self.len)).filter(|id| !id.is_empty())
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::NONE
    }
}

impl core::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RequestId({})", self.get().unwrap_or_default().escape_ascii())
    }
}

/// Makes IDs: a counter, mixed with the randomness it was begun with. They tell requests apart,
/// across workers and processes; they are no secret.
#[derive(Debug)]
pub struct RequestIds {
    seed: u64,
    made: u64,
}

impl RequestIds {
    /// A source of IDs; `seed` must differ for each worker and each start.
    pub const fn new(seed: u64) -> Self {
        Self { seed, made: 0 }
    }

    /// The next one: 32 hexadecimal digits.
    pub fn make(&mut self) -> RequestId {
        // The first half is one-to-one in the counter, so that a source never repeats itself.
        let first = mix(self.seed ^ mix(self.made));
        let second = mix(first ^ self.seed.rotate_left(32));
        self.made = self.made.wrapping_add(1);
        let mut id = RequestId { len: 32, ..RequestId::NONE };
        let number = u128::from(first) << 64 | u128::from(second);
        for (at, digit) in id.bytes.iter_mut().take(32).enumerate() {
            *digit = b"0123456789abcdef"[(number >> (124 - 4 * at) & 15) as usize];
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_is_sane() {
        let longest = [b'a'; REQUEST_ID_MAX];
        let accepted: [&[u8]; 5] = [
            b"a",
            b"0f8fad5b-d9cb-469f-a165-70867728950e",
            b"Root=1-67:a@b/c+d.e_f~",
            b"0",
            &longest,
        ];
        for id in accepted {
            assert_eq!(RequestId::sane(id).unwrap().get(), Some(id));
        }
        let too_long = [b'a'; REQUEST_ID_MAX + 1];
        let huge = [b'a'; 300];
        let refused: [&[u8]; 9] =
            [b"", b"a b", b"a\"b", b"a,b", b"a;b", b"<a>", b"\xff", &too_long, &huge];
        for id in refused {
            assert_eq!(RequestId::sane(id), None, "{}", id.escape_ascii());
        }
        assert_eq!(RequestId::NONE.get(), None);
    }

    #[test]
    fn made_ones_are_sane_and_never_the_same() {
        let mut seen = HashSet::new();
        for seed in [0, 1, 2, u64::MAX] {
            let mut ids = RequestIds::new(seed);
            for _ in 0..1000 {
                let id = ids.make();
                let text = id.get().unwrap();
                assert_eq!((text.len(), RequestId::sane(text)), (32, Some(id)));
                assert!(seen.insert(text.to_vec()), "{id:?}");
            }
        }
    }
}
