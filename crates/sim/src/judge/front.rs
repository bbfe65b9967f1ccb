//! A proxy in front of us that is trusted, whom it says its requests are from, and what others say of
//! that, which counts for nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use exchange::Trusts;
use proxies::security::{AccessList, Verdict as Judgement};
use worker::Balancers;

use super::ask::{Ask, put};
use super::book::Record;
use super::client::ADDRESSES;
use super::setting::Setting;
use crate::dice::Dice;

/// Where it is, and another one that is trusted in front of that.
pub(super) const FRONT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const HOP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));

/// Who says what he likes.
const HEARSAY: &str = "6.6.6.6";

/// Which host the front was asked for.
const HOST: &str = "outside";

/// What a request says of its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// It comes from the front: otherwise nothing of this counts.
    trusted: bool,
    named: IpAddr,
    form: Form,
    proto: Option<&'static str>,
    host: bool,
}

/// How somebody is named.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Alone.
    Alone,
    /// Behind what was heard from it.
    Behind,
    /// The same, in two lines.
    Lines,
    /// And then another one that is trusted.
    Hop,
    /// Behind an entry that is no address.
    BehindNobody,
    /// In front of one, which ends the row.
    BeforeNobody,
    /// Nobody is.
    Nobody,
}

impl Way {
    pub(super) fn draw(dice: &mut Dice, trusted: bool) -> Self {
        let forms = [
            Form::Alone,
            Form::Behind,
            Form::Lines,
            Form::Hop,
            Form::BehindNobody,
            Form::BeforeNobody,
            Form::Nobody,
        ];
        Self {
            trusted,
            named: dice.pick(&ADDRESSES),
            form: dice.pick(&forms),
            proto: dice.pick(&[None, None, Some("https"), Some("http")]),
            host: dice.chance(64),
        }
    }

    pub(super) const fn is_trusted(&self) -> bool {
        self.trusted
    }

    pub(super) fn write(&self, w: &mut Vec<u8>) {
        let named = self.named;
        let mut line =
            |text: std::fmt::Arguments<'_>| put(w, format_args!("X-Forwarded-For: {text}\r\n"));
        match self.form {
            Form::Alone => line(format_args!("{named}")),
            Form::Behind => line(format_args!("{HEARSAY}, {named}")),
            Form::Lines => {
                line(format_args!("{HEARSAY}"));
                line(format_args!("{named}"));
            }
            Form::Hop => line(format_args!("{HEARSAY},{named} , {HOP}")),
            Form::BehindNobody => line(format_args!("unknown, {named}:8080")),
            Form::BeforeNobody => line(format_args!("{named}, unknown")),
            Form::Nobody => {}
        }
        if let Some(proto) = self.proto {
            put(w, format_args!("X-Forwarded-Proto: {proto}\r\n"));
        }
        if self.host {
            put(w, format_args!("X-Forwarded-Host: {HOST}\r\n"));
        }
    }

    /// Whom the request is from, if that counts and is said.
    pub(super) fn client(&self) -> Option<IpAddr> {
        let says = !matches!(self.form, Form::BeforeNobody | Form::Nobody);
        (self.trusted && says).then_some(self.named)
    }

    fn hop(&self) -> Option<IpAddr> {
        (self.trusted && matches!(self.form, Form::Hop)).then_some(HOP)
    }

    /// How it reached the front, if that counts and is said.
    pub(super) fn proto(&self) -> Option<&'static str> {
        self.proto.filter(|_| self.trusted)
    }

    /// The host that the front was asked for, if that counts and is said.
    pub(super) fn host(&self) -> Option<&'static str> {
        (self.trusted && self.host).then_some(HOST)
    }
}

/// What a server is told of a request's way: from the client to whoever connected.
pub(super) fn way(record: &Record) -> String {
    let said = record.ask().and_then(|ask| ask.way);
    let (client, hop) = (said.and_then(|it| it.client()), said.and_then(|it| it.hop()));
    let all = client.into_iter().chain(hop).chain([record.through]);
    all.map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
}

/// How a request reached us, or the front.
pub(super) fn proto(ask: &Ask, group: usize, setting: &Setting) -> &'static str {
    let own = if setting.door.secured[group][0] { "https" } else { "http" };
    ask.way.and_then(|way| way.proto()).unwrap_or(own)
}

/// Who is trusted.
pub(super) fn trusted() -> Arc<dyn Trusts> {
    let entries = [FRONT, HOP].map(|address| (address.into(), Judgement::Allow));
    let addresses = AccessList::new(&entries, Judgement::Deny);
    Arc::new(Balancers { addresses, unix: false, required: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_counts_where_it_is_trusted_and_names_somebody() {
        let named = ADDRESSES[2];
        let way = |trusted, form| Way { trusted, named, form, proto: Some("https"), host: true };
        for form in [Form::Alone, Form::Behind, Form::Lines, Form::Hop, Form::BehindNobody] {
            assert_eq!(way(true, form).client(), Some(named), "{form:?}");
            assert_eq!(way(false, form).client(), None, "{form:?}");
        }
        for form in [Form::BeforeNobody, Form::Nobody] {
            assert_eq!(way(true, form).client(), None, "{form:?}");
        }
        let said = |trusted| (way(trusted, Form::Hop).hop(), way(trusted, Form::Hop).host());
        assert_eq!((said(true), said(false)), ((Some(HOP), Some(HOST)), (None, None)));
    }
}
