//! Who is let in: what listeners ask, what requests show of who sends them, and what the oracle says of
//! both. Those who decide are `desk`'s.

use std::time::Duration;

use base::limits::QUESTION_MAX;
use exchange::{Asks, Authorization, Refusal};

use super::ask::put;
use super::book::Record;
use super::desk::{About, Inquired, Said};
use super::message::{Head, decimal};
use super::oracle::TICK;
use super::papers::Paper;
use super::setting::{Serves, Setting};
use super::stage::{Stage, Verdict, wrong};
use crate::dice::Dice;

/// What is asked of requests; in most runs, nothing.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Who decides, by group: it has an authorizer of its own.
    pub asks: Vec<Option<Asks>>,
    /// Servers are told who a client is, in a field that nobody else may write.
    pub tells: bool,
    /// Servers are passed the client's credentials.
    pub passes: bool,
    /// Questions to each authorizer that may be under way.
    pub places: u32,
    /// How long a yes holds.
    pub good_for: Duration,
    /// The longest time that a verdict takes, microseconds.
    pub slow: u32,
    /// How often none comes, of 256.
    pub silent: u32,
    /// How often those who decide fail, and say no whatever is shown.
    pub fails: u32,
    /// The same for a no.
    pub forbids: u32,
    /// How often a request shows nothing, or what will not do.
    pub strangers: u32,
    /// How often a user has another word from now on.
    pub restless: u32,
    /// Most bytes of a field that goes with a yes.
    pub rich: u32,
    /// Where certificates are all that is asked for, one alone will do.
    pub alice_alone: bool,
}

impl Gate {
    pub(super) fn draw(dice: &mut Dice, serves: &[Serves]) -> Self {
        let nobody = Self { asks: vec![None; serves.len()], ..Self::default() };
        if !dice.chance(44) {
            return nobody;
        }
        let kinds = [Some(Asks::Passwords), Some(Asks::Tokens), Some(Asks::Server), None];
        let asks = |serves: &Serves| dice.pick(&kinds).filter(|_| !serves.passes());
        Self {
            asks: serves.iter().map(asks).collect(),
            tells: dice.chance(180),
            passes: dice.chance(100),
            places: dice.pick(&[64, 8, 2, 1]),
            good_for: Duration::from_millis(u64::from(dice.pick(&[1000_u32, 0, 60_000, 20]))),
            slow: dice.pick(&[100, 20_000, 900_000, 5_000_000]),
            silent: dice.pick(&[0, 0, 8, 60]),
            fails: dice.pick(&[0, 0, 8, 60]),
            forbids: dice.pick(&[0, 0, 20]),
            strangers: dice.pick(&[20, 0, 100]),
            restless: dice.pick(&[0, 32, 100]),
            rich: dice.pick(&[0, 0, 100, 1200]),
            alice_alone: false,
        }
    }

    /// Whether anything is asked anywhere.
    pub(super) fn is_there(&self) -> bool {
        self.asks.iter().any(Option::is_some)
    }

    /// The fields that only we may write.
    pub(super) fn own_fields(&self) -> &'static str {
        match (self.is_there(), self.tells) {
            (false, _) => "",
            (true, false) => "X-Verdict,X-Granted",
            (true, true) => "X-User,X-Verdict,X-Granted",
        }
    }

    /// What a client may write of them all the same.
    pub(super) fn forged(&self, dice: &mut Dice) -> &'static str {
        match (self.is_there() && dice.chance(self.strangers), self.tells) {
            (false, _) => "",
            (true, false) => "x-verdict: 0\r\n",
            (true, true) => "x_User: user-1\r\nX-USER: user-1\r\nX-Verdict: 0\r\n",
        }
    }

    /// Whether a certificate will do, where it is all that is asked for.
    pub(super) fn takes(&self, paper: Paper) -> bool {
        match paper {
            Paper::Alice => true,
            Paper::Bob => !self.alice_alone,
            Paper::Nothing | Paper::Mallory => false,
        }
    }

    /// Which subjects' will.
    fn certificates(&self) -> Box<[Box<str>]> {
        let alice = Paper::Alice.subject().filter(|_| self.alice_alone);
        alice.into_iter().map(Into::into).collect()
    }

    /// What a group's listener is told of it.
    pub(super) fn of(&self, group: usize) -> Option<Authorization> {
        let asks = self.asks[group]?;
        Some(Authorization {
            number: u16::try_from(group).unwrap_or(0),
            asks,
            challenge: challenge(asks).into(),
            certificates: (asks == Asks::Nobody).then(|| self.certificates()),
            subject_field: self.tells.then(|| SUBJECT.into()),
            passes_credentials: self.passes,
        })
    }
}

