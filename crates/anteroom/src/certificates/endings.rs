//! When certificates in files are over: what is said of that, and what is shown.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::counter::Counter;
use base::limits::CERTIFICATES_SHOWN;
use tls::Identity;

use crate::log;
use crate::quantity::Length;

/// How long before its end a certificate is warned of; one of a short life when a third of it is left.
const ENDS_SOON: Duration = Duration::from_hours(14 * 24);
/// Most certificates that are told of again at one time: those that end first.
const REMINDERS: usize = 10;

/// Whose certificate it is, by the label under which that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// A listener's, for its clients.
    Listener,
    /// A group's, for its servers.
    Upstream,
}

/// A certificate in a file: who shows it, and when its time begins and is over.
#[derive(Debug)]
pub(crate) struct Ending {
    side: Side,
    /// The listener's address, or the group's name.
    owner: String,
    /// The file.
    certificate: String,
    /// Both in seconds since 1970.
    begins: Counter,
    expires: Counter,
}

impl Ending {
    pub(crate) fn new(side: Side, owner: String, file: &Path, identity: &Identity) -> Arc<Self> {
        let [begins, expires] = Default::default();
        let certificate = file.display().to_string();
        let ending = Self { side, owner, certificate, begins, expires };
        ending.renew(identity);
        Arc::new(ending)
    }

    /// The file holds this one now.
    pub(crate) fn renew(&self, identity: &Identity) {
        self.begins.set(seconds(identity.not_before()));
        self.expires.set(seconds(identity.not_after()));
    }

    /// When its time is over, in seconds since 1970.
    pub(crate) fn expires(&self) -> u64 {
        self.expires.get()
    }

    /// How it is told from all others.
    pub(crate) fn labels(&self) -> [(&str, &str); 2] {
        let side = match self.side {
            Side::Listener => "listener",
            Side::Upstream => "upstream",
        };
        [(side, &self.owner), ("certificate", &self.certificate)]
    }

    fn doubt(&self, now: SystemTime) -> Option<String> {
        let moment = |counter: &Counter| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(counter.get()))
        };
        doubt(moment(&self.begins)?, moment(&self.expires)?, now)
    }
}

/// What becomes of all certificates in files. The master alone writes it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    endings: Vec<Arc<Ending>>,
    taken: Counter,
    refused: Counter,
}

impl Ledger {
    /// One of these; whoever shows a file twice is one of them.
    pub(crate) fn new(endings: impl Iterator<Item = Arc<Ending>>) -> Self {
        let endings: Vec<_> = endings.collect();
        let mut seen = HashSet::new();
        let once = endings.iter().filter(|it| seen.insert(it.labels())).cloned().collect();
        Self { endings: once, ..Self::default() }
    }

    /// Files were read anew: whether what they hold is in force now.
    pub(super) fn reread(&self, taken: bool) {
        if taken { &self.taken } else { &self.refused }.increment();
    }

    /// How often that was done: taken up, and refused.
    pub(crate) fn reloads(&self) -> [u64; 2] {
        [self.taken.get(), self.refused.get()]
    }

    /// All of them, or those that end first if they are too many.
    pub(crate) fn shown(&self) -> Vec<Arc<Ending>> {
        let mut shown = self.endings.clone();
        if shown.len() > CERTIFICATES_SHOWN {
            shown.sort_by_key(|ending| ending.expires());
            shown.truncate(CERTIFICATES_SHOWN);
        }
        shown
    }

    /// Tells again of those that are over, or will be soon: nobody may have looked at the log when the
    /// process began.
    pub(super) fn remind(&self, now: SystemTime) {
        let mut endings: Vec<_> = self.endings.iter().collect();
        endings.sort_by_key(|ending| ending.expires());
        let doubts = endings.iter().filter_map(|it| Some((&it.certificate, it.doubt(now)?)));
        for (certificate, why) in doubts.take(REMINDERS) {
            log::note(format_args!("warning: \"{certificate}\": {why}"));
        }
    }
}

/// Why others may not believe a certificate, now or soon.
pub(super) fn doubt_of(identity: &Identity, now: SystemTime) -> Option<String> {
    doubt(identity.not_before(), identity.not_after(), now)
}

fn doubt(begins: SystemTime, expires: SystemTime, now: SystemTime) -> Option<String> {
    if let Ok(ago) = now.duration_since(expires) {
        return Some(format!("its time was over {} ago: have it renewed", Length(whole(ago))));
    }
    if let Ok(until) = begins.duration_since(now)
        && !until.is_zero()
    {
        let text = format!("its time begins in {}: set the clock, or wait", Length(whole(until)));
        return Some(text);
    }
    let left = expires.duration_since(now).unwrap_or_default();
    let soon = (expires.duration_since(begins).unwrap_or_default() / 3).min(ENDS_SOON);
    (left < soon).then(|| format!("its time is over in {}: have it renewed", Length(whole(left))))
}

/// Whole seconds: fractions say nothing here.
const fn whole(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs())
}

fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    /// One that ends then.
    pub(crate) fn ending(side: Side, owner: &str, certificate: &str, expires: u64) -> Arc<Ending> {
        let [begins, at] = [Counter::new(), Counter::new()];
        at.set(expires);
        let (owner, certificate) = (owner.to_owned(), certificate.to_owned());
        Arc::new(Ending { side, owner, certificate, begins, expires: at })
    }

    #[test]
    fn a_certificate_is_doubted_before_and_behind_its_time_and_two_weeks_before_its_end() {
        let begins = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let of = |days: u32, now: SystemTime| doubt(begins, begins + DAY * days, now);
        let second = Duration::from_secs(1);
        assert_eq!(
            of(90, begins - DAY * 2).as_deref(),
            Some("its time begins in 2days: set the clock, or wait")
        );
        assert_eq!(of(90, begins), None);
        assert_eq!(of(90, begins + DAY * 76), None);
        assert_eq!(
            of(90, begins + DAY * 77).as_deref(),
            Some("its time is over in 13days: have it renewed")
        );
        assert_eq!(
            of(90, begins + DAY * 91).as_deref(),
            Some("its time was over 1day ago: have it renewed")
        );
        assert!(of(90, begins + DAY * 90).unwrap().contains("was over"), "its last second is over");
        // It would be warned of all its life.
        assert_eq!(of(6, begins + DAY * 4), None);
        assert!(of(6, begins + DAY * 4 + second).is_some());
    }

    #[test]
    fn no_more_are_shown_than_there_is_room_for_and_none_twice() {
        let one = || ending(Side::Listener, ":443", "a.pem", 7);
        let ledger = Ledger::new([one(), one()].into_iter());
        assert_eq!(ledger.shown().len(), 1);
        let many = (0..=CERTIFICATES_SHOWN as u64).rev();
        let many = many.map(|at| ending(Side::Upstream, "app", &at.to_string(), at));
        let shown = Ledger::new(many).shown();
        assert_eq!(shown.len(), CERTIFICATES_SHOWN);
        assert!(shown.iter().all(|it| it.expires() < CERTIFICATES_SHOWN as u64), "the last to end");
    }
}
