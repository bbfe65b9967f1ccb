//! A connection as an actor sees it, whether it is secured (TLS) or not: bytes that come and go. What
//! is beneath is a real session of rustls, whose records the network cuts anywhere.

use std::time::Duration;

use base::limits::{TLS_OVERHEAD, TLS_PLAIN_MAX, TLS_RECORD_MAX};
use base::time::Instant;
use tls::{Acceptor, Connector, Failure, Output, Record, Session, next_record};

use super::bounds::{Hoard, Stray};
use super::outbox::Cut;
use crate::dice::Dice;
use crate::peer::Peer;

/// What somebody does instead of shaking hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoils {
    /// It sends this, which is no hello.
    Garbage(usize),
    /// It stops before that byte of its first words until everybody behaves.
    Dawdles(usize),
    /// It breaks off there.
    Breaks(usize, Cut),
    /// It says a part of a long hello, in many records, and no more.
    Hoards(Hoard),
}

/// What is no hello, the last of them in plain HTTP.
const GARBAGE: [&[u8]; 6] = [
    b"\0\0\0\0",
    b"\x16\x03\x01\xff\xff\x01",
    b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",
    b"\x17\x03\x03\x00\x05hello",
    b"GET / HTTP/1.1\r\nHost: world\r\n\r\n",
];

/// How a secured connection behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Most bytes that reach the network at one time.
    piece: usize,
    /// Most bytes in one record.
    record: usize,
    /// It says so before its direction ends.
    pub(super) polite: bool,
    pub(super) spoils: Option<Spoils>,
    drips: Option<Drips>,
    strays: Option<Stray>,
}

/// One record goes so slowly that nobody would wait for it for ever.
#[derive(Clone, Copy, Debug)]
struct Drips {
    /// Records of data before it.
    behind: u32,
    /// Between two of its pieces.
    gap: Duration,
}

/// In how many pieces such a record goes, at least.
const DRIPS: usize = 20;

impl Manner {
    /// Everything at once, and well.
    pub(super) const PLAIN: Self = Self {
        piece: usize::MAX,
        record: TLS_PLAIN_MAX,
        polite: true,
        spoils: None,
        drips: None,
        strays: None,
    };

    /// `wild`: how often one does not shake hands, of 256.
    pub(super) fn draw(dice: &mut Dice, wild: u32) -> Self {
        let cut = |dice: &mut Dice| dice.pick(&[Cut::End, Cut::Reset, Cut::Close, Cut::Vanish]);
        let spoils = dice.chance(wild).then(|| {
            let place = dice.length(1500) as usize;
            match dice.weighted(&[2, 2, 1]) {
                0 => {
                    let which = dice.below(u32::try_from(GARBAGE.len()).unwrap_or(1));
                    Spoils::Garbage(which as usize)
                }
                1 => Spoils::Dawdles(place),
                _ => Spoils::Breaks(place, cut(dice)),
            }
        });
        Self {
            piece: dice.pick(&[usize::MAX, usize::MAX, 2000, 100, 7]),
            record: dice.pick(&[TLS_PLAIN_MAX, TLS_PLAIN_MAX, 1000, 60]),
            polite: !dice.chance(40),
            spoils,
            drips: None,
            strays: None,
        }
    }

    /// Perhaps it hoards instead of shaking hands: that often.
    pub(super) fn may_hoard(self, dice: &mut Dice, often: u32) -> Self {
        if self.spoils.is_some() || !dice.chance(often) {
            return self;
        }
        let piece = self.piece.max(2000);
        Self { spoils: Some(Spoils::Hoards(Hoard::draw(dice))), piece, ..self }
    }

    /// Its records are as long as they may be, and go at once.
    pub(super) const fn at_once(self) -> Self {
        Self { piece: usize::MAX, record: TLS_PLAIN_MAX, ..self }
    }

    /// Perhaps it sends what begins no record: that often.
    pub(super) fn may_stray(self, dice: &mut Dice, often: u32) -> Self {
        Self { strays: dice.chance(often).then(|| Stray::draw(dice)), ..self }
    }

    /// Perhaps one of its records goes slowly, as measured by how long a head may take.
    pub(super) fn may_drip(self, dice: &mut Dice, head: Duration) -> Self {
        let drips = dice.chance(20).then(|| {
            let gap = head / dice.pick(&[5, 40, 1]);
            Drips { behind: dice.pick(&[0, 0, 1, 3]), gap }
        });
        Self { drips, ..self }
    }
}