/// In which field servers are told who a client is; which verdict let it in; and what goes with it.
pub(super) const SUBJECT: &str = "X-User";
pub(super) const VERDICT: &str = "X-Verdict";
pub(super) const GRANTED: &str = "X-Granted";
/// In which field a client is told which verdict did not let it in.
pub(super) const TOLD: &str = "X-Told";
const CREDENTIALS: &str = "Authorization";

/// Where whoever is sent elsewhere is to go.
pub(super) const ELSEWHERE: &[u8] = b"/login";

/// Users that there are.
pub(super) const USERS: usize = 5;

/// Who a user is to servers. Of the first nobody says.
pub(super) fn subject(user: u8) -> String {
    if user == 0 { String::new() } else { format!("user-{user}") }
}

/// What `WWW-Authenticate` says where those who decide are asked so.
pub(super) fn challenge(asks: Asks) -> &'static str {
    match asks {
        Asks::Passwords => "Basic realm=\"world\"",
        Asks::Tokens => "Bearer realm=\"world\"",
        Asks::Server | Asks::Nobody => "Custom",
    }
}

/// What a request shows of who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    /// A user and a word, by that scheme.
    Pair {
        scheme: &'static str,
        user: u8,
        word: u8,
    },
    /// The same twice, which says nothing.
    Twice {
        scheme: &'static str,
        user: u8,
        word: u8,
    },
    /// What no credentials are.
    Bad {
        scheme: &'static str,
    },
}

impl Shown {
    /// What will do.
    pub(super) fn right(gate: &Gate, group: usize, right: impl Fn(u8) -> u8) -> Self {
        match gate.asks[group] {
            Some(asks) => {
                let scheme = asks.scheme().unwrap_or("Basic");
                Self::Pair { scheme, user: 1, word: right(1) }
            }
            None => Self::Nothing,
        }
    }

    /// Draws it. `right`: which word each user has now.
    pub(super) fn draw(
        dice: &mut Dice,
        gate: &Gate,
        group: usize,
        right: impl Fn(u8) -> u8,
    ) -> Self {
        let scheme = gate.asks[group].and_then(Asks::scheme).unwrap_or("Basic");
        let user = u8::try_from(dice.below(u32::try_from(USERS).unwrap_or(1))).unwrap_or(0);
        let word = right(user);
        let stranger = if dice.chance(gate.strangers) { 1 + dice.below(6) } else { 0 };
        let other = if scheme == "Basic" { "Bearer" } else { "Basic" };
        match stranger {
            0 => Self::Pair { scheme, user, word },
            1 => Self::Nothing,
            2 => Self::Pair { scheme, user, word: word.wrapping_add(1) },
            3 => Self::Pair { scheme, user, word: word.wrapping_sub(1) },
            4 => Self::Pair { scheme: other, user, word },
            5 => Self::Twice { scheme, user, word },
            _ => Self::Bad { scheme },
        }
    }

    /// What the fields say, if there are any.
    fn values(self) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Pair { scheme, user, word } => vec![format!("{scheme} {}", pair(user, word))],
            Self::Twice { scheme, user, word } => {
                vec![format!("{scheme} {}", pair(user, word)); 2]
            }
            Self::Bad { scheme } => vec![format!("{scheme} not:this")],
        }
    }

    pub(super) fn write(self, w: &mut Vec<u8>) {
        for value in self.values() {
            put(w, format_args!("authorization: {value}\r\n"));
        }
    }

    /// Whether those are the fields.
    fn is_said_by(self, values: &[&[u8]]) -> bool {
        let own = self.values();
        own.len() == values.len() && own.iter().zip(values).all(|(own, it)| own.as_bytes() == *it)
    }
}

