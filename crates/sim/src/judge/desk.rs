//! Those who decide whether a client may, as workers ask them: early, late, never, in any order. Every
//! verdict has a number, which goes with it to the server, so that everybody knows what it was on.

use std::sync::Arc;
use std::time::Duration;

use base::time::Instant;
use driver::Wake;
use exchange::{Asks, Refusal};
use worker::{Inquiries, Inquiry, Verdict as Finding};

use super::book::Book;
use super::front;
use super::gate::{self, Gate, USERS};
use super::reply::micros;
use super::setting::Setting;
use super::stage::{Stage, Verdict, wrong};
use crate::dice::Dice;

/// What a question is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// Whether that is a user's word.
    Pair(u8, u8),
    /// A request.
    Request(u32),
}

/// What those who decide say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Yes,
    No(Refusal),
}

/// A question that was put, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inquired {
    pub(super) group: usize,
    pub(super) about: About,
    /// Whose word it is.
    pub(super) user: Option<u8>,
    /// When it was put, and answered.
    pub(super) asked: Instant,
    pub(super) said: Option<Instant>,
    pub(super) says: Said,
    pub(super) good_for: Duration,
    /// How often words had changed when it was decided.
    pub(super) edition: u32,
    /// The request that reached a server by it first.
    pub(super) used_by: Option<u32>,
}

impl Inquired {
    /// Whether that was said, and is known to be.
    pub(super) fn has_said(&self, refusal: Refusal) -> bool {
        self.said.is_some() && self.says == Said::No(refusal)
    }
}

/// A question that is not answered yet.
struct Open {
    inquiry: Box<Inquiry>,
    /// Its place in the log.
    place: usize,
    /// When it will be; never, if it is not known.
    due: Option<Instant>,
}

/// Those who decide, one for each group.
pub(super) struct Desk {
    inquiries: Option<Arc<Inquiries>>,
    dice: Dice,
    open: Vec<Open>,
    pub(super) log: Vec<Inquired>,
    /// By group and user, the word that is right.
    words: Vec<[u8; USERS]>,
    /// By group, when words changed.
    changes: Vec<Vec<Instant>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

/// They look by themselves.
#[derive(Debug)]
pub(super) struct Looks;

impl Wake for Looks {
    fn wake(&self) {}
}

impl Desk {
    pub(super) fn new(dice: Dice, groups: usize, inquiries: Option<Arc<Inquiries>>) -> Self {
        Self {
            inquiries,
            dice,
            open: Vec::new(),
            log: Vec::new(),
            words: vec![[1; USERS]; groups],
            changes: vec![Vec::new(); groups],
        }
    }

    /// A user's word.
    pub(super) fn right(&self, group: usize, user: u8) -> u8 {
        self.words[group][usize::from(user)]
    }

    /// A user has another word from now on.
    pub(super) fn changes(&mut self, group: usize, user: usize, now: Instant) {
        let word = &mut self.words[group][user];
        *word = word.wrapping_add(1);
        self.changes[group].push(now);
        if let Some(inquiries) = &self.inquiries {
            inquiries.changed(u16::try_from(group).unwrap_or(0));
        }
    }

    /// How often words had changed before that moment.
    pub(super) fn edition_before(&self, group: usize, moment: Instant) -> u32 {
        let before = self.changes[group].iter().filter(|&&change| change < moment);
        u32::try_from(before.count()).unwrap_or(u32::MAX)
    }

    /// When it has something to say next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.open.iter().filter_map(|open| open.due).min()
    }

    /// Everybody is answered now.
    pub(super) fn calm_down(&mut self, now: Instant) {
        for open in &mut self.open {
            open.due = Some(open.due.map_or(now, |due| due.min(now)));
        }
    }

    /// Whether as many questions as may be may have been under way since then.
    pub(super) fn may_be_full(&self, group: usize, since: Instant, setting: &Setting) -> bool {
        let late = setting.takes_up();
        let under_way =
            |it: &&Inquired| it.group == group && it.said.is_none_or(|said| said + late >= since);
        self.log.iter().filter(under_way).count() >= setting.gate.places as usize
    }

