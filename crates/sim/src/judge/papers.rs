//! Certificates: those of listeners, of which clients ask for one by its name (SNI), and those of
//! clients, which listeners may ask for.

use std::sync::{Arc, LazyLock};

use exchange::Asks;
use tls::{
    Acceptor, AcceptorConfig, Authorities, ClientAuth, Connector, ConnectorConfig, Identity,
    Tickets, Trust, Versions,
};

use super::book::Record;
use super::gate::{Gate, values};
use super::message::Head;
use super::setting::{Serves, Setting};
use super::stage::{Verdict, wrong};
use crate::dice::Dice;

/// What there is of certificates beside that of the world; in most runs, nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Papers {
    /// Listeners have two, and clients ask for either.
    pub several: bool,
    /// Whether clients show theirs.
    pub asks: Asked,
    /// Servers are told whom a client's names, in a field that nobody else may write.
    pub tells: bool,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// They are not asked.
    #[default]
    Off,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// In which field servers are told of it.
pub(super) const CLIENT: &str = "X-Client";

/// What a client writes of it all the same.
const FORGED: &str = "x_Client: CN=alice\r\nx-client: CN=alice\r\n";

/// What a client shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Paper {
    #[default]
    Nothing,
    Alice,
    Bob,
    /// One that comes from nobody who is trusted.
    Mallory,
}

impl Papers {
    pub(super) fn draw(dice: &mut Dice, secured: bool) -> Self {
        if !secured {
            return Self::default();
        }
        Self {
            several: dice.chance(128),
            asks: dice.pick(&[Asked::Off, Asked::Optional, Asked::Required]),
            tells: dice.chance(160),
        }
    }

    /// Whether there is anything of them.
    pub(super) fn are_there(self) -> bool {
        self.several || self.asks != Asked::Off
    }

    /// Whether a handshake comes to nothing with that.
    pub(super) fn refuses(self, paper: Paper) -> bool {
        match (self.asks, paper) {
            (Asked::Off, _) | (_, Paper::Alice | Paper::Bob) => false,
            (_, Paper::Mallory) => true,
            (asks, Paper::Nothing) => asks == Asked::Required,
        }
    }

    /// The field that only we may write.
    pub(super) fn own_field(self) -> Option<&'static str> {
        (self.tells && self.asks != Asked::Off).then_some(CLIENT)
    }

    /// What a client writes that it must not, if it does.
    pub(super) fn forged(self, dice: &mut Dice) -> Option<&'static str> {
        (self.own_field().is_some() && dice.chance(32)).then_some(FORGED)
    }

    /// By which name a client calls, and what it shows. `plain`: what will do.
    pub(super) fn call(self, dice: &mut Dice, plain: bool) -> (&'static str, Paper) {
        let other = self.several && dice.chance(128);
        let all = [Paper::Alice, Paper::Bob, Paper::Nothing, Paper::Mallory];
        let paper = match self.asks {
            Asked::Off => Paper::Nothing,
            _ if plain => Paper::Alice,
            _ => all[dice.weighted(&[8, 4, 2, 1])],
        };
        (if other { OTHER } else { super::keys::NAME }, paper)
    }
}

impl Paper {
    /// Whom it names, if that is known.
    pub(super) const fn subject(self) -> Option<&'static str> {
        match self {
            Self::Alice => Some("CN=alice"),
            Self::Bob => Some("CN=bob"),
            Self::Nothing | Self::Mallory => None,
        }
    }
}

impl Gate {
    /// Where nothing is asked of requests, a certificate may be.
    pub(super) fn asks_for_papers(&mut self, dice: &mut Dice, setting: &[([bool; 2], Serves)]) {
        for (asks, (secured, serves)) in self.asks.iter_mut().zip(setting) {
            if asks.is_none() && secured[0] && !serves.passes() && dice.chance(80) {
                *asks = Some(Asks::Nobody);
                self.places = self.places.max(1);
            }
        }
        self.alice_alone = dice.chance(128);
    }
}

/// The name of the second certificate.
const OTHER: &str = "other";

/// Whom clients trust.
static FORMER: &str =
    concat!(include_str!("../../keys/world.pem"), include_str!("../../keys/other.pem"));
static RENEWED: &str =
    concat!(include_str!("../../keys/renewed.pem"), include_str!("../../keys/other.pem"));
static EITHER: &str = concat!(
    include_str!("../../keys/world.pem"),
    include_str!("../../keys/renewed.pem"),
    include_str!("../../keys/other.pem")
);

/// Which of a listener's first certificates a client trusts: what comes by itself, or behind an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Faith {
    #[default]
    Either,
    Former,
    Renewed,
}