/// A user and a word as they are written.
fn pair(user: u8, word: u8) -> String {
    format!("u{user}.w{word}")
}

/// Reads it.
pub(super) fn read_pair(text: &[u8]) -> Option<(u8, u8)> {
    let text = str::from_utf8(text).ok()?;
    let (user, word) = text.strip_prefix('u')?.split_once(".w")?;
    Some((user.parse().ok()?, word.parse().ok()?))
}

/// Whether a request's field is looked at here.
pub(super) fn is_looked_at(name: &[u8], setting: &Setting) -> bool {
    let all = [SUBJECT, VERDICT, GRANTED, CREDENTIALS].into_iter();
    let all = all.filter(|_| setting.gate.is_there()).chain(setting.papers.own_field());
    all.into_iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

/// What the fields of that name say.
pub(super) fn values<'h>(head: &Head<'h>, wanted: &str) -> Vec<&'h [u8]> {
    let own = |&(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(wanted.as_bytes());
    head.fields().filter(own).map(|(_, value)| value).collect()
}

/// What is asked about a request, if anything is: nothing where it shows nothing that will do.
fn about(record: &Record, setting: &Setting) -> Option<About> {
    let (asks, ask) = (setting.gate.asks[record.group]?, record.ask()?);
    match (asks, ask.shown) {
        (Asks::Server, _) => Some(About::Request(record.number)),
        (_, Shown::Pair { scheme, user, word }) if asks.scheme() == Some(scheme) => {
            Some(About::Pair(user, word))
        }
        _ => None,
    }
}

/// The questions about a request, its own and those of others that show the same.
fn questions<'s>(record: &Record, stage: &'s Stage) -> impl Iterator<Item = &'s Inquired> {
    let (about, group) = (about(record, &stage.setting), record.group);
    let all = stage.desk.log.iter();
    all.filter(move |it| it.group == group && Some(it.about) == about)
}

/// What reaches a server was let in: the verdict that let it in is on what it shows, and holds; the server
/// is told who that is, and nothing that the client has written of it.
pub(super) fn may_reach(head: &Head<'_>, number: u32, stage: &mut Stage) -> Verdict {
    let complain = |text: String| wrong("gate", format!("request {number} {text}"));
    let setting = &stage.setting;
    let record = stage.book.get(number);
    let Some(ask) = record.ask() else { return Ok(()) };
    let asks = setting.gate.asks.get(record.group).copied().flatten();
    let shown = if asks.is_some() && !setting.gate.passes { Shown::Nothing } else { ask.shown };
    if !shown.is_said_by(&values(head, CREDENTIALS)) {
        return complain(format!("shows a server other credentials than {shown:?}"));
    }
    let (subjects, verdicts) = (values(head, SUBJECT), values(head, VERDICT));
    if asks.is_none() {
        let told = !subjects.is_empty() || !verdicts.is_empty();
        return if told { complain(format!("is told as {subjects:?}")) } else { Ok(()) };
    }
    if asks == Some(Asks::Nobody) {
        let certified = setting.gate.takes(record.paper);
        let right = match subjects[..] {
            [] => !setting.gate.tells,
            [one] => setting.gate.tells && record.paper.subject().map(str::as_bytes) == Some(one),
            _ => false,
        };
        let right = certified && right && verdicts.is_empty();
        return if right { Ok(()) } else { complain(format!("is told as {subjects:?}")) };
    }
    let verdict = match verdicts[..] {
        [one] => decimal(one).and_then(|it| usize::try_from(it).ok()),
        _ => None,
    };
    let Some((verdict, found)) = verdict.and_then(|it| Some((it, stage.desk.log.get(it)?))) else {
        return complain("reaches a server, and nobody let it in".to_owned());
    };
    if record.verdict.is_some_and(|earlier| earlier != verdict) {
        return complain("goes again by another verdict".to_owned());
    }
    if found.group != record.group || Some(found.about) != about(record, setting) {
        return complain(format!("reaches a server by a verdict on another: {found:?}"));
    }
    if let Err(text) = lets_in(found, record, stage) {
        return complain(format!("{text}: {found:?}"));
    }
    let told = subject(found.user.unwrap_or(0));
    let right = match subjects[..] {
        [] => told.is_empty() || !setting.gate.tells,
        [one] => setting.gate.tells && !told.is_empty() && one == told.as_bytes(),
        _ => false,
    };
    if !right {
        return complain(format!("is told as {subjects:?}, not {told:?}"));
    }
    stage.book.get_mut(number).verdict = Some(verdict);
    stage.desk.log[verdict].used_by.get_or_insert(number);
    Ok(())
}

