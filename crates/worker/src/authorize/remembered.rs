//! Who was let in, for a while: so that a credential that comes again costs a look and no question.

use std::time::Duration;

use base::limits::REMEMBERED;
use base::time::Instant;
use exchange::Grant;

/// Places in which one question may be.
const WAYS: usize = 4;

/// A table of fixed size: question → what is known of the client. A question is known by a keyed hash
/// alone, whose key nobody outside can foresee.
pub(crate) struct Remembered {
    places: Box<[Place]>,
    secret: [u64; 2],
}

/// One client.
#[derive(Clone)]
struct Place {
    mark: Mark,
    edition: u32,
    /// Until when; the epoch where nobody is.
    until: Instant,
    grant: Grant,
}

/// What a question to an authorizer is known by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u128);

impl Mark {
    /// Looks at every bit, whatever the others are.
    const fn is(self, other: Self) -> bool {
        let difference = self.0 ^ other.0;
        (difference >> 64) | (difference & u64::MAX as u128) == 0
    }
}

impl Remembered {
    /// Room for [`REMEMBERED`] clients, or for none.
    pub(crate) fn new(secret: Option<[u64; 2]>) -> Self {
        let nobody =
            Place { mark: Mark(0), edition: 0, until: Instant::default(), grant: Grant::NONE };
        let places = if secret.is_some() { REMEMBERED } else { 0 };
        Self { places: vec![nobody; places].into_boxed_slice(), secret: secret.unwrap_or_default() }
    }

    /// What a question to that authorizer is known by.
    pub(crate) fn mark(&self, authorizer: u16, question: &[u8]) -> Mark {
        Mark(super::inquiries::mark(self.secret, authorizer, question))
    }

    /// Where it may be.
    fn ways(&self, mark: Mark) -> std::ops::Range<usize> {
        let sets = (self.places.len() / WAYS).max(1);
        let first = usize::try_from(mark.0 % sets as u128).unwrap_or(0) * WAYS;
        first..(first + WAYS).min(self.places.len())
    }

    /// What is known of a client by that mark, if that still holds.
    pub(crate) fn find(&self, mark: Mark, edition: u32, now: Instant) -> Option<&Grant> {
        let places = &self.places[self.ways(mark)];
        let found = places.iter().find(|it| it.until > now && it.mark.is(mark))?;
        (found.edition == edition).then_some(&found.grant)
    }

    /// Remembers it for so long, in the place of itself, of nobody, or of whoever is forgotten first.
    pub(crate) fn keep(
        &mut self,
        mark: Mark,
        edition: u32,
        (now, length): (Instant, Duration),
        grant: &Grant,
    ) {
        let ways = self.ways(mark);
        let places = &mut self.places[ways];
        let itself = places.iter().position(|it| it.mark.is(mark));
        let first = || {
            let places = places.iter().enumerate();
            places.min_by_key(|(_, it)| it.until).map(|(at, _)| at)
        };
        let Some(place) = itself.or_else(first).and_then(|at| places.get_mut(at)) else { return };
        (place.mark, place.edition, place.until) = (mark, edition, now + length);
        place.grant.copy_from(grant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    #[test]
    fn it_is_known_to_whom_it_was_said_for_as_long_as_it_holds() {
        let mut table = Remembered::new(Some([1, 2]));
        let mark = table.mark(0, b"me:mine");
        assert!(table.find(mark, 0, at(0)).is_none());
        table.keep(mark, 0, (at(0), MINUTE), &Grant::of(b"me").unwrap());
        let found = |table: &Remembered, mark, edition, now| {
            table.find(mark, edition, now).map(|grant| grant.subject().to_vec())
        };
        assert_eq!(found(&table, mark, 0, at(59)), Some(b"me".to_vec()));
        assert_eq!(found(&table, mark, 0, at(60)), None, "its time is over");
        assert_eq!(found(&table, mark, 1, at(1)), None, "it was found by what holds no more");
        for (authorizer, question) in [(1, &b"me:mine"[..]), (0, b"me:min"), (0, b"me:mine ")] {
            assert_eq!(found(&table, table.mark(authorizer, question), 0, at(1)), None);
        }
        table.keep(mark, 1, (at(30), MINUTE), &Grant::of(b"you").unwrap());
        assert_eq!(found(&table, mark, 1, at(61)), Some(b"you".to_vec()));
        let other = Remembered::new(Some([1, 3]));
        assert!(!other.mark(0, b"me:mine").is(mark), "marks depend on a secret");
    }

    #[test]
    fn it_is_bounded_and_the_oldest_yields() {
        let mut table = Remembered::new(Some([7, 8]));
        let marks: Vec<Mark> =
            (0..8 * REMEMBERED).map(|n| table.mark(0, &n.to_le_bytes())).collect();
        for (n, mark) in (0u64..).zip(&marks) {
            table.keep(*mark, 0, (at(n), MINUTE * 600), &Grant::of(b"x").unwrap());
            assert!(table.find(*mark, 0, at(n)).is_some(), "whoever came last is known");
        }
        let end = at(marks.len() as u64);
        let known = marks.iter().filter(|mark| table.find(**mark, 0, end).is_some()).count();
        assert!((REMEMBERED * 9 / 10..=REMEMBERED).contains(&known), "{known}");
        let first = marks[..REMEMBERED].iter().filter(|it| table.find(**it, 0, end).is_some());
        assert_eq!(first.count(), 0);
    }

    #[test]
    fn without_a_secret_nobody_is_remembered() {
        let mut table = Remembered::new(None);
        let mark = table.mark(0, b"a");
        table.keep(mark, 0, (at(0), MINUTE), &Grant::NONE);
        assert!(table.find(mark, 0, at(0)).is_none());
    }
}
