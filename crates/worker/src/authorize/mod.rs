//! Whether a client may: asked of those who know, while the exchange waits with its head and nothing
//! else. What takes long (a password's hash, a token's signature, another server) is done by others,
//! and the verdict comes as a letter does.

mod inquiries;
mod remembered;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use base::id::ExchangeId;
use base::time::Instant;
use driver::Driver;
use exchange::{Admission, Exchange, Granted, Pace, Phase, Refusal, Rules, State};
use pool::Rank;

pub use inquiries::{AuthorizerPlan, Inquiries, Inquiry, Verdict};
use remembered::Remembered;

use crate::client::Patience;
use crate::coverage::Event;
use crate::turn::Worker;

/// What a worker has of those who decide.
pub(crate) struct Gate {
    inquiries: Option<Arc<Inquiries>>,
    /// Answers that are still needed, by exchange: until the head is through, or refused. Empty where
    /// nobody is asked.
    answers: Vec<Option<Box<Inquiry>>>,
    remembered: Remembered,
    /// The number of the last question: the first is any, as what a worker asked may be answered to
    /// the one that takes its place.
    asked: u32,
}

impl Gate {
    /// Bytes for each exchange.
    pub(crate) const PLACE_BYTES: usize = size_of::<Option<Box<Inquiry>>>();

    /// For so many exchanges; `seed` is another one at each start.
    pub(crate) fn new(inquiries: Option<Arc<Inquiries>>, exchanges: u32, seed: u64) -> Self {
        let remembered = |of: &Arc<Inquiries>| Remembered::new(of.secret, of.room);
        let answers = if inquiries.is_some() { exchanges as usize } else { 0 };
        Self {
            answers: (0..answers).map(|_| None).collect(),
            remembered: inquiries.as_ref().map_or_else(Remembered::none, remembered),
            asked: u32::try_from(seed & u64::from(u32::MAX)).unwrap_or(0),
            inquiries,
        }
    }

    fn answer(&self, id: ExchangeId) -> Option<&Inquiry> {
        self.answers.get(id.index())?.as_deref()
    }

    /// Whether the exchange was let in, or not, upon a question.
    pub(crate) fn has_answered(&self, id: ExchangeId) -> bool {
        self.answer(id).is_some()
    }

    /// What is known for the call that reads the head of this exchange.
    pub(crate) fn known<'g>(
        &'g self,
        id: ExchangeId,
        rules: &Rules,
        now: Instant,
    ) -> Option<Known<'g>> {
        let authorizer = rules.authorization.as_ref()?.number;
        let (answer, recalled) = (self.answer(id), Cell::new(false));
        Some(Known { gate: self, answer, authorizer, now, recalled })
    }

    /// The answer to this exchange is not needed any more.
    pub(crate) fn forget(&mut self, id: ExchangeId) {
        if let Some(inquiry) = self.answers.get_mut(id.index()).and_then(Option::take)
            && let Some(inquiries) = &self.inquiries
        {
            inquiries.give_back(inquiry);
        }
    }

    /// Remembers who was let in.
    fn remember(&mut self, inquiry: &Inquiry, now: Instant) {
        if let Verdict::LetIn { good_for, edition } = inquiry.verdict
            && good_for > Duration::ZERO
        {
            let mark = self.remembered.mark(inquiry.authorizer(), inquiry.question());
            self.remembered.keep(mark, edition, (now, good_for), inquiry.grant.known());
        }
    }
}

/// A worker that fails, or ends, gives back what it has.
impl Drop for Gate {
    fn drop(&mut self) {
        let Some(inquiries) = &self.inquiries else { return };
        for inquiry in self.answers.drain(..).flatten() {
            inquiries.give_back(inquiry);
        }
    }
}

/// What those who decide have said: to this exchange, or to others.
pub(crate) struct Known<'g> {
    gate: &'g Gate,
    answer: Option<&'g Inquiry>,
    authorizer: u16,
    now: Instant,
    recalled: Cell<bool>,
}

impl Known<'_> {
    /// Whether the client was found among those that were let in before.
    pub(crate) const fn is_recalled(&self) -> bool {
        self.recalled.get()
    }
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({:?})", self.answer)
    }
}

