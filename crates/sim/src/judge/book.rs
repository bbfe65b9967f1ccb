//! The book of a run: every request has a number, and under it stands what was asked, what was to
//! be answered, and what happened to it so far, as clients and servers saw it.

use std::net::IpAddr;
use std::time::Duration;

use base::time::Instant;

use super::ask::Ask;
use super::malformed::Malformed;
use super::papers::Paper;
use super::reply::Reply;
use super::tunnel::Talk;

/// A request and all that is known of it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
pub(super) struct Record {
    pub(super) number: u32,
    pub(super) what: What,
    /// The group whose servers it is for.
    pub(super) group: usize,
    /// Whom it is from, and who connected: others where it came through a proxy in front.
    pub(super) peer: IpAddr,
    pub(super) through: IpAddr,
    /// When its client wrote its first byte, and its last.
    pub(super) began: Option<Instant>,
    pub(super) complete: Option<Instant>,
    /// When the network had the first of it that somebody can read.
    pub(super) given: Option<Instant>,
    /// Its client had to wait until somebody received.
    pub(super) blocked: bool,
    /// How often its head reached a server, and how often all of it did.
    pub(super) arrivals: u32,
    pub(super) taken: u32,
    /// How often a server that left had a beginning of its head.
    pub(super) beginnings: u32,
    /// A server broke off, or said what it must not.
    pub(super) failed: bool,
    /// Its response ended with a server's connection which did not say that it was all.
    pub(super) truncated: bool,
    /// When it reached a server.
    pub(super) reached: Option<Instant>,
    /// When a server last did something for it, and the longest time for which it did not.
    pub(super) served: Option<Instant>,
    pub(super) silence: Duration,
    /// A server has switched protocols.
    pub(super) said_101: bool,
    /// A server wrote the last byte of the response at that moment.
    pub(super) answered: Option<Instant>,
    /// What its client was told, or that it left.
    pub(super) fate: Option<Fate>,
    pub(super) settled: Option<Instant>,
    /// By what name the server knows it.
    pub(super) id: Option<Vec<u8>>,
    /// The ends of the tunnel that it is to become: its client's, its server's.
    pub(super) ends: [Option<usize>; 2],
    /// What its client showed of who it is.
    pub(super) paper: Paper,
    /// By which verdict it reached a server.
    pub(super) verdict: Option<usize>,
}

/// What a client sent.
#[derive(Debug)]
pub(super) enum What {
    /// A request, and what is to be answered.
    Asked(Ask, Reply),
    /// None.
    Malformed(Malformed),
    /// The head of a request, and a body that is none.
    BadBody(Ask),
    /// Nothing that anteroom reads: the connection is passed through.
    Passed(Talk),
}

/// How an exchange ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// It had its response, every byte of it.
    Answered,
    /// Protocols were switched.
    Switched,
    /// It was passed through to a server.
    Passed,
    /// It was refused with that status.
    Refused(u16),
    /// It was cut off, for a reason.
    Cut(Excuse),
    /// It left by itself.
    Left,
    /// It never came to be: its connection ended before.
    Unheard,
}

/// Why a client may be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Excuse {
    /// It was refused, and said more than is read of it then.
    Unread,
    /// It ended its direction too early.
    HalfClosed,
    /// A server failed.
    Server,
    /// A server said nothing for too long.
    Silence,
    /// It was too slow itself.
    Slow,
    /// Buffers were short.
    Short,
    /// The disk failed.
    Disk,
    /// The operator wanted it.
    Operator,
    /// It left no room for what it was to be told.
    NoRoom,
    /// Too many event streams ran already.
    Crowd,
    /// It was parked for too long, or made room for others.
    Parked,
    /// It had been told that its connection would be closed.
    Told,
    /// Its address may not be here, or has too much.
    Door,
    /// Its handshake was none, or took too long.
    Handshake,
}

/// Something that may explain what goes wrong meanwhile, and a while after: until when. What began
/// later it does not explain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cause(Option<Instant>);

impl Cause {
    /// It explains what began before `moment`.
    pub(super) fn lasts(&mut self, moment: Instant) {
        self.0 = self.0.max(Some(moment));
    }

    /// It is over, and explains nothing that begins after `moment`.
    pub(super) fn ends(&mut self, moment: Instant) {
        self.0 = self.0.map(|until| until.min(moment));
    }

    /// Whether it may explain what went on from that moment until now.
    pub(super) fn explains(self, since: Instant) -> bool {
        self.0.is_some_and(|until| until >= since)
    }

    /// Whether it ever was: for figures of the whole run.
    pub(super) const fn ever(self) -> bool {
        self.0.is_some()
    }
}

/// What happened in the world that may concern everybody.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Causes {
    /// A connect failed or hung, or a server died.
    pub(super) connects: Cause,
    /// The disk failed, or was slow, or hung.
    pub(super) disk: Cause,
    /// The workers were told to drain, or to stop.
    pub(super) drained: Option<Instant>,
    pub(super) stopped: bool,
    /// Somebody had to wait for a buffer.
    pub(super) short: Cause,
    /// Everybody behaves from here on.
    pub(super) calm: Option<Instant>,
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) records: Vec<Record>,
    pub(super) causes: Causes,
}

impl Record {
    pub(super) fn new(what: What, group: usize, through: IpAddr) -> Self {
        let way = if let What::Asked(ask, _) = &what { ask.way } else { None };
        Self {
            number: 0,
            peer: way.and_then(|way| way.client()).unwrap_or(through),
            through,
            what,
            group,
            began: None,
            complete: None,
            given: None,
            blocked: false,
            arrivals: 0,
            taken: 0,
            beginnings: 0,
            failed: false,
            truncated: false,
            reached: None,
            served: None,
            silence: Duration::ZERO,
            said_101: false,
            answered: None,
            fate: None,
            settled: None,
            id: None,
            ends: [None; 2],
            paper: Paper::Nothing,
            verdict: None,
        }
    }

    /// A server does something for it.
    pub(super) fn is_served(&mut self, now: Instant) {
        self.silence = self.silence_until(now);
        self.served = Some(now);
    }

    /// The longest time for which no server did anything for it, until now.
    pub(super) fn silence_until(&self, now: Instant) -> Duration {
        if self.answered.is_some() {
            return self.silence;
        }
        let since = self.served.or(self.complete).or(self.began).unwrap_or(now);
        self.silence.max(now.since(since))
    }

    /// Whether a proxy in front says whom it is from.
    pub(super) fn is_named(&self) -> bool {
        self.peer != self.through
    }

    /// When it began; now, if nothing of it was written.
    pub(super) fn since(&self, now: Instant) -> Instant {
        self.began.unwrap_or(now)
    }

    /// What was asked, if it was a request.
    pub(super) const fn ask(&self) -> Option<&Ask> {
        match &self.what {
            What::Asked(ask, _) | What::BadBody(ask) => Some(ask),
            What::Malformed(_) | What::Passed(_) => None,
        }
    }

    pub(super) const fn reply(&self) -> Option<&Reply> {
        match &self.what {
            What::Asked(_, reply) => Some(reply),
            _ => None,
        }
    }
}

impl Book {
    /// Enters a request; its number.
    pub(super) fn enter(&mut self, record: Record) -> u32 {
        let number = self.len();
        self.records.push(Record { number, ..record });
        number
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, number: u32) -> &Record {
        &self.records[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Record {
        &mut self.records[number as usize]
    }
}
