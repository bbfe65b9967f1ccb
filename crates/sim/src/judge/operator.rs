//! What happens to everybody: servers that refuse, hang, die and return, accepting that fails, a
//! disk that does, names that lead elsewhere, certificates that change, a drain, a stop.

use std::net::SocketAddr;
use std::time::Duration;

use base::id::{ListenerId, ServerId};
use base::time::Instant;
use driver::{AcceptFault, ConnectFault};
use worker::Letter;

use super::client::ADDRESSES;
use super::door::Denied;
use super::gate::USERS;
use super::outbox::Cut;
use super::reply::micros;
use super::setting::Setting;
use crate::dice::Dice;
use crate::disk::DiskMode;
use crate::net::ServerMode;

/// Something that happens when so many exchanges were begun.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) at: u32,
    pub(super) what: Happens,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Happens {
    /// A server treats connects so, for a while; if it dies, it breaks off what it has.
    Server { server: ServerId, mode: ServerMode, dies: Option<Cut>, lasts: Duration },
    /// The next accepting fails.
    Accept(ListenerId, AcceptFault),
    /// The disk behaves so, for a while.
    Disk(DiskMode, Duration),
    /// A server's name stands for these addresses, as all workers are told.
    Moves(ServerId, Vec<SocketAddr>),
    /// A listener denies these.
    List(usize, Denied),
    /// This address is banned, for a while.
    Ban(usize, Duration),
    /// These are banned, and nobody else.
    Bans(Denied),
    /// A user of a group has another word.
    Word(usize, usize),
    /// A listener has its former certificate, or the renewed one.
    Renewed(usize, bool),
    /// All workers are to drain.
    Drain,
    /// All workers are to stop.
    Stop,
}

/// Something that is over at that moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) at: Instant,
    pub(super) what: Ends,
}

/// What is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    Server(ServerId),
    Disk,
    /// The ban of that address.
    Ban(usize),
}

/// Draws what will happen, in its order.
pub(super) fn events(dice: &mut Dice, setting: &Setting) -> Vec<Event> {
    let habits = &setting.habits;
    let mut all = Vec::new();
    let times = |dice: &mut Dice, habit: u32| {
        let count = if dice.chance(habit.saturating_mul(4)) { dice.between(1, 6) } else { 0 };
        (0..count).map(|_| dice.below(setting.exchanges)).collect::<Vec<u32>>()
    };
    if setting.rereads {
        let slow = DiskMode::Slow(micros(dice.length(20_000)));
        all.push(Event { at: 0, what: Happens::Disk(slow, Duration::from_hours(2)) });
    }
    for at in times(dice, habits.connects) {
        all.push(Event { at, what: server(dice, setting) });
    }
    for at in times(dice, habits.accepts) {
        let listener = ListenerId(dice.below(u32::try_from(setting.groups.len()).unwrap_or(1)));
        let fault = dice.pick(&[AcceptFault::Descriptors, AcceptFault::Memory, AcceptFault::Table]);
        all.push(Event { at, what: Happens::Accept(listener, fault) });
    }
    for at in times(dice, habits.disk) {
        let modes = [
            DiskMode::Slow(micros(dice.length(500_000))),
            DiskMode::Stuck,
            DiskMode::ReadsFail,
            DiskMode::WritesFail,
        ];
        let what = Happens::Disk(dice.pick(&modes), lasting(dice));
        all.push(Event { at, what });
    }
    for at in times(dice, habits.moves) {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let [one, two] = [1000, 1001].map(address);
        let lists = [&[one][..], &[two], &[one, two], &[two, one]];
        let addresses = dice.pick(&lists).to_vec();
        all.push(Event { at, what: Happens::Moves(any_server(dice, setting), addresses) });
    }
    if dice.chance(habits.ends.saturating_mul(2)) {
        let at = dice.below(setting.exchanges);
        let what = if dice.chance(128) { Happens::Stop } else { Happens::Drain };
        all.push(Event { at, what });
    }
    for at in times(dice, setting.door.restless) {
        all.push(Event { at, what: at_the_door(dice, setting) });
    }
    for at in times(dice, setting.gate.restless) {
        let group = dice.below(u32::try_from(setting.groups.len()).unwrap_or(1)) as usize;
        let user = dice.below(u32::try_from(USERS).unwrap_or(1)) as usize;
        all.push(Event { at, what: Happens::Word(group, user) });
    }
    for at in times(dice, setting.bounds.renews) {
        let group = dice.below(u32::try_from(setting.groups.len()).unwrap_or(1)) as usize;
        all.push(Event { at, what: Happens::Renewed(group, !dice.chance(80)) });
    }
    all.sort_by_key(|event| event.at);
    all
}

fn at_the_door(dice: &mut Dice, setting: &Setting) -> Happens {
    let whom = dice.below(u32::try_from(ADDRESSES.len()).unwrap_or(1)) as usize;
    if dice.chance(128) {
        return Happens::Ban(whom, lasting(dice));
    }
    let group = dice.below(u32::try_from(setting.groups.len()).unwrap_or(1)) as usize;
    let mut denied = Denied::default();
    // Nobody, too.
    denied[whom] = dice.chance(180);
    denied[0] |= dice.chance(60);
    Happens::List(group, denied)
}

fn any_server(dice: &mut Dice, setting: &Setting) -> ServerId {
    ServerId(dice.below(u32::try_from(setting.servers().count()).unwrap_or(1)))
}

fn server(dice: &mut Dice, setting: &Setting) -> Happens {
    let fault = dice.pick(&[
        ConnectFault::Refused,
        ConnectFault::Busy,
        ConnectFault::Exhausted,
        ConnectFault::TimedOut,
    ]);
    let mode = dice.pick(&[
        ServerMode::Fails(fault),
        ServerMode::FailsAtOnce(fault),
        ServerMode::Hangs,
        ServerMode::Accepts,
    ]);
    let dies = dice.chance(128).then(|| dice.pick(&[Cut::Close, Cut::Reset, Cut::Vanish]));
    Happens::Server { server: any_server(dice, setting), mode, dies, lasts: lasting(dice) }
}

fn lasting(dice: &mut Dice) -> Duration {
    micros(dice.length(8_000_000))
}

/// What all workers are told of a server's addresses.
pub(super) fn addresses<T>(server: ServerId, addresses: &[SocketAddr]) -> Letter<T> {
    Letter::Addresses { server, addresses: addresses.into() }
}
