//! What TLS may keep of what comes, however it comes: clients that go up to its bounds and beyond, and
//! what must hold of everybody then. What is drawn for TLS behind all else stands here, too.

use base::limits::TLS_PLAIN_MAX;
use base::limits::{
    TLS_AHEAD_MAX, TLS_HEADER, TLS_PARTS_ALL, TLS_PARTS_MAX, TLS_PARTS_SHORT, TLS_UNSIGNED_ALL,
};
use tls::Failure;

use super::channel::{Channel, Spoils};
use super::client::Client;
use super::house::House;
use super::papers::Asked;
use super::setting::Setting;
use super::stage::{Stage, Verdict, wrong};
use crate::dice::Dice;

/// What there is of that; nothing where nobody speaks TLS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// What was taken of a piece counts as held until all of it is, as in a kernel.
    pub sticks: bool,
    /// How often a client says a part of a handshake message, in many records, and no more, of 256.
    pub hoards: u32,
    /// How often one sends what begins no record, of 256.
    pub strays: u32,
    /// How often the operator changes certificates, of 256.
    pub renews: u32,
    /// Many come with long bodies, while there are few buffers.
    pub tight: bool,
}

impl Bounds {
    pub(super) fn draw(dice: &mut Dice, secured: &[[bool; 2]]) -> Self {
        if !secured.iter().flatten().any(|&it| it) {
            return Self::default();
        }
        Self {
            sticks: dice.chance(128),
            hoards: dice.pick(&[0, 0, 30, CROWD]),
            strays: dice.pick(&[0, 0, 30, 100]),
            renews: dice.pick(&[0, 0, 32, 100]),
            tight: dice.chance(64),
        }
    }

    /// Whether so many hoard that all of them together come to the bound.
    pub(super) const fn crowds(self) -> bool {
        self.hoards == CROWD
    }
}

/// That often, nearly everybody hoards.
const CROWD: u32 = 220;

/// A part of a handshake message that never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hoard {
    /// Bytes of it, headers of records among them.
    bytes: usize,
    /// Most bytes of the message in one record.
    record: usize,
}

impl Hoard {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let records = [(64_500, 4000), (40_000, TLS_PLAIN_MAX), (64_500, TLS_PLAIN_MAX)];
        let few = [(70_000, 4000), (19_000, 4000), (17_000, 1000), (1500, 50), (40, 1)];
        let weights = [4, 2, 4, 2, 2, 2, 2, 1];
        let all: Vec<_> = records.into_iter().chain(few).collect();
        let (bytes, record) = all[dice.weighted(&weights)];
        Self { bytes, record }
    }

    /// A hello that would be as long as any may.
    pub(super) fn write(self, w: &mut Vec<u8>) {
        let mut message = vec![1, 0, 0xff, 0xf0];
        message.resize(self.bytes, 0);
        let (before, end) = (w.len(), w.len() + self.bytes);
        for part in message.chunks(self.record) {
            let [high, low] = u16::try_from(part.len()).unwrap_or(0).to_be_bytes();
            w.extend_from_slice(&[22, 3, 1, high, low]);
            w.extend_from_slice(part);
            if w.len() >= end {
                break;
            }
        }
        debug_assert!(w.len() > before + TLS_HEADER, "there is something of it");
    }
}

/// What begins no record: of a type, a version or a length that there is not.
const STRAYS: [&[u8]; 6] = [
    b"\x18",
    b"\x18\x03\x03\x00\x05hello",
    b"\x13\x03",
    b"\x17\x02",
    b"\x17\x03\x03\x48\x01",
    b"GET / HTTP/1.1\r\nHost: world\r\n\r\n",
];

/// When somebody sends such a thing, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stray {
    /// Records of data before it.
    pub(super) behind: u32,
    /// Only while nothing of its own is under way.
    pub(super) idle: bool,
    pub(super) bytes: &'static [u8],
}

impl Stray {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        Self { behind: dice.pick(&[1, 0, 2, 4]), idle: dice.chance(160), bytes: dice.pick(&STRAYS) }
    }
}

/// Most that one connection may keep of a message in parts.
fn most_kept(setting: &Setting) -> usize {
    if setting.papers.asks == Asked::Off { TLS_PARTS_SHORT } else { TLS_PARTS_MAX }
}

/// At a rest: nobody keeps more than it may, nor do all together; and of two that wait for each other
/// there are none.
pub(super) fn are_kept(stage: &Stage, house: &House, clients: &[Client]) -> Verdict {
    if let Some(connection) = stage.world.stuck() {
        let text = format!("connection {connection}: its peer waits for room, and we for more");
        return wrong("window", text);
    }
    let setting = &stage.setting;
    let pool = u64::from(setting.buffers) * u64::from(setting.buffer_bytes);
    let places = 2 * (u64::from(TLS_AHEAD_MAX) + pool / (2 * TLS_PLAIN_MAX as u64));
    let asks = setting.papers.asks != Asked::Off;
    let all = if asks { TLS_UNSIGNED_ALL } else { TLS_PARTS_ALL } as u64;
    let most = pool.clamp(2 * TLS_PARTS_MAX as u64, all);
    let asleep = setting.sleepy[0] > 0 && !stage.is_calm();
    let in_vain = |&worker: &usize| house.waits_in_vain(worker) && !stage.world.is_due(worker);
    if let Some(worker) = (0..house.len()).find(in_vain).filter(|_| !asleep) {
        let text = format!("worker {worker}: somebody waits for a place, and one is free");
        return wrong("bounds", text);
    }
    for (worker, counters) in house.counters.iter().enumerate() {
        let (parts, ahead) = (counters.tls_parts_bytes.get(), counters.tls_ahead.get());
        if parts > most || ahead > places {
            let text = format!(
                "worker {worker} keeps {parts} bytes in parts, and {ahead} records ahead of buffers"
            );
            return wrong("bounds", text);
        }
    }
    clients
        .iter()
        .filter_map(Client::channel)
        .try_for_each(|channel| keeps_little(channel, setting))
}

/// One that hoards is ended before more is kept than may be.
fn keeps_little(channel: &Channel, setting: &Setting) -> Verdict {
    let over = channel.is_ended() || channel.is_closed() || channel.is_reset();
    if over || !matches!(channel.spoils(), Some(Spoils::Hoards(_))) {
        return Ok(());
    }
    let (kept, most) = (channel.taken_of_hello(), most_kept(setting));
    if kept <= most {
        return Ok(());
    }
    let number = channel.number();
    wrong("bounds", format!("connection {number} keeps {kept} bytes of a message, {most} it may"))
}

/// At the end: sessions failed for a cause, and whoever was told so was counted.
pub(super) fn figures(stage: &Stage, house: &House) -> Verdict {
    let failed = |failure: Failure| house.sum(|it| it.tls_failures[failure as usize].get());
    let Bounds { hoards, strays, .. } = stage.setting.bounds;
    let spoils = stage.setting.door.garbles > 0 || hoards > 0;
    let (broke, large) = (failed(Failure::Protocol), failed(Failure::TooLarge));
    if (broke > 0 && !spoils && strays == 0) || (large > 0 && hoards == 0) {
        let text =
            format!("{broke} sessions broke a rule, {large} were too large, without a cause");
        return wrong("figures", text);
    }
    if broke < stage.strays_told {
        let told = stage.strays_told;
        return wrong("figures", format!("{broke} sessions broke a rule, {told} were told so"));
    }
    Ok(())
}
