//! What an actor has to say, and how: at what pace, with which pauses, and where it breaks off.

use std::collections::VecDeque;
use std::time::Duration;

use base::time::Instant;

use super::channel::Channel;

/// How an actor breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It ends its direction.
    End,
    /// It closes its socket.
    Close,
    /// It resets the connection.
    Reset,
    /// It vanishes.
    Vanish,
}

/// How fast bytes go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Most bytes at one time.
    pub(super) piece: usize,
    /// Time between two pieces.
    pub(super) gap: Duration,
}

impl Pace {
    /// All at once.
    pub(super) const FREE: Self = Self { piece: usize::MAX, gap: Duration::ZERO };
}

/// Bytes to be written, and what happens on the way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    at: usize,
    /// Bytes written before those that are in `bytes`.
    before: u64,
    /// Where it pauses, and for how long.
    pauses: VecDeque<(u64, Duration)>,
    /// Until when it pauses.
    until: Option<Instant>,
    cut: Option<(u64, Cut)>,
}

/// What writing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// Everything is written.
    All,
    /// The network takes no more.
    Full,
    /// It goes on at that moment.
    Until(Instant),
    /// Here it breaks off.
    Cut(Cut),
}

impl Outbox {
    /// What is put behind the rest.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.at > 0 && self.at == self.bytes.len() {
            self.before += self.at as u64;
            self.bytes.clear();
            self.at = 0;
        }
        &mut self.bytes
    }

    /// Bytes ever put in: the place where the next one comes.
    pub(super) fn end(&self) -> u64 {
        self.before + self.bytes.len() as u64
    }

    /// Bytes ever written.
    pub(super) fn written(&self) -> u64 {
        self.before + self.at as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// It pauses before the byte at `place`.
    pub(super) fn pause(&mut self, place: u64, length: Duration) {
        self.pauses.push_back((place, length));
    }

    /// It breaks off before the byte at `place`.
    pub(super) fn cut(&mut self, place: u64, cut: Cut) {
        self.cut.get_or_insert((place, cut));
    }

    /// It pauses no more.
    pub(super) fn hurry(&mut self) {
        self.pauses.clear();
        self.until = None;
    }

    /// It neither pauses nor breaks off any more.
    pub(super) fn calm_down(&mut self) {
        self.hurry();
        self.cut = self.cut.filter(|&(_, cut)| cut == Cut::End);
    }

    /// Forgets the rest.
    pub(super) fn clear(&mut self) {
        *self = Self { before: self.written(), ..Self::default() };
    }

    /// Writes what it may now.
    pub(super) fn write(&mut self, peer: &mut Channel, pace: Pace, now: Instant) -> Wrote {
        if let Some(until) = self.until.filter(|&until| now < until) {
            return Wrote::Until(until);
        }
        self.until = None;
        let mut piece = pace.piece;
        loop {
            let place = self.written();
            if let Some((at, cut)) = self.cut
                && place >= at
            {
                return Wrote::Cut(cut);
            }
            if let Some(&(at, length)) = self.pauses.front()
                && place >= at
            {
                self.pauses.pop_front();
                self.until = Some(now + length);
                return Wrote::Until(now + length);
            }
            if self.is_empty() {
                return Wrote::All;
            }
            if piece == 0 {
                self.until = Some(now + pace.gap);
                return Wrote::Until(now + pace.gap);
            }
            let stops = [self.pauses.front().map(|it| it.0), self.cut.map(|it| it.0)];
            let stop = stops.into_iter().flatten().min().unwrap_or(u64::MAX) - place;
            let most = usize::try_from(stop).unwrap_or(usize::MAX).min(piece);
            let end = self.bytes.len().min(self.at.saturating_add(most));
            let count = peer.write(&self.bytes[self.at..end], now);
            self.at += count;
            piece -= count.min(piece);
            if count == 0 {
                return Wrote::Full;
            }
        }
    }
}