/// Whether a verdict let this request in: its own, or one that held still when it came.
fn lets_in(found: &Inquired, record: &Record, stage: &Stage) -> Result<(), &'static str> {
    let began = record.since(stage.now());
    let (Some(said), Said::Yes) = (found.said, found.says) else { return Err("was not let in") };
    if found.good_for.is_zero() && found.used_by.is_some_and(|other| other != record.number) {
        return Err("is let in by a verdict that was for another alone");
    }
    if found.asked >= began {
        return Ok(());
    }
    if began > said + stage.setting.takes_up() + found.good_for {
        return Err("is let in by a verdict that holds no longer");
    }
    if stage.desk.edition_before(found.group, began) > found.edition {
        return Err("is let in by what was right before it changed");
    }
    Ok(())
}

/// Whether it may be told to go on with its body: nobody is who is not let in.
pub(super) fn may_go_on(record: &Record, stage: &Stage) -> bool {
    let asks = stage.setting.gate.asks.get(record.group).copied().flatten();
    let yes = |it: &Inquired| it.said.is_some() && it.says == Said::Yes;
    match asks {
        None => true,
        Some(Asks::Nobody) => stage.setting.gate.takes(record.paper),
        Some(_) => questions(record, stage).any(yes),
    }
}

/// Whether it may be that a verdict on it is awaited still.
pub(super) fn is_awaited(record: &Record, stage: &Stage) -> bool {
    let now = stage.now();
    let late = stage.setting.takes_up();
    let authorize = stage.setting.timeouts.authorize;
    questions(record, stage).any(|it| {
        let heard = it.said.is_some_and(|said| said + late < now);
        !heard && it.asked + authorize + late >= now
    })
}

/// Whether a request may be refused so.
pub(super) fn may_refuse(refusal: Refusal, record: &Record, stage: &Stage) -> (bool, &'static str) {
    let (setting, now) = (&stage.setting, stage.now());
    let (Some(asks), Some(ask)) = (setting.gate.asks[record.group], record.ask()) else {
        return (false, "nobody is asked whether it may");
    };
    let (began, late) = (record.since(now), setting.takes_up());
    let mut own = questions(record, stage).filter(|it| it.asked + late >= began);
    let scheme = asks.scheme();
    match refusal {
        Refusal::Forbidden if asks == Asks::Nobody => {
            (!setting.gate.takes(record.paper), "it has the right certificate")
        }
        Refusal::NoCredentials => {
            let none = match ask.shown {
                Shown::Nothing => true,
                Shown::Pair { scheme: other, .. } => Some(other) != scheme,
                Shown::Twice { .. } | Shown::Bad { .. } => false,
            };
            (scheme.is_some() && none, "it has credentials")
        }
        Refusal::BadCredentials => {
            let bad = matches!(ask.shown, Shown::Twice { .. } | Shown::Bad { .. });
            let bad = bad && scheme.is_some();
            (bad || own.any(|it| it.has_said(refusal)), "nobody said that its credentials are bad")
        }
        Refusal::AuthorizerFull => {
            let full = stage.desk.may_be_full(record.group, began, setting);
            (full || stage.book.causes.short.explains(began), "there was room for a question")
        }
        Refusal::AuthorizerFailed => {
            let deadline = setting.timeouts.authorize;
            let failed = own.any(|it| {
                let answered = it.said.is_some_and(|said| said + late < it.asked + deadline);
                it.has_said(refusal) || (!answered && it.asked + deadline <= now + TICK)
            });
            (failed, "those who decide did not fail")
        }
        _ => (own.any(|it| it.has_said(refusal)), "nobody said so"),
    }
}