impl Admission for Known<'_> {
    fn granted(&self, question: &[u8]) -> Option<Granted<'_>> {
        if let Some(answer) = self.answer {
            return matches!(answer.verdict, Verdict::LetIn { .. }).then(|| answer.grant.known());
        }
        let edition = self.gate.inquiries.as_ref()?.edition(self.authorizer);
        let mark = self.gate.remembered.mark(self.authorizer, question);
        let found = self.gate.remembered.find(mark, edition, self.now)?;
        self.recalled.set(true);
        Some(found)
    }

    fn told(&self) -> &[u8] {
        self.answer.map_or(b"", |answer| answer.grant.known().fields)
    }
}

impl<D: Driver> Worker<D> {
    /// Puts the question that stands in the scratch space, of so many bytes. Nothing is received
    /// meanwhile.
    pub(crate) fn ask(&mut self, id: ExchangeId, length: u32) {
        self.note_phase(id);
        self.favours_no_longer(id);
        let number = self.gate.asked.wrapping_add(1);
        self.gate.asked = number;
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        let State::Authorizing { question, .. } = &mut exchange.state else {
            debug_assert!(false, "only who awaits a verdict asks");
            return;
        };
        *question = number;
        let client = exchange.client;
        let authorization = self.rules[exchange.listener.index()].authorization.as_ref();
        let authorizer = authorization.map_or(0, |it| it.number);
        let question = self.scratch.written.get(..length as usize).unwrap_or_default();
        let whose = (self.plan.worker, id, number);
        let asked = match &self.gate.inquiries {
            Some(inquiries) => inquiries.ask(whose, authorizer, question),
            None => false,
        };
        // It was a secret.
        self.scratch.written[..length as usize].fill(0);
        if asked {
            self.counters.authorizations_asked.increment();
            self.clients.arm(client, Patience::Verdict, self.now);
        } else {
            self.refuse(id, Refusal::AuthorizerFull, None);
        }
    }

    /// Does what the verdicts say that came.
    pub(crate) fn hear_verdicts(&mut self) {
        while let Some(inquiry) = self.next_verdict() {
            self.gate.remember(&inquiry, self.now);
            let (id, verdict) = (inquiry.exchange, inquiry.verdict);
            if !self.awaits(id, inquiry.number) {
                // Its client left, or its time was over.
                if let Some(inquiries) = &self.gate.inquiries {
                    inquiries.give_back(inquiry);
                }
                continue;
            }
            self.witness(Event::VerdictCame, id);
            if let Some(place) = self.gate.answers.get_mut(id.index()) {
                *place = Some(inquiry);
            }
            match verdict {
                Verdict::LetIn { .. } => self.let_in(id),
                Verdict::Refused(refusal) => self.refuse(id, refusal, None),
            }
        }
    }

    fn next_verdict(&self) -> Option<Box<Inquiry>> {
        self.gate.inquiries.as_ref()?.hear(self.plan.worker)
    }

    /// Whether the exchange of this number awaits the answer to that question.
    fn awaits(&self, id: ExchangeId, number: u32) -> bool {
        let state = self.exchanges.get(id.0).map(|exchange| &exchange.state);
        matches!(state, Some(State::Authorizing { question, .. }) if *question == number)
    }

    /// The client may: its head is gone on with.
    fn let_in(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id.0) else { return };
        exchange.is_let_in();
        // That nothing came meanwhile is not the client's fault.
        exchange.pace = Pace { since: self.now, bytes: 0 };
        self.clients.disarm(exchange.client);
        self.note_phase(id);
        self.collect(id, 0, Rank::Client);
    }

    /// Whether what was answered to an exchange may still be needed.
    pub(crate) fn forget_answer(&mut self, id: ExchangeId) {
        let phase = self.exchanges.get(id.0).and_then(Exchange::phase);
        if !matches!(phase, Some(Phase::Arriving | Phase::Authorizing)) {
            self.gate.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a worker asked may be answered to the one that takes its place after it failed.
    #[test]
    fn a_worker_counts_its_questions_from_where_no_other_did() {
        let asked = |seed| Gate::new(None, 1, seed).asked;
        assert_eq!([asked(7), asked(u64::MAX), asked(1 << 32 | 9)], [7, u32::MAX, 9]);
    }
}