    /// Questions that are not given back.
    pub(super) fn under_way(&self) -> usize {
        self.inquiries.as_ref().map_or(0, |inquiries| inquiries.under_way())
    }

    /// Says what is due, in any order. Whether anything was.
    pub(super) fn says(&mut self, now: Instant) -> bool {
        let Some(inquiries) = &self.inquiries else { return false };
        let mut any = false;
        loop {
            let due = |open: &Open| open.due.is_some_and(|due| due <= now);
            let all = self.open.iter().enumerate().filter(|(_, open)| due(open));
            let all: Vec<usize> = all.map(|(at, _)| at).collect();
            let Some(last) = u32::try_from(all.len()).ok().filter(|&count| count > 0) else {
                return any;
            };
            let which = if last > 1 { self.dice.below(last) } else { 0 };
            let Open { inquiry, place, .. } = self.open.remove(all[which as usize]);
            let found = &mut self.log[place];
            found.said = Some(now);
            let finding = match found.says {
                Said::Yes => Finding::LetIn { good_for: found.good_for, edition: found.edition },
                Said::No(refusal) => Finding::Refused(refusal),
            };
            inquiries.answer(inquiry, finding);
            any = true;
        }
    }

    /// Decides, and writes down what will be said.
    fn decides(
        &mut self,
        mut inquiry: Box<Inquiry>,
        about: About,
        shown: Option<(u8, u8)>,
        at: At,
    ) {
        let At { gate, now, calm } = at;
        let group = usize::from(inquiry.authorizer());
        let asks = gate.asks[group].unwrap_or(Asks::Nobody);
        let known = shown.filter(|&(user, word)| {
            self.words[group].get(usize::from(user)).is_some_and(|&right| right == word)
        });
        let wild = |weight: u32| if calm { 0 } else { weight };
        let says = if self.dice.chance(wild(gate.fails)) {
            Said::No(Refusal::AuthorizerFailed)
        } else if self.dice.chance(wild(gate.forbids)) {
            let elsewhere = asks == Asks::Server && self.dice.chance(128);
            Said::No(if elsewhere { Refusal::Redirected } else { Refusal::Forbidden })
        } else if known.is_some() {
            Said::Yes
        } else {
            Said::No(Refusal::BadCredentials)
        };
        let place = self.log.len();
        let grant = &mut inquiry.grant;
        match says {
            Said::Yes => {
                grant.set(gate::subject(known.map_or(0, |(user, _)| user)).as_bytes());
                grant.add(gate::VERDICT.as_bytes(), place.to_string().as_bytes());
                let rich = self.dice.length(gate.rich) as usize;
                if rich > 0 {
                    grant.add(gate::GRANTED.as_bytes(), &vec![b'g'; rich]);
                }
            }
            Said::No(refusal) if asks == Asks::Server => {
                grant.set(b"");
                grant.add(gate::TOLD.as_bytes(), place.to_string().as_bytes());
                match refusal {
                    Refusal::BadCredentials => {
                        grant.add(b"WWW-Authenticate", gate::challenge(asks).as_bytes());
                    }
                    Refusal::Redirected => {
                        grant.add(b"Location", gate::ELSEWHERE);
                    }
                    _ => {}
                }
            }
            Said::No(_) => {}
        }
        let takes = micros(self.dice.length(wild(gate.slow)));
        let silent = self.dice.chance(wild(gate.silent));
        self.log.push(Inquired {
            group,
            about,
            user: known.map(|(user, _)| user),
            asked: now,
            said: None,
            says,
            good_for: gate.good_for,
            edition: u32::try_from(self.changes[group].len()).unwrap_or(u32::MAX),
            used_by: None,
        });
        self.open.push(Open { inquiry, place, due: (!silent).then(|| now + takes) });
    }
}