/// Between two pieces of what is sent.
const PIECE: Duration = Duration::from_micros(1);

/// Bytes that one record takes beside its own at most, with a few to spare.
const BESIDE: usize = TLS_OVERHEAD + 16;

/// Memory for one record, or one flight of a handshake.
const FLIGHT: usize = TLS_RECORD_MAX + (8 << 10);

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
struct Secured {
    session: Session,
    manner: Manner,
    /// What is still to reach the network: a record, a flight of the handshake.
    pending: Vec<u8>,
    /// Bytes of it that ever did.
    sent: usize,
    /// How many of them the other side must have to be done with the handshake, too: known when this
    /// side is.
    opens: Option<usize>,
    /// It is the end that answers.
    is_server: bool,
    /// When the next piece may.
    next: Instant,
    /// Bytes that those of a record of data are, which are pending.
    data: usize,
    /// Records of data so far, and since when one of them goes slowly.
    records: u32,
    drips: Option<Instant>,
    /// What came and is not a whole record yet.
    part: Vec<u8>,
    /// Some came since that was last asked; or ever.
    stirs: bool,
    is_told: bool,
    /// Decrypted, and not asked for yet.
    heard: Vec<u8>,
    /// Where what begins no record begins, and since when all of it is on its way.
    strayed: Option<Strayed>,
    /// Bytes before the hello.
    before: usize,
    /// A record may be longer than there is room for.
    sticks: bool,
    /// The other side said that it sends nothing more; or broke a rule, or told that we did.
    closed: bool,
    failed: Option<Failure>,
}

/// What begins no record was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strayed {
    /// Which of its bytes is the first.
    at: usize,
    /// When all of it was on its way.
    pub(super) since: Option<Instant>,
    /// Nothing else of its own was then.
    pub(super) idle: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Channel {
    peer: Peer,
    secured: Option<Box<Secured>>,
}

impl Channel {
    pub(super) const fn plain(peer: Peer) -> Self {
        Self { peer, secured: None }
    }

    /// One that begins with a handshake. `before`: what goes before it, in the clear.
    pub(super) fn calls(
        peer: Peer,
        (connector, name): (&Connector, &str),
        manner: Manner,
        before: &[u8],
        now: Instant,
    ) -> Self {
        let session = connector.connect(name).expect("there is randomness");
        let mut channel = Self::secured(peer, session, manner, false, now);
        if let Some(secured) = channel.secured.as_deref_mut() {
            secured.pending.extend_from_slice(before);
            secured.before = before.len();
            match secured.manner.spoils {
                Some(Spoils::Garbage(which)) => secured.pending.extend_from_slice(GARBAGE[which]),
                Some(Spoils::Hoards(hoard)) => hoard.write(&mut secured.pending),
                _ => secured.answers(Session::begin),
            }
        }
        channel
    }

    /// One that answers a handshake.
    pub(super) fn answers(peer: Peer, acceptor: &Acceptor, manner: Manner, now: Instant) -> Self {
        let session = acceptor.accept().expect("there is randomness");
        Self::secured(peer, session, manner, true, now)
    }

    fn secured(
        peer: Peer,
        session: Session,
        manner: Manner,
        is_server: bool,
        now: Instant,
    ) -> Self {
        // A kernel holds at least one record, and a flight of a handshake.
        peer.hold(FLIGHT);
        let secured = Secured {
            session,
            manner,
            pending: Vec::new(),
            sent: 0,
            opens: None,
            is_server,
            next: now,
            data: 0,
            records: 0,
            drips: None,
            part: Vec::new(),
            stirs: false,
            is_told: false,
            heard: Vec::new(),
            strayed: None,
            before: 0,
            sticks: false,
            closed: false,
            failed: None,
        };
        Self { peer, secured: Some(Box::new(secured)) }
    }

    pub(super) const fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    /// Whether hands are still being shaken.
    pub(super) fn is_shaking(&self) -> bool {
        self.secured.as_ref().is_some_and(|it| it.session.is_handshaking())
    }

    /// Whether the other side is not done with the handshake, or never was: whoever speaks last in it
    /// is done when it has spoken, the other one when it has heard (RFC 8446 §4.4.4, RFC 5246 §7.4.9).
    pub(super) fn is_awaited(&self) -> bool {
        let opens = |it: &Secured| it.opens.is_none_or(|opens| self.peer.taken() < opens);
        self.secured.as_deref().is_some_and(opens)
    }

