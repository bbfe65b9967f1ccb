//! An inquiry while it is looked after here.

use std::sync::Arc;

use exchange::{Grant, Refusal};
use worker::{Inquiries, Inquiry, Verdict};

/// An inquiry on its way round. It goes back when this is dropped, whatever became of those who were to
/// answer it: a place that is lost would never be there for another question again.
pub(super) struct Asked {
    /// Until then.
    inquiry: Option<Box<Inquiry>>,
    /// What it was found to be, if that was done.
    verdict: Option<Verdict>,
    inquiries: Arc<Inquiries>,
}

impl Asked {
    /// The next question, if there is one.
    pub(super) fn next(inquiries: &Arc<Inquiries>) -> Option<Self> {
        let inquiry = Some(inquiries.next()?);
        Some(Self { inquiry, verdict: None, inquiries: Arc::clone(inquiries) })
    }

    /// The question.
    pub(super) fn question(&self) -> &[u8] {
        self.inquiry.as_deref().map(Inquiry::question).unwrap_or_default()
    }

    /// Who is to decide.
    pub(super) fn authorizer(&self) -> u16 {
        self.inquiry.as_deref().map_or(u16::MAX, Inquiry::authorizer)
    }

    /// By what the question is known.
    pub(super) fn mark(&self) -> u128 {
        self.inquiry.as_deref().map_or(0, |inquiry| self.inquiries.mark(inquiry))
    }

    /// Answers it. `judge` writes what goes with the verdict; none is found if it finds none.
    pub(super) fn answer(mut self, judge: impl FnOnce(&mut Grant) -> Option<Verdict>) {
        if let Some(inquiry) = &mut self.inquiry {
            self.verdict = judge(&mut inquiry.grant);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Some(mut inquiry) = self.inquiry.take() else { return };
        let verdict = self.verdict.unwrap_or_else(|| {
            // Field lines for a server, or a part of those for the client, are for nobody now.
            inquiry.grant.set(b"");
            Verdict::Refused(Refusal::AuthorizerFailed)
        });
        self.inquiries.answer(inquiry, verdict);
    }
}