/// Whether its question, or its head, may be too long.
pub(super) fn may_be_too_long(record: &Record, setting: &Setting) -> bool {
    let asks = setting.gate.asks.get(record.group).copied().flatten();
    // The rest of a head is shorter than that.
    let long = |filler: u32| filler as usize + 1000 > QUESTION_MAX;
    asks == Some(Asks::Server) && record.ask().is_some_and(|ask| long(ask.filler))
}

/// Whether a field of a refusal says what it must: what is asked for, and what those who decide said.
pub(super) fn may_tell(
    (name, value): (&[u8], &[u8]),
    status: u16,
    record: Option<&Record>,
    stage: &Stage,
) -> bool {
    let gate = &stage.setting.gate;
    let asks = record.and_then(|record| gate.asks[record.group]);
    let (Some(asks), Some(record)) = (asks, record) else { return false };
    match name {
        b"WWW-Authenticate" => {
            let text = str::from_utf8(value).unwrap_or_default();
            let error = text.strip_prefix(challenge(asks));
            let invalid = asks == Asks::Tokens && error == Some(", error=\"invalid_token\"");
            status == 401 && (error == Some("") || invalid)
        }
        b"Location" => status == 302 && asks == Asks::Server && value == ELSEWHERE,
        b"X-Told" => {
            let place = decimal(value).and_then(|it| usize::try_from(it).ok());
            let found = place.and_then(|place| stage.desk.log.get(place));
            asks == Asks::Server
                && found.is_some_and(|it| {
                    Some(it.about) == about(record, &stage.setting)
                        && matches!(it.says, Said::No(refusal) if refusal.status() == status)
                })
        }
        _ => false,
    }
}

/// Nobody waits for a verdict for longer than the deadline, nor when it was said: of so many who wait,
/// that many questions are open.
pub(super) fn waits_in_time(waiting: u64, stage: &Stage) -> Verdict {
    let (now, late) = (stage.now(), stage.setting.takes_up());
    let deadline = stage.setting.timeouts.authorize + late;
    let is_open = |it: &&Inquired| {
        it.said.is_none_or(|said| said + late >= now) && it.asked + deadline >= now
    };
    let open = stage.desk.log.iter().filter(is_open).count() as u64;
    if waiting <= open {
        return Ok(());
    }
    wrong("gate", format!("{waiting} requests wait for a verdict, and {open} questions are open"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_as_it_is_written() {
        for (user, word) in [(0, 0), (4, 17), (255, 255)] {
            assert_eq!(read_pair(pair(user, word).as_bytes()), Some((user, word)));
        }
        for text in ["", "u1", "u1.w", "1.w1", "u1.w256", "u1.w1 ", "u1.w1.w1"] {
            assert_eq!(read_pair(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn other_credentials_than_those_shown_are_noticed() {
        let shown = Shown::Pair { scheme: "Basic", user: 1, word: 2 };
        assert!(shown.is_said_by(&[b"Basic u1.w2"]));
        let others: [&[&[u8]]; 4] =
            [&[], &[b"Basic u1.w3"], &[b"Bearer u1.w2"], &[b"Basic u1.w2", b"Basic u1.w2"]];
        assert!(others.iter().all(|other| !shown.is_said_by(other)));
        assert!(Shown::Nothing.is_said_by(&[]) && !Shown::Nothing.is_said_by(&[b"Basic u1.w2"]));
    }
}
