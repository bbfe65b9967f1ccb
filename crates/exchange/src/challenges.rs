//! Answers that a certificate authority comes for, to see that a name is ours (RFC 8555 §8.3).

use alloc::boxed::Box;
use alloc::vec::Vec;

use base::limits;
use base::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Where the authority looks for them.
const PREFIX: &str = "/.well-known/acme-challenge/";

/// A token, and the text that belongs to it.
type Answer = (Box<str>, Box<[u8]>);

/// What is answered at the moment: a table that is never changed. When there are other answers,
/// each worker is given another table.
#[derive(Debug, Default)]
pub struct Challenges {
    answers: Box<[Answer]>,
    /// Workers that go by this table.
    holders: AtomicU32,
}

impl Challenges {
    /// A table of these tokens and answers; of more than [`limits::CHALLENGES_MAX`] the last are
    /// left out.
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: Vec<_> = answers.into_iter().take(limits::CHALLENGES_MAX).collect();
        Self { answers: answers.into_boxed_slice(), holders: AtomicU32::new(0) }
    }

    /// The place of the answer that is asked for by `path`, which has no query.
    pub fn find(&self, path: &str) -> Option<u16> {
        if self.answers.is_empty() {
            return None;
        }
        let token = path.strip_prefix(PREFIX)?;
        let place = self.answers.iter().position(|(known, _)| &**known == token)?;
        u16::try_from(place).ok()
    }

    /// The answer at that place.
    pub fn answer(&self, place: u16) -> Option<&[u8]> {
        self.answers.get(usize::from(place)).map(|(_, answer)| &**answer)
    }

    /// One more worker goes by this table.
    pub fn taken(&self) {
        self.holders.fetch_add(1, Relaxed);
    }

    /// How many workers do.
    pub fn holders(&self) -> u32 {
        self.holders.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn table(count: usize) -> Challenges {
        Challenges::new(
            (0..count).map(|n| {
                (format!("token-{n}").into(), format!("token-{n}.print").into_bytes().into())
            }),
        )
    }

    #[test]
    fn a_token_leads_to_its_answer_and_nothing_else_does() {
        let known = table(2);
        let at = |path: &str| known.find(path).and_then(|place| known.answer(place));
        assert_eq!(at("/.well-known/acme-challenge/token-1"), Some(&b"token-1.print"[..]));
        for path in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/token",
            "/.well-known/acme-challenge/token-1/",
            "/.well-known/acme-challenge/token-10",
            "/.well-known/acme-challenge/TOKEN-1",
            "/.well-known/acme-challenge//token-1",
            "/a/.well-known/acme-challenge/token-1",
            "/",
            "*",
        ] {
            assert_eq!(at(path), None, "{path}");
        }
        assert_eq!(table(0).find("/.well-known/acme-challenge/"), None);
    }

    #[test]
    fn a_table_is_bounded() {
        let full = table(limits::CHALLENGES_MAX + 1);
        let last = |n: usize| full.find(&format!("/.well-known/acme-challenge/token-{n}"));
        assert!(last(limits::CHALLENGES_MAX - 1).is_some());
        assert_eq!(last(limits::CHALLENGES_MAX), None);
    }

    #[test]
    fn it_counts_who_goes_by_it() {
        let known = table(1);
        assert_eq!(known.holders(), 0);
        known.taken();
        known.taken();
        assert_eq!(known.holders(), 2);
    }
}
