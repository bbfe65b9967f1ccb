//! Certificates that change while their listeners serve: what the operator orders, and what a client may
//! be shown then.

use base::time::Instant;

use super::line::Line;
use super::papers::Faith;
use super::stage::{Stage, Verdict, wrong};

/// What became of one listener's certificate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Renewal {
    /// It is the renewed one, as was ordered last.
    pub(super) renewed: bool,
    /// When that was, if it ever was.
    ordered: Option<Instant>,
    /// From when on every worker goes by it; not known before all are told.
    sure: Option<Instant>,
}

impl Renewal {
    pub(super) fn changes(&mut self, renewed: bool, now: Instant) {
        *self = Self { renewed, ordered: Some(now), sure: None };
    }

    /// All workers were told, and go by it from then on.
    pub(super) fn is_told(&mut self, then: Instant) {
        if self.ordered.is_some() {
            self.sure.get_or_insert(then);
        }
    }

    /// Which certificate a client that comes now must be shown, if that is certain.
    pub(super) fn certain(&self, now: Instant) -> Faith {
        let certain = self.sure.map_or(self.ordered.is_none(), |sure| sure < now);
        match (certain, self.renewed) {
            (false, _) => Faith::Either,
            (true, false) => Faith::Former,
            (true, true) => Faith::Renewed,
        }
    }

    /// Whether it may have changed since then.
    fn may_have_changed(&self, since: Instant) -> bool {
        self.ordered.is_some_and(|ordered| ordered >= since)
    }
}

impl Line {
    /// Whether it was shown a certificate that it does not trust.
    pub(super) fn is_shown_another(&self) -> bool {
        self.peer.failure() == Some(tls::Failure::Certificate)
    }

    /// If so, there was an order on its way.
    pub(super) fn is_shown_what_holds(&self, stage: &Stage) -> Verdict {
        let renewal = &stage.renewals[self.visit.group];
        if !self.is_shown_another() || renewal.may_have_changed(self.visit.since) {
            return Ok(());
        }
        let number = self.peer.number();
        wrong("papers", format!("connection {number} is shown another certificate: {renewal:?}"))
    }
}