    /// Whether it says so before its direction ends.
    pub(super) fn is_polite(&self) -> bool {
        self.secured.as_ref().is_none_or(|it| it.manner.polite)
    }

    /// What it does instead of shaking hands, if it does.
    pub(super) fn spoils(&self) -> Option<Spoils> {
        self.secured.as_ref().and_then(|it| it.manner.spoils)
    }

    /// Whether there is no session, and will be none.
    pub(super) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    /// Why, if so.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.secured.as_ref().and_then(|it| it.failed)
    }

    /// It behaves from now on, unless it is too late.
    pub(super) fn calm_down(&mut self) {
        if let Some(secured) = &mut self.secured {
            (secured.manner.piece, secured.manner.polite) = (usize::MAX, true);
            secured.manner.strays = None;
            if secured.manner.drips.take().is_some() {
                secured.next = Instant(0);
            }
            if matches!(secured.manner.spoils, Some(Spoils::Dawdles(_) | Spoils::Breaks(..))) {
                secured.manner.spoils = None;
            }
        }
    }

    /// How it breaks off in the middle of the handshake, if it does so now.
    pub(super) fn breaks_off(&self) -> Option<Cut> {
        let secured = self.secured.as_ref()?;
        match secured.manner.spoils? {
            Spoils::Breaks(at, cut) => (secured.sent >= at && self.is_shaking()).then_some(cut),
            _ => None,
        }
    }

    /// What it writes counts as a kernel counts it, and its records are as long as it likes, whatever room
    /// there is.
    pub(super) fn sticks(&mut self) {
        self.peer.sticks();
        if let Some(secured) = &mut self.secured {
            secured.sticks = true;
        }
    }

    /// Bytes of its hello that were taken; none once it was answered.
    pub(super) fn taken_of_hello(&self) -> usize {
        if self.peer.unread() > 0 || self.secured.as_ref().is_some_and(|it| it.is_told) {
            return 0;
        }
        let before = self.secured.as_ref().map_or(0, |it| it.before);
        self.peer.taken().saturating_sub(before)
    }

    /// What begins no record, if it sent such a thing.
    pub(super) fn strayed(&self) -> Option<Strayed> {
        self.secured.as_ref().and_then(|it| it.strayed)
    }

    /// Whether what begins no record was taken.
    pub(super) fn is_stray_taken(&self) -> bool {
        self.strayed().is_some_and(|it| self.peer.taken() > it.at)
    }

    /// Nothing of its own is under way: perhaps it sends what begins no record.
    pub(super) fn may_stray(&mut self, now: Instant) {
        if let Some(secured) = self.secured.as_deref_mut() {
            secured.strays(true);
            self.flush(now);
        }
    }

    /// Sends what is pending, as far as it may. Returns when it may send on.
    pub(super) fn flush(&mut self, now: Instant) -> Option<Instant> {
        let secured = self.secured.as_deref_mut()?;
        if secured.pending.is_empty() {
            return None;
        }
        if now < secured.next {
            return Some(secured.next);
        }
        let piece = secured.piece();
        let count = self.peer.write(&secured.pending[..piece]);
        if count == 0 {
            // It is told when there is room.
            return None;
        }
        secured.pending.drain(..count);
        secured.sent += count;
        secured.next = now + secured.gap();
        if secured.pending.is_empty() {
            (secured.data, secured.drips) = (0, None);
            if let Some(strayed) = &mut secured.strayed {
                strayed.since.get_or_insert(now);
            }
        }
        (!secured.pending.is_empty()).then_some(secured.next)
    }

    /// Bytes that count as written and are in a record of which the network has a part at most.
    pub(super) fn under_way(&self) -> usize {
        self.secured.as_ref().map_or(0, |it| it.data)
    }

    /// Since when a record of data goes slowly, if one does.
    pub(super) fn drips(&self) -> Option<Instant> {
        self.secured.as_ref().and_then(|it| it.drips)
    }

    /// Writes as many bytes as the network holds; how many.
    pub(super) fn write(&mut self, bytes: &[u8], now: Instant) -> usize {
        if self.secured.is_none() {
            return self.peer.write(bytes);
        }
        self.flush(now);
        let room = self.peer.room_for(BESIDE);
        let Some(secured) = self.secured.as_deref_mut() else { return 0 };
        let blocked = secured.session.is_handshaking() || !secured.pending.is_empty();
        if blocked || secured.failed.is_some() || room == 0 || secured.strayed.is_some() {
            return 0;
        }
        if secured.strays(false) {
            self.flush(now);
            return 0;
        }
        let room = if secured.sticks { usize::MAX } else { room };
        let count = bytes.len().min(room).min(secured.manner.record).min(TLS_PLAIN_MAX);
        secured.answers(|session, output| session.write(&bytes[..count], output));
        secured.data = count;
        let drips = secured.manner.drips.is_some_and(|it| it.behind == secured.records);
        secured.drips = drips.then_some(now);
        secured.records += 1;
        self.flush(now);
        count
    }

    /// Reads at most `most` bytes behind those in `space`; how many.
    pub(super) fn read_into(&mut self, space: &mut Vec<u8>, most: usize) -> usize {
        let Some(secured) = self.secured.as_deref_mut() else {
            return self.peer.read_into(space, most);
        };
        while secured.heard.len() < most {
            let came = self.peer.read_into(&mut secured.part, most - secured.heard.len());
            secured.stirs |= came > 0;
            secured.is_told |= came > 0;
            secured.understand();
            if came == 0 {
                break;
            }
        }
        let count = most.min(secured.heard.len());
        space.extend(secured.heard.drain(..count));
        count
    }

    /// Ends its direction; it still reads.
    pub(super) fn end(&mut self) {
        self.says_goodbye();
        self.peer.end();
    }

    /// It is about to be closed in order.
    pub(super) fn says_goodbye(&mut self) {
        let Some(secured) = self.secured.as_deref_mut() else { return };
        let open = !secured.session.is_handshaking() && secured.failed.is_none();
        if open && secured.manner.polite {
            secured.answers(Session::close);
        }
        self.sends_all();
    }

    /// Whether closing now, with something unread, is a reset and nothing else: over TLS, whoever is
    /// polite said first that this was all.
    pub(super) fn resets_by_closing(&self) -> bool {
        self.unread() > 0 && !(self.is_polite() && self.secured.is_some())
    }

    /// From now on it takes no more than so many bytes.
    pub(super) fn narrow(&self, bytes: usize) {
        self.peer.set_window(bytes);
    }

    pub(super) fn reset(&mut self) {
        self.sends_all();
        self.peer.reset();
    }

    pub(super) fn vanish(&mut self) {
        self.sends_all();
        self.peer.vanish();
    }

    /// What counts as written is on its way: it is received before whatever comes now.
    fn sends_all(&mut self) {
        let Some(secured) = self.secured.as_deref_mut() else { return };
        let stops = matches!(secured.manner.spoils, Some(Spoils::Dawdles(_) | Spoils::Breaks(..)));
        if !stops {
            // There is room for what counts.
            self.peer.hold(usize::MAX >> 1);
            self.peer.write(&secured.pending);
        }
        secured.pending.clear();
        (secured.data, secured.drips) = (0, None);
    }

    /// Whether the other side ended its direction and all it sent was read. One that is secured must
    /// have said so: otherwise nobody knows whether that was all (RFC 8446 §6.1).
    pub(super) fn has_ended(&self) -> bool {
        match &self.secured {
            Some(it) => it.heard.is_empty() && (it.closed || self.peer.has_ended()),
            None => self.peer.has_ended(),
        }
    }

    /// Whether it ended without a word.
    pub(super) fn is_truncated(&self) -> bool {
        self.secured.as_ref().is_some_and(|it| !it.closed)
    }

    pub(super) fn is_ended(&self) -> bool {
        self.peer.is_ended() || self.secured.as_ref().is_some_and(|it| it.closed)
    }

    pub(super) fn is_reset(&self) -> bool {
        self.peer.is_reset()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.peer.is_closed()
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.peer.is_accepted()
    }

    /// When its connection was begun.
    pub(super) fn began(&self) -> Instant {
        self.peer.began()
    }

    /// When it was accepted.
    pub(super) fn accepted(&self) -> Option<Instant> {
        self.peer.accepted()
    }

    pub(super) fn play(&self, player: u32) {
        self.peer.play(player);
    }

    /// It is about to be ended while nothing is under way on it.
    pub(super) fn retires(&self) {
        if self.secured.is_none() {
            self.peer.retire();
        }
    }

    pub(super) const fn number(&self) -> usize {
        self.peer.number()
    }

    /// Bytes that have come and were not read; of one that is secured they are not its plaintext
    /// alone.
    pub(super) fn unread(&self) -> usize {
        self.peer.unread() + self.secured.as_ref().map_or(0, |it| it.heard.len())
    }

    /// Whether something of a record came since the last call.
    pub(super) fn stirs(&mut self) -> bool {
        self.secured.as_mut().is_some_and(|it| std::mem::take(&mut it.stirs))
    }

    /// Whether a part of a record came, of which nothing can be read yet.
    pub(super) fn has_part(&self) -> bool {
        self.secured.as_ref().is_some_and(|it| !it.part.is_empty())
    }

    /// Whether the network has all that it wrote.
    pub(super) fn has_sent_all(&self) -> bool {
        self.secured.as_ref().is_none_or(|it| it.pending.is_empty())
    }

    /// Bytes it wrote that were not received yet.
    pub(super) fn unreceived(&self) -> usize {
        self.peer.unreceived() + self.secured.as_ref().map_or(0, |it| it.pending.len())
    }
}