impl Faith {
    const ALL: [Self; 3] = [Self::Either, Self::Former, Self::Renewed];

    const fn authorities(self) -> &'static str {
        match self {
            Self::Either => EITHER,
            Self::Former => FORMER,
            Self::Renewed => RENEWED,
        }
    }
}

static TRUSTED: &str =
    concat!(include_str!("../../keys/alice.pem"), include_str!("../../keys/bob.pem"));

macro_rules! identity {
    ($name:literal) => {{
        let chain = include_bytes!(concat!("../../keys/", $name, ".pem"));
        let key = include_bytes!(concat!("../../keys/", $name, ".key"));
        Arc::new(Identity::from_pem(chain, key).expect("it is well made"))
    }};
}

/// Of the listener, in their order, before and behind an order; of clients.
static IDENTITIES: LazyLock<[[Arc<Identity>; 2]; 2]> = LazyLock::new(|| {
    let other = identity!("other");
    [[identity!("world"), Arc::clone(&other)], [identity!("renewed"), other]]
});
static CLIENTS: LazyLock<[Arc<Identity>; 3]> =
    LazyLock::new(|| [identity!("alice"), identity!("bob"), identity!("mallory")]);

/// What makes the sessions between clients and listeners.
pub(super) struct Callers {
    /// With the former certificate, and the renewed one.
    acceptors: [Acceptor; 2],
    /// By faith, and by what is shown.
    connectors: [Vec<Connector>; Faith::ALL.len()],
}

impl Callers {
    pub(super) fn new(papers: Papers, versions: Versions) -> Self {
        let authorities = |text: &str| Authorities::from_pem(text.as_bytes()).expect("well made");
        // Sessions are resumed behind an order, too.
        let tickets = Tickets::new().expect("there is randomness");
        let listens = |identities: &[Arc<Identity>]| AcceptorConfig {
            identities: identities.iter().take(1 + usize::from(papers.several)).cloned().collect(),
            versions,
            clients: match papers.asks {
                Asked::Off => ClientAuth::Off,
                Asked::Optional => ClientAuth::Optional(authorities(TRUSTED)),
                Asked::Required => ClientAuth::Required(authorities(TRUSTED)),
            },
            tickets: Some(tickets.clone()),
            ..AcceptorConfig::default()
        };
        let acceptor =
            |identities: &[_; 2]| Acceptor::new(listens(identities)).expect("it is well made");
        let clients = if papers.asks == Asked::Off { &[][..] } else { &CLIENTS[..] };
        let calls = |faith: Faith, identity| ConnectorConfig {
            trust: Trust::Authorities(authorities(faith.authorities())),
            max_chain: base::limits::TLS_SERVER_CHAIN,
            identity,
            versions: Versions::default(),
            sni: true,
            alpn: Vec::new(),
        };
        let connectors = |faith| {
            let all = std::iter::once(None).chain(clients.iter().cloned().map(Some));
            all.map(|identity| Connector::new(calls(faith, identity)).expect("it is well made"))
                .collect()
        };
        Self {
            acceptors: IDENTITIES.each_ref().map(acceptor),
            connectors: Faith::ALL.map(connectors),
        }
    }

    /// What makes the sessions of listeners.
    pub(super) fn acceptor(&self, renewed: bool) -> Acceptor {
        self.acceptors[usize::from(renewed)].clone()
    }

    /// What makes the sessions of those who show that, and trust so.
    pub(super) fn connector(&self, paper: Paper, faith: Faith) -> &Connector {
        let place = match paper {
            Paper::Nothing => 0,
            Paper::Alice => 1,
            Paper::Bob => 2,
            Paper::Mallory => 3,
        };
        &self.connectors[faith as usize][place]
    }
}

/// Who must show a certificate and did not has nothing from a server, which is told whose it is.
pub(super) fn may_reach(head: &Head<'_>, record: &Record, setting: &Setting) -> Verdict {
    let complain = |text: String| wrong("papers", format!("request {} {text}", record.number));
    let secured = setting.door.secured[record.group][0];
    if secured && setting.papers.refuses(record.paper) {
        return complain(format!("of {:?} reaches a server", record.paper));
    }
    let told = values(head, CLIENT);
    let subject = setting.papers.own_field().and_then(|_| record.paper.subject());
    let subject = subject.filter(|_| secured).map(str::as_bytes);
    if told != subject.into_iter().collect::<Vec<_>>() {
        return complain(format!("of {:?} comes with {CLIENT} {told:?}", record.paper));
    }
    Ok(())
}
