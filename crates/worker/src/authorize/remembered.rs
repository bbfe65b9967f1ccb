//! Who was let in, for a while: so that a credential that comes again costs a look and no question.

use std::time::Duration;

use base::limits::REMEMBERED;
use base::time::Instant;
use exchange::Granted;

/// Places in which one question may be.
const WAYS: usize = 4;

/// A table of fixed size: question → what is known of the client. A question is known by a keyed hash
/// alone, whose key nobody outside can foresee.
pub(crate) struct Remembered {
    places: Box<[Place]>,
    /// What is known of the client in each place: so many bytes each, untouched until they are used.
    known: Box<[u8]>,
    room: usize,
    secret: [u64; 2],
}

/// One client.
#[derive(Clone)]
struct Place {
    mark: Mark,
    /// Until when; the epoch where nobody is.
    until: Instant,
    edition: u32,
    /// Bytes of the subject, which comes first, and of all that is known.
    subject: u16,
    len: u16,
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
    /// Bytes of a place, without what is known.
    pub(super) const PLACE_BYTES: usize = size_of::<Place>();

    /// Room for [`REMEMBERED`] clients of whom so many bytes are known, or for none.
    pub(crate) fn new(secret: [u64; 2], room: Option<usize>) -> Self {
        let nobody =
            Place { mark: Mark(0), until: Instant::default(), edition: 0, subject: 0, len: 0 };
        let places = if room.is_some() { REMEMBERED } else { 0 };
        let room = room.unwrap_or(0);
        Self {
            places: vec![nobody; places].into_boxed_slice(),
            known: vec![0; places * room].into_boxed_slice(),
            room,
            secret,
        }
    }

    /// Room for nobody.
    pub(crate) fn none() -> Self {
        Self::new([0; 2], None)
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
    pub(crate) fn find(&self, mark: Mark, edition: u32, now: Instant) -> Option<Granted<'_>> {
        let ways = self.ways(mark);
        let first = ways.start;
        let is_it = |place: &Place| place.until > now && place.mark.is(mark);
        let at = first + self.places[ways].iter().position(is_it)?;
        let place = self.places.get(at).filter(|place| place.edition == edition)?;
        let known = self.known.get(at * self.room..)?.get(..usize::from(place.len))?;
        Some(Granted::new(known, place.subject))
    }

    /// Remembers it for so long, in the place of itself, of nobody, or of whoever is forgotten first.
    pub(crate) fn keep(
        &mut self,
        mark: Mark,
        edition: u32,
        (now, length): (Instant, Duration),
        Granted { subject, fields }: Granted<'_>,
    ) {
        let ways = self.ways(mark);
        let first = ways.start;
        let places = &self.places[ways];
        let itself = places.iter().position(|it| it.mark.is(mark));
        let soonest = || {
            let places = places.iter().enumerate();
            places.min_by_key(|(_, it)| it.until).map(|(at, _)| at)
        };
        let Some(at) = itself.or_else(soonest).map(|at| first + at) else { return };
        let ends = [subject.len(), subject.len() + fields.len()].map(u16::try_from);
        let (Some(place), [Ok(subject_ends), Ok(len)]) = (self.places.get_mut(at), ends) else {
            return;
        };
        let room = self.known.get_mut(at * self.room..(at + 1) * self.room);
        let Some(known) = room.and_then(|room| room.get_mut(..usize::from(len))) else { return };
        let (name, lines) = known.split_at_mut(subject.len());
        name.copy_from_slice(subject);
        lines.copy_from_slice(fields);
        *place = Place { mark, until: now + length, edition, subject: subject_ends, len };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const ROOM: usize = 8;

    fn named(subject: &[u8]) -> Granted<'_> {
        Granted { subject, fields: b"" }
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    #[test]
    fn it_is_known_to_whom_it_was_said_for_as_long_as_it_holds() {
        let mut table = Remembered::new([1, 2], Some(ROOM));
        let mark = table.mark(0, b"me:mine");
        assert!(table.find(mark, 0, at(0)).is_none());
        table.keep(mark, 0, (at(0), MINUTE), named(b"me"));
        let found = |table: &Remembered, mark, edition, now| {
            table.find(mark, edition, now).map(|known| known.subject.to_vec())
        };
        assert_eq!(found(&table, mark, 0, at(59)), Some(b"me".to_vec()));
        assert_eq!(found(&table, mark, 0, at(60)), None, "its time is over");
        assert_eq!(found(&table, mark, 1, at(1)), None, "it was found by what holds no more");
        for (authorizer, question) in [(1, &b"me:mine"[..]), (0, b"me:min"), (0, b"me:mine ")] {
            assert_eq!(found(&table, table.mark(authorizer, question), 0, at(1)), None);
        }
        table.keep(mark, 1, (at(30), MINUTE), named(b"you"));
        assert_eq!(found(&table, mark, 1, at(61)), Some(b"you".to_vec()));
        let other = Remembered::new([1, 3], Some(ROOM));
        assert!(!other.mark(0, b"me:mine").is(mark), "marks depend on a secret");
    }

    #[test]
    fn it_is_bounded_and_the_oldest_yields() {
        let mut table = Remembered::new([7, 8], Some(ROOM));
        let marks: Vec<Mark> =
            (0..8 * REMEMBERED).map(|n| table.mark(0, &n.to_le_bytes())).collect();
        for (n, mark) in (0u64..).zip(&marks) {
            table.keep(*mark, 0, (at(n), MINUTE * 600), named(b"x"));
            assert!(table.find(*mark, 0, at(n)).is_some(), "whoever came last is known");
        }
        let end = at(marks.len() as u64);
        let known = marks.iter().filter(|mark| table.find(**mark, 0, end).is_some()).count();
        assert!((REMEMBERED * 9 / 10..=REMEMBERED).contains(&known), "{known}");
        let first = marks[..REMEMBERED].iter().filter(|it| table.find(**it, 0, end).is_some());
        assert_eq!(first.count(), 0);
    }

    #[test]
    fn without_room_nobody_is_remembered() {
        let mut table = Remembered::new([1, 2], None);
        let mark = table.mark(0, b"a");
        table.keep(mark, 0, (at(0), MINUTE), named(b""));
        assert!(table.find(mark, 0, at(0)).is_none());
    }

    #[test]
    fn fields_are_remembered_and_what_has_no_room_is_not() {
        let mut table = Remembered::new([1, 2], Some(ROOM));
        let (mark, other) = (table.mark(0, b"a"), table.mark(0, b"b"));
        let known = Granted { subject: b"me", fields: b"A: b\r\n" };
        table.keep(mark, 0, (at(0), MINUTE), known);
        assert_eq!(table.find(mark, 0, at(1)), Some(known));
        table.keep(other, 0, (at(0), MINUTE), Granted { subject: b"you", ..known });
        assert_eq!(table.find(other, 0, at(1)), None);
        table.keep(other, 0, (at(0), MINUTE), named(b""));
        assert_eq!(table.find(other, 0, at(1)), Some(named(b"")));
        assert_eq!(table.find(mark, 0, at(1)), Some(known), "it has room of its own");
    }
}