/// The circumstances of a decision.
#[derive(Clone, Copy)]
struct At<'s> {
    gate: &'s Gate,
    now: Instant,
    calm: bool,
}

/// Takes up what was asked.
pub(super) fn is_asked(stage: &mut Stage) -> Verdict {
    let (now, calm) = (stage.now(), stage.is_calm());
    let Stage { desk, book, setting, world, .. } = stage;
    let Some(inquiries) = desk.inquiries.clone() else { return Ok(()) };
    while let Some(inquiry) = inquiries.next() {
        let group = usize::from(inquiry.authorizer());
        let question = inquiry.question();
        let shown = || question.escape_ascii();
        let found = if setting.gate.asks[group] == Some(Asks::Server) {
            head_is_asked_about(question, group, book, setting)
        } else {
            let pair = gate::read_pair(question);
            let pair = pair.ok_or_else(|| "nobody would put that".to_owned());
            pair.map(|(user, word)| (About::Pair(user, word), Some((user, word))))
        };
        let (about, shown) =
            found.or_else(|text| wrong("gate", format!("it is asked {}: {text}", shown())))?;
        world.note(|| format!("{} is asked of group {group}: {about:?}", desk.log.len()));
        desk.decides(inquiry, about, shown, At { gate: &setting.gate, now, calm });
    }
    Ok(())
}

/// Reads what an authorization server is shown: a request that was made, as it was made, but for what is
/// of this hop, of its body, or of what only we may say. Which it is, and whose word it shows.
fn head_is_asked_about(
    question: &[u8],
    group: usize,
    book: &Book,
    setting: &Setting,
) -> Result<(About, Option<(u8, u8)>), String> {
    let lines = || question.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let fields = lines().map(|line| {
        let line = str::from_utf8(line).ok()?.strip_suffix('\r')?;
        line.split_once(": ")
    });
    let fields: Option<Vec<(&str, &str)>> = fields.collect();
    let fields = fields.ok_or("its lines are no fields")?;
    let all = |wanted: &str| {
        let own = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        own.map(|(_, value)| *value).collect::<Vec<_>>()
    };
    let number = match all("X-Original-URI")[..] {
        [uri] => uri.strip_prefix('/').and_then(|number| number.parse().ok()),
        _ => None,
    };
    let number = number.filter(|&number: &u32| number < book.len()).ok_or("about nothing")?;
    let record = book.get(number);
    let ask = record.ask().filter(|_| record.group == group).ok_or("about none of its requests")?;
    let host = if ask.homeless && !ask.absolute { None } else { Some("world") };
    let proto = front::proto(ask, group, setting);
    let peer = record.peer.to_string();
    let told = number.to_string();
    let once = [
        ("X-Original-Method", Some(ask.method.name())),
        ("X-Forwarded-For", Some(peer.as_str())),
        ("X-Forwarded-Proto", Some(proto)),
        ("X-Forwarded-Host", host),
        ("X-Number", Some(told.as_str())),
    ];
    for (name, value) in once {
        if all(name) != value.into_iter().collect::<Vec<_>>() {
            return Err(format!("{name} says {:?}, not {value:?}", all(name)));
        }
    }
    let known = ["X-Original-URI", "X-Filler", "Authorization"];
    let known = |name: &str| {
        let mut names = once.iter().map(|(name, _)| *name).chain(known);
        names.any(|known| known.eq_ignore_ascii_case(name))
    };
    if let Some((name, _)) = fields.iter().find(|(name, _)| !known(name)) {
        return Err(format!("it is told {name}"));
    }
    let shown = match all("Authorization")[..] {
        [one] => one.split_once(' ').and_then(|(_, pair)| gate::read_pair(pair.as_bytes())),
        _ => None,
    };
    Ok((About::Request(number), shown))
}

/// Every question was given back when nobody asks any more.
pub(super) fn all_given_back(stage: &Stage) -> Verdict {
    match stage.desk.under_way() {
        0 => Ok(()),
        count => wrong("leak", format!("{count} questions are under way at the end")),
    }
}