/// Closing over what was not read is a reset.
impl Drop for Channel {
    fn drop(&mut self) {
        if self.secured.as_ref().is_some_and(|it| !it.heard.is_empty()) {
            self.peer.reset();
        }
    }
}

impl Secured {
    /// Bytes of what is pending that may be sent at once.
    fn piece(&self) -> usize {
        // Where hands are shaken before that place, nothing is spoiled.
        let spoils = |at: &usize| self.opens.is_none_or(|opens| *at < opens);
        let most = match self.manner.spoils {
            Some(Spoils::Dawdles(at) | Spoils::Breaks(at, _)) if spoils(&at) => {
                at.saturating_sub(self.sent)
            }
            _ => usize::MAX,
        };
        let drips = if self.drips.is_some() { self.data.div_ceil(DRIPS) } else { usize::MAX };
        self.pending.len().min(self.manner.piece).min(most).min(drips)
    }

    /// Between two pieces.
    fn gap(&self) -> Duration {
        let drips = self.manner.drips.filter(|_| self.drips.is_some());
        drips.map_or(PIECE, |drips| drips.gap)
    }

    /// Puts behind what is pending what the session has to say.
    fn answers(&mut self, acts: impl FnOnce(&mut Session, &mut Output<'_>) -> Result<(), Failure>) {
        let mut memory = vec![0; FLIGHT];
        let mut output = Output::new(&mut memory);
        if let Err(failure) = acts(&mut self.session, &mut output) {
            self.failed.get_or_insert(failure);
        }
        let before = self.sent + self.pending.len();
        self.pending.extend_from_slice(output.bytes());
        if self.opens.is_none() && !self.session.is_handshaking() {
            // What a server says behind the client's last word is no part of it in TLS 1.3.
            let agreed = self.session.agreed();
            let tls13 = agreed.is_some_and(|agreed| agreed.version() == "TLSv1.3");
            let last = if self.is_server && tls13 { 0 } else { output.bytes().len() };
            self.opens = Some(before + last);
        }
    }

    /// Puts down what begins no record, if it is time for that.
    fn strays(&mut self, idle: bool) -> bool {
        let open = !self.session.is_handshaking() && self.failed.is_none() && !self.closed;
        let due = |it: &mut Stray| it.idle == idle && self.records >= it.behind;
        if !open || !self.pending.is_empty() || self.strayed.is_some() {
            return false;
        }
        let Some(stray) = self.manner.strays.take_if(due) else { return false };
        self.strayed = Some(Strayed { at: self.sent, since: None, idle });
        self.pending.extend_from_slice(stray.bytes);
        true
    }

    /// Decrypts the records that are whole.
    fn understand(&mut self) {
        if matches!(self.manner.spoils, Some(Spoils::Garbage(_) | Spoils::Hoards(_))) {
            // Whatever it is told, it does not care.
            self.part.clear();
            return;
        }
        while self.failed.is_none() && !self.closed {
            let whole = match next_record(&self.part) {
                Record::Whole(whole) => whole,
                Record::Part => return,
                Record::Bad => {
                    self.failed = Some(Failure::Other);
                    return;
                }
            };
            let mut record: Vec<u8> = self.part.drain(..whole).collect();
            let (mut heard, mut closed) = (Vec::new(), false);
            self.answers(|session, output| {
                let found =
                    session.read(&mut record, output, |bytes| heard.extend_from_slice(bytes))?;
                closed = found.closed;
                Ok(())
            });
            self.heard.append(&mut heard);
            self.closed |= closed;
        }
    }
}
